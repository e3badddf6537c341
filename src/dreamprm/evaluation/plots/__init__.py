"""The plots of an evaluation, and the style of all plots; each function returns a matplotlib figure."""
