"""The folders that reports are made from: the output of `train`, `evaluate` and `evaluate-steps`."""
