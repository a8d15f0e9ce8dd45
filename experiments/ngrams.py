"""What short context alone can do: n-gram models and compressors on the embedded novels, in bits
per byte.

Order k means that a byte is predicted from the k bytes before it. PPMd needs `pip install pyppmd`.
It learns while it reads, as no model of the package does once it is trained. So it is scored twice:
over the whole novel, and over one of eight windows of 1024 bytes, each read as if it came right
after the four training novels; by what single windows cost, such a score is good to about 0.05
bits. What a text adds to the compressed size of what came before it is its score.
"""

import bz2
import lzma

import numpy as np

from flash_course.bench.stored import RESULTS
from flash_tutorial.corpora import load_corpus
from flash_tutorial.experiments import Arm, Experiment, command
from flash_tutorial.experiments.tables import markdown

ORDERS = (0, 1, 2, 3, 5)
# one window of eight is scored: each reads the novels
PPMD_ORDER, PPMD_MEMORY, WINDOW, EVERY = (
    8,
    512 << 20,
    1024,
    8,
)
SHORT = 100_000


class WittenBell:
    """Interpolated n-gram model of bytes (Witten and Bell, 1991): in a context h seen n times with
    U different bytes,

        P_k(b | h) = (count(h b) + U P_{k-1}(b | h without its first byte)) / (n + U),    P_{-1} = 1 / 256,

    and P_k = P_{k-1} where h was never seen. Before a document's first byte stand k NUL bytes.
    """

    def __init__(self, documents, order):
        self.levels = [self._count(documents, k) for k in range(order + 1)]

    @staticmethod
    def _count(documents, k):
        grams, counts = np.unique(
            np.concatenate([grams_of(d, k) for d in documents]), return_counts=True
        )
        # sorted grams keep those of one context together
        contexts, first, kinds = np.unique(
            grams >> np.uint64(8), return_index=True, return_counts=True
        )
        return grams, counts, contexts, np.add.reduceat(counts, first), kinds

    def probabilities(self, document):
        """P(byte | the `order` bytes before it) for each byte, (n,) float64."""
        p = np.full(len(document), 1 / 256)
        for k, (grams, counts, contexts, totals, kinds) in enumerate(self.levels):
            here = grams_of(document, k)
            count = look_up(here, grams, counts)
            total = look_up(here >> np.uint64(8), contexts, totals)
            kind = look_up(here >> np.uint64(8), contexts, kinds)
            p = np.where(total > 0, (count + kind * p) / np.maximum(total + kind, 1), p)
        return p


def grams_of(document, k):
    """Each byte with the k before it as one integer, the byte itself lowest; k <= 7."""
    padded = np.concatenate([np.zeros(k, np.uint64), document.astype(np.uint64)])
    n = len(document)
    return sum(
        (padded[k - j : k - j + n] << np.uint64(8 * j) for j in range(k + 1)),
        np.zeros(n, np.uint64),
    )


def look_up(keys, table, values):
    place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.where(table[place] == keys, values[place], 0)


def bits_per_byte(probabilities):
    return float(-np.log2(probabilities).mean())


def xz(text):
    return lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)


def ppmd(text):
    """Compressed by PPMd, variant H."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(PPMD_ORDER, PPMD_MEMORY)
    return encoder.encode(text) + encoder.flush()


def in_windows(novels, novels_alone, text):
    """The bytes that windows of a text add to the novels, each by itself, scaled to the whole
    text.
    """
    windows = [text[i : i + WINDOW] for i in range(0, len(text), WINDOW * EVERY)]
    added = sum(len(ppmd(novels + window)) - novels_alone for window in windows)
    return added * len(text) / sum(map(len, windows))


def added(compress, text, corpus):
    """Bytes that a text adds to the compressed training novels."""
    novels = corpus.train.tokens.tobytes()
    return len(compress(novels + text)) - len(compress(novels))


def windows_added(text, corpus):
    """The same of PPMd for windows, each by itself, scaled to the whole text."""
    novels = corpus.train.tokens.tobytes()
    return in_windows(novels, len(ppmd(novels)), text)


COMPRESSORS = {
    "bz2": lambda text, corpus: len(bz2.compress(text, 9)),
    "xz": lambda text, corpus: len(xz(text)),
    "xz, given the training novels": lambda text, corpus: added(xz, text, corpus),
    f"PPMd, order {PPMD_ORDER}, given the training novels": lambda text, corpus: added(
        ppmd, text, corpus
    ),
    f"the same, learning no more than a window of {WINDOW}": windows_added,
}


def make(arm, rate, seed, steps):
    """Bits per byte of *Persuasion*, of *Northanger Abbey*, each whole, and of the beginning of
    *Persuasion*.
    """
    corpus = load_corpus("austen")
    persuasion, northanger = corpus.validation.document(0), corpus.test.document(0)
    texts = {
        "validation": persuasion,
        "test": northanger,
        f"validation, first {SHORT} bytes": persuasion[:SHORT],
    }
    if arm.name in COMPRESSORS:
        size = COMPRESSORS[arm.name]
        return {
            name: round(8 * size(text.tobytes(), corpus) / len(text), 4)
            for name, text in texts.items()
        }
    train = [corpus.train.document(i) for i in range(corpus.train.n_documents)]
    model = WittenBell(train, arm.settings["order"])
    return {
        name: round(bits_per_byte(model.probabilities(text)), 4) for name, text in texts.items()
    }


def tables(rows):
    """Both novels."""
    lines = [
        [row["arm"], *(f"{row['measures'][split]:.3f}" for split in ("validation", "test"))]
        for row in sorted(rows, key=lambda row: -row["measures"]["validation"])
    ]
    return markdown(["model", "*Persuasion*", "*Northanger Abbey*"], lines)


EXPERIMENT = Experiment(
    "ngrams",
    "What can short context alone do?",
    arms=(
        *(Arm(f"Witten-Bell, order {order}", settings={"order": order}) for order in ORDERS),
        *(Arm(name) for name in COMPRESSORS),
    ),
    steps=(0,),
    seeds=(None,),
    make=make,
    score="validation",
    same_code=("4d83881",),
    setting="Models of the four training novels, and compressors; whole novels, in bits per byte.",
    meaning="Counting five bytes comes to about 2.0. PPMd, which has read the same novels and goes on learning from "
    "the one that it is scored on, is behind the models in the package on both novels; where it learns from "
    "no more than a window of 1,024 bytes, as they do, it is farther behind. Models that go on learning as it "
    "does are in `dynamic`, and ahead of it.",
    not_tried="Higher orders; larger models of counts.",
    tables=tables,
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)
