"""The shipped FLASH on a page: it writes in the browser, and shows what each letter read."""

from flash_course import drawing
from flash_course.bench.counts import count_state_numbers
from flash_course.bench.stored import load_stored
from flash_tutorial import LanguageModel
from flash_tutorial.model import find_config

from . import int8
from .page import Page

MODEL, RIVAL = "austen-flash", "austen-transformer++"
PROMPT = "It is a truth universally acknowledged, that "
LETTERS = 300  # that one press of the button writes
MOST = 2048  # letters on the page: it keeps what each of them read, which the model itself does not


def state_against_cache(state, each, title):
    """The still picture: numbers kept after each letter, a state that stays and a cache that grows."""
    figure, axes = drawing.new_axes(6.2, 3.0, "letters read", "numbers kept, millions", title)
    letters = range(0, MOST + 1, 128)
    curves = {
        "FLASH": (letters, [state / 1e6] * len(letters)),
        "Transformer++": (letters, [n * each / 1e6 for n in letters]),
    }
    drawing.lines(axes, curves)
    axes.set_ylim(bottom=0)
    drawing.name_lines(axes, apart=0.2)
    alt = (
        f"Numbers kept while text is written. FLASH keeps {state:,} after any letter; the cache of a Transformer++ "
        f"of the same size grows by {each:,} a letter, to {MOST * each:,} after {MOST:,}."
    )
    return figure, alt


def numbers_kept():
    """Numbers that FLASH keeps after any letter, and that the Transformer++ of its size keeps for each letter."""
    return count_state_numbers(find_config(MODEL), 1), count_state_numbers(find_config(RIVAL), 1)


def writer(prompt=PROMPT):
    """The page: the model's weights in int8, a beginning to type, and the text that it writes."""
    model = LanguageModel.from_pretrained(MODEL)
    c = model.config
    state, each = numbers_kept()
    overtakes = state // each + 1
    figure, alt = state_against_cache(
        state, each, f"From letter {overtakes} on a cache is larger than FLASH's state"
    )
    bits = load_stored("int8")["bits_per_byte"]
    moved = abs(bits["int8"] - bits["float"])
    data = {
        "model": {
            "config": {
                "D": c.dim,
                "E": c.expansion * c.dim,
                "S": c.qk_dim,
                "C": c.chunk_size,
                "depth": c.depth,
            },
            "packed": int8.packed(model),
        },
        "prompt": prompt,
        "letters": LETTERS,
        "most": MOST,
        "kept": {"state": state, "each": each, "overtakes": overtakes},
        "bits": {name: f"{value:.5f}" for name, value in (bits | {"moved": moved}).items()},
        "parameters": f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million",
    }
    return Page(
        "writer",
        "FLASH writes: a trained model in this page",
        "Type a beginning: a FLASH model of 1.9 million weights goes on in your browser, and each letter shows what "
        "it read near and far.",
        alt,
        figure,
        data,
        parts=("flash_model.js",),
    )
