"""What a running command does with its process and its terminal: threads, signals, progress."""
