"""The folders that reports are made of: what `train`, `evaluate` and `evaluate-steps` leave."""
