"""Detection over a finished run."""
