"""What a language model needs around it, and what knows nothing of attention: text, files, devices, runs on a disk.

It stands below ``flash_tutorial``, which is the paper, and imports nothing of it.
"""

__version__ = "0.2.0"
