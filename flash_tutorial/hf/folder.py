"""What a saved folder holds beside transformers' own files: how to load it, and a card."""

from pathlib import Path

from .. import __version__, files

CODE = "modeling_flash_tutorial.py"
CLASSES = {
    "AutoConfig": "FlashConfig",
    "AutoModel": "FlashModel",
    "AutoModelForCausalLM": "FlashForCausalLM",
    "AutoModelForMaskedLM": "FlashForMaskedLM",
    "AutoModelForSequenceClassification": "FlashForSequenceClassification",
    "AutoModelForTokenClassification": "FlashForTokenClassification",
}
AUTO_MAP = {auto: f"{Path(CODE).stem}.{name}" for auto, name in CLASSES.items()}

CODE_TEXT = f'''"""Where transformers finds the classes of this folder's config.json: in the package flash-tutorial."""

try:
    from flash_tutorial.hf import (
        {{names}},
    )
except ImportError as error:
    raise ImportError(
        "this model is one of flash-tutorial ({__version__} or later), which is not installed here: "
        "pip install 'flash-tutorial[hf]'"
    ) from error
'''

CARD = """---
library_name: transformers
tags:
- flash-tutorial
- {architecture}
---

# {name}

A model of the kind `{architecture}` ({parameters:,} parameters, width {dim}, {depth} units, {vocab_size} token ids)
from [Transformer Quality in Linear Time](https://arxiv.org/abs/2202.10447), as flash-tutorial {version} builds it.

    from transformers import {auto}

    model = {auto}.from_pretrained("path/of/this/folder", trust_remote_code=True)

Its code is that of the package: `pip install 'flash-tutorial[hf]'`. After `import flash_tutorial.hf` it loads without
`trust_remote_code`.

What it was trained on, what it is for and how good it is: to be written here by who trained it.
"""


def write_beside(model, folder):
    """Write the file that ``auto_map`` names, and a card where there is none."""
    model.config.auto_map = dict(AUTO_MAP)
    folder = Path(folder)
    files.make_folder(folder)
    names = ",\n        ".join(sorted(CLASSES.values()))
    files.write_text(folder / CODE, CODE_TEXT.format(names=names))
    if not (folder / "README.md").exists():
        files.write_text(folder / "README.md", card(model))


def card(model):
    """The text of the card."""
    config = model.config
    name = type(model).__name__
    auto = next((auto for auto, each in CLASSES.items() if each == name), "AutoModel")
    return CARD.format(
        architecture=config.architecture,
        parameters=model.num_parameters(),
        dim=config.dim,
        depth=config.depth,
        vocab_size=config.vocab_size,
        name=name,
        version=__version__,
        auto=auto,
    )
