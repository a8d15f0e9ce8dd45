"""What training needs besides the model: ``corpora``, ``files``, ``devices``, and ``runs``, the folder of a run.

It stands below ``flash_tutorial``, which is the paper and its models, and imports nothing of it. What readers of the
lectures call, such as ``load_corpus``, windows, ``train`` and the score, stands above in ``flash_tutorial``.
"""

__version__ = "0.2.0"
