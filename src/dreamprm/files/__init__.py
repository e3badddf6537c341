"""The one way to put bytes on a disk: atomic writes, append-only journals, locks."""
