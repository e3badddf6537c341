"""How a running command handles its process and terminal: threads, signals, progress."""
