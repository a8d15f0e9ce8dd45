"""From submissions to points: each exercise of each submission in a process of its own.

It guards against accidents, not against malice: a submission runs as the same user, on the same files. A class that
needs more grades in a container (docs/instructors.md has the recipe).
"""
