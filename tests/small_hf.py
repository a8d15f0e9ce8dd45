"""Small models as transformers has them, with weights of order one, for the tests of ``flash_tutorial.hf``."""

from dataclasses import asdict

import pytest

MISSING = "the extra hf is not installed: pip install 'flash-tutorial[hf]'"
transformers = pytest.importorskip("transformers", reason=MISSING)
datasets = pytest.importorskip("datasets", reason=MISSING)
peft = pytest.importorskip("peft", reason=MISSING)
pytest.importorskip("accelerate", reason=MISSING)

import torch  # noqa: E402
from small_model import HYBRID, N, config, ids, model  # noqa: E402

from flash_tutorial.config import ARCHITECTURES  # noqa: E402
from flash_tutorial.hf import FlashConfig, from_native  # noqa: E402
from flash_tutorial.hf.configuration import OURS  # noqa: E402
from flash_tutorial.settings import ABSENT  # noqa: E402

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

NAMES = [*ARCHITECTURES, "hybrid"]
all_of_ours = pytest.mark.parametrize("architecture", [*ARCHITECTURES, HYBRID], ids=NAMES)
LENGTHS = (14, 9, 5)  # three full chunks of 4 and a tail, and shorter ones


def both(architecture="flash", **options):
    """A LanguageModel, and the same one as transformers has it."""
    native = model(architecture, **options)
    return native, from_native(native)


def hf_config(architecture="flash", **options):
    """The small configuration, with what transformers has besides."""
    ours = {name: options.pop(name) for name in OURS if name in options}
    values = asdict(config(architecture, **ours))
    there = {name: values[name] for name in OURS if values[name] is not ABSENT}
    return FlashConfig(**there, **options)


def prompts(side, lengths=LENGTHS, seed=0):
    """Rows of several lengths, padded on one side: ids, an attention mask of 0 and 1, and the rows alone."""
    rows = [ids(1, n, seed + n)[0] for n in lengths]
    longest = max(lengths)
    padded = torch.full((len(rows), longest), N - 1)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for b, row in enumerate(rows):
        places = slice(longest - len(row), None) if side == "left" else slice(len(row))
        padded[b, places] = row
        mask[b, places] = 1
    return padded, mask, rows
