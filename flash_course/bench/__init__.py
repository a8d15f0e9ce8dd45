"""Benchmarks: the clock, what is timed, and the stored results."""
