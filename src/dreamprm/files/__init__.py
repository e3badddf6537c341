"""The one way to write files to disk (atomic, append-only, locked), and to know them by what they hold."""
