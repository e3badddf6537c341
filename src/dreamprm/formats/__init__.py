"""Conversion of other projects' records, questions and benchmarks to and from our own form, one file each."""
