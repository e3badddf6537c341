"""The plots of an evaluation and the look of every plot; each function returns a matplotlib figure."""
