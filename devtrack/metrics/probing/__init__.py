"""Linear read-outs of activations, with controls."""
