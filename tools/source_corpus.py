#!/usr/bin/env python3
"""Make a corpus of the sources of six Python packages, in tokens, the same on every machine.

    python tools/source_corpus.py runs/sources       pip fetches the wheels, which are checked by their sha256

A package's modules stand in the order of their paths, so that a window reads on from one into the next; of
every 20 one is validation and one test. Tests and tables of locales are left out. The folder gets
train.npy, validation.npy and test.npy, ids of a BPE of 2,048 tokens made on the training text, for each the
offsets of the packages, and tokenizer.json.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from flash_tutorial.files import file_sha256, make_folder, whole_files

WHEELS = {  # sha256 by file name: BSD and MIT licences
    "Django-5.1.4-py3-none-any.whl": "236e023f021f5ce7dee5779de7b286565fdea5f4ab86bae5338e3f7b69896cf0",
    "SQLAlchemy-2.0.36-py3-none-any.whl": "fddbe92b4760c6f5d48162aef14824add991aeda8ddadb3c31d56eb15ca69f8e",
    "networkx-3.4.2-py3-none-any.whl": "df5d4365b724cf81b8c6a7312509d0c22386097011ad1abe274afd5e9d3bbc5f",
    "sphinx-8.1.3-py3-none-any.whl": "09719015511837b76bf6e03e42eb7595ac8c2e41eeb9c29c5b755c6b677992a2",
    "sympy-1.13.3-py3-none-any.whl": "54612cf55a62755ee71824ce692986f23c88ffa77207b30c1368eda4a7060f73",
    "twisted-24.11.0-py3-none-any.whl": "fe403076c71f04d5d2d789a755b687c5637ec3bcd3b2b8252d76f2ba65f54261",
}
TOKENS = 2048
LEFT_OUT = ("/tests/", "/test/", "/testing/", "/locale/", "/locales/", "/conf/locale/")
HELD = {10: "validation", 0: "test"}  # by the module's place among 20
SPLITS = ("train", "validation", "test")
SHA256 = "ac8293d7230e5d66477cb7b0e7b701a4beb45c141ef6e59f1249578fa1a28820"  # of the ids


def fetch(folder):
    """The wheels, in ``folder``."""
    wanted = [name.split("-py3")[0].replace("-", "==") for name in WHEELS]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    options = ["--only-binary", ":all:", "--platform", "any", "--dest", str(folder)]
    if subprocess.run([*pip, *options, *wanted]).returncode:
        sys.exit(
            f"pip could not fetch {', '.join(wanted)}: is there a network, or a registry that pip knows?"
        )
    for name, sha256 in WHEELS.items():
        if file_sha256(folder / name) != sha256:
            sys.exit(
                f"{name} is not the file that was pinned (sha256 {sha256}): nothing is written"
            )


def modules_of(wheel):
    """The text of each module, by its path, behind a line with it."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
        names = sorted(name for name in names if not any(part in name for part in LEFT_OUT))
        texts = (archive.read(name).decode("utf-8").replace("\r\n", "\n") for name in names)
        return [f"# {name}\n{text}\n" for name, text in zip(names, texts, strict=True)]


def split_texts(folder):
    """{split: a text for each package}."""
    texts = {split: [] for split in SPLITS}
    for wheel in WHEELS:
        parts = {split: [] for split in SPLITS}
        for place, text in enumerate(modules_of(folder / wheel)):
            parts[HELD.get(place % 20, "train")].append(text)
        for split in SPLITS:
            texts[split].append("".join(parts[split]))
    return texts


def tokenizer_of(texts):
    """A byte-level BPE of the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=TOKENS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def arrays_of(ids):
    """{file: array}: the ids of each split, and where its packages begin."""
    arrays = {}
    for split in SPLITS:
        arrays[f"{split}.npy"] = np.concatenate(ids[split]).astype(np.uint16)
        arrays[f"{split}_offsets.npy"] = np.cumsum([0, *map(len, ids[split])])
    return arrays


def write(folder, arrays, tokenizer):
    """All files of the corpus, whole or not at all."""
    make_folder(folder)
    names = [*arrays, "tokenizer.json"]
    with whole_files(*(folder / name for name in names)) as parts:
        for part, array in zip(parts[:-1], arrays.values(), strict=True):
            with open(part, "wb") as file:
                np.save(file, array)
        parts[-1].write_text(tokenizer.to_str(), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fetch(Path(folder))
        texts = split_texts(Path(folder))
    tokenizer = tokenizer_of(texts["train"])
    ids = {
        split: [tokenizer.encode(text).ids for text in of_packages]
        for split, of_packages in texts.items()
    }
    arrays = arrays_of(ids)
    sha256 = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
    if sha256 != SHA256:
        sys.exit(f"the ids came out as others than elsewhere (sha256 {sha256}): nothing is written")
    write(args.out, arrays, tokenizer)
    for split in SPLITS:
        n_bytes = sum(len(text.encode()) for text in texts[split])
        print(f"{split}: {n_bytes:,} bytes, {sum(map(len, ids[split])):,} tokens")


if __name__ == "__main__":
    main()
