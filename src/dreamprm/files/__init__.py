"""The one way to write files to disk: atomic writes, append-only journals, locks."""
