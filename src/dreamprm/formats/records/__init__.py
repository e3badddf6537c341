"""Formats of records: step labels, first errors, graded responses; all can be read, most also written."""
