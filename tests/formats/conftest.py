"""The fixtures of `record_files`."""

from record_files import folder, write_rows

__all__ = ["folder", "write_rows"]
