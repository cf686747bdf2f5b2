"""Benchmarks and training sets of the field in their own files: `read` and `write` by a format's name."""
