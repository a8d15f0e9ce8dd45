"""What a model needs besides itself: ``corpora``, ``files``, ``devices``, ``sampling``, and ``runs``, a run's folder.

It stands below ``flash_tutorial``, which is the paper and its models, and imports nothing of it. What readers of the
lectures call, such as ``load_corpus``, windows, ``train`` and the score, stands above in ``flash_tutorial``.
"""

__version__ = "0.2.0"
