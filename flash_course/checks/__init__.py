"""Checks of exercises: what an exercise is, how an answer is judged, and the problem sets."""
