"""devtrack watches a neural network while it trains and finds when its inner structure changes."""
