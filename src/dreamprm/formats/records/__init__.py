"""Formats of records: step labels, first errors, graded responses; read, and most of them written."""
