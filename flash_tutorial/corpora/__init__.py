"""Texts, tokens, what ids mean, and windows of a text.

Everything is NumPy: nothing here loads torch.
"""

from .corpus import Corpus as Corpus
from .corpus import Split as Split
from .corpus import first_bytes as first_bytes
from .corpus import load_austen as load_austen
from .corpus import load_file as load_file
from .corpus import load_tokens as load_tokens
from .labelled import Labelled as Labelled
from .labelled import LabelledTask as LabelledTask
from .listops import load_listops as load_listops
from .named import load_corpus as load_corpus
from .novels import load_novels as load_novels
from .spans import mask_spans as mask_spans
from .vocabulary import IGNORE as IGNORE
from .vocabulary import START_ID as START_ID
from .vocabulary import ByteTokenizer as ByteTokenizer
from .windows import evaluation_windows as evaluation_windows
from .windows import random_windows as random_windows
