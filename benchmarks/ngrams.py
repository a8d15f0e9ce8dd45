"""What short context alone can do: n-gram models and compressors on the embedded novels, in bits per byte.

    python benchmarks/ngrams.py [--out FILE]

Trains on the four training novels and scores *Persuasion* (validation) and *Northanger Abbey* (test), each whole,
and the first 100,000 bytes of *Persuasion*. Order k means that a byte is predicted from the k bytes before it. The
result is written to flash_course/bench/results/ngrams.json.

PPMd needs `pip install pyppmd`. It learns while it reads, as no model of the package does once it is trained. So it is
scored twice: over the whole novel, and over one of eight windows of 1024 bytes, each read as if it came right after the
four training novels; by what single windows cost, such a score is good to about 0.05 bits. What a text adds to the
compressed size of what came before it is its score.
"""

import argparse
import bz2
import json
import lzma
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from flash_course.bench.clock import machine
from flash_tutorial.corpora import load_corpus
from flash_tutorial.files import write_text

ORDERS = (0, 1, 2, 3, 5)
PPMD_ORDER, PPMD_MEMORY, WINDOW, EVERY = 8, 512 << 20, 1024, 8  # one window of eight is scored: each reads the novels
SHORT = 100_000
RESULT = Path(__file__).resolve().parents[1] / "flash_course" / "bench" / "results" / "ngrams.json"


class WittenBell:
    """Interpolated n-gram model of bytes (Witten and Bell, 1991): in a context h seen n times with U different bytes,

        P_k(b | h) = (count(h b) + U P_{k-1}(b | h without its first byte)) / (n + U),    P_{-1} = 1 / 256,

    and P_k = P_{k-1} where h was never seen. Before a document's first byte stand k NUL bytes.
    """

    def __init__(self, documents, order):
        self.levels = [self._count(documents, k) for k in range(order + 1)]

    @staticmethod
    def _count(documents, k):
        grams, counts = np.unique(np.concatenate([grams_of(d, k) for d in documents]), return_counts=True)
        # sorted grams keep those of one context together
        contexts, first, kinds = np.unique(grams >> np.uint64(8), return_index=True, return_counts=True)
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
    return sum((padded[k - j : k - j + n] << np.uint64(8 * j) for j in range(k + 1)), np.zeros(n, np.uint64))


def look_up(keys, table, values):
    place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.where(table[place] == keys, values[place], 0)


def bits_per_byte(probabilities):
    return float(-np.log2(probabilities).mean())


def measure(corpus):
    train = [corpus.train.document(i) for i in range(corpus.train.n_documents)]
    persuasion, northanger = corpus.validation.document(0), corpus.test.document(0)
    texts = {
        "validation": persuasion,
        "test": northanger,
        f"validation, first {SHORT} bytes": persuasion[:SHORT],
    }
    rows = []
    for order in ORDERS:
        begun = time.perf_counter()
        model = WittenBell(train, order)
        scores = {name: round(bits_per_byte(model.probabilities(text)), 4) for name, text in texts.items()}
        seconds = time.perf_counter() - begun
        rows.append({"model": f"Witten-Bell, order {order}", "order": order, **scores, "seconds": round(seconds, 2)})
        print_row(rows[-1], texts)
    novels = corpus.train.tokens.tobytes()
    compressors = {
        "bz2": lambda text: len(bz2.compress(text, 9)),
        "xz": lambda text: len(xz(text)),
        "xz, given the training novels": lambda text: len(xz(novels + text)) - len(xz(novels)),
    }
    novels_alone = len(ppmd(novels))
    compressors |= {
        f"PPMd, order {PPMD_ORDER}, given the training novels": lambda text: len(ppmd(novels + text)) - novels_alone,
        f"the same, learning no more than a window of {WINDOW}": lambda text: in_windows(novels, novels_alone, text),
    }
    for name, size in compressors.items():
        begun = time.perf_counter()
        scores = {key: round(8 * size(text.tobytes()) / len(text), 4) for key, text in texts.items()}
        rows.append({"model": name, **scores, "seconds": round(time.perf_counter() - begun, 2)})
        print_row(rows[-1], texts)
    return {name: len(text) for name, text in texts.items()}, rows


def xz(text):
    return lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)


def ppmd(text):
    """Compressed by PPMd, variant H."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(PPMD_ORDER, PPMD_MEMORY)
    return encoder.encode(text) + encoder.flush()


def in_windows(novels, novels_alone, text):
    """The bytes that windows of a text add to the novels, each by itself, scaled to the whole text."""
    windows = [text[i : i + WINDOW] for i in range(0, len(text), WINDOW * EVERY)]
    added = sum(len(ppmd(novels + window)) - novels_alone for window in windows)
    return added * len(text) / sum(map(len, windows))


def print_row(row, texts):
    print(f"{row['model']:52}", *(f"{row[name]:7.4f}" for name in texts), f"{row['seconds']:7.2f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    out = parser.parse_args().out
    corpus = load_corpus("austen")
    sizes, rows = measure(corpus)
    record = {
        "what": "bits per byte of n-gram models trained on the four training novels, and of compressors",
        "unit": "bits per byte",
        "train": list(corpus.train.titles),
        "validation": corpus.validation.titles[0],
        "test": corpus.test.titles[0],
        "bytes": {"train": len(corpus.train.tokens), **sizes},
        "rows": rows,
        "command": "python benchmarks/ngrams.py",
        "ppmd_windows": f"one of {EVERY} windows of {WINDOW} bytes",
        "machine": machine() | {"pyppmd": metadata.version("pyppmd")},
    }
    write_text(out, json.dumps(record, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    sys.exit(main())
