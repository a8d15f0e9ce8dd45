"""The problem sets, a module each."""
