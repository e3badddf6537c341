"""Other projects' files in and out of our own form: records, questions, benchmarks; one file each."""
