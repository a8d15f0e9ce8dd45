"""Build the embedded corpus from Debian's package of the R package janeaustenr (standard library only; no R needed).

    apt-get download r-cran-janeaustenr && dpkg-deb -x r-cran-janeaustenr_*.deb unpacked
    python tools/build_austen.py unpacked OUT

OUT then has austen.txt.bz2 (the novels as UTF-8, joined by one NUL byte, which occurs in none of them) and
manifest.json (sha256 of the whole and of each novel), byte for byte those in flash_tutorial/corpora.
"""

import argparse
import bz2
import hashlib
import html
import json
import re
import struct
import zlib
from pathlib import Path

DATA = "usr/lib/R/site-library/janeaustenr/data/Rdata"
NOVELS = [
    ("sensesensibility", "Sense and Sensibility"),
    ("prideprejudice", "Pride and Prejudice"),
    ("mansfieldpark", "Mansfield Park"),
    ("emma", "Emma"),
    ("northangerabbey", "Northanger Abbey"),
    ("persuasion", "Persuasion"),
]
PLAIN = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2011": "-",
    "\u2013": "-",
    "\u2014": "--",
    "\u2022": "*",
    "\u00b0": " degrees",
    "\u00a0": " ",
    "\u00a320,000": "20,000 pounds",
}


class Serialized:
    """A value that R serialized in its XDR form: just the kinds that the data of this package hold."""

    def __init__(self, data):
        self.data, self.at, self.symbols = data, 0, []

    def take(self, n):
        self.at += n
        return self.data[self.at - n : self.at]

    def integer(self):
        return struct.unpack(">i", self.take(4))[0]

    def load(self):
        if self.take(2) != b"X\n":
            raise ValueError("not an XDR serialization of R")
        version = self.integer()
        self.take(8)  # versions of R
        if version == 3:
            self.take(self.integer())  # native encoding
        return self.item()

    def item(self):
        flags = self.integer()
        kind = flags & 0xFF
        if kind == 254:  # NULL
            return None
        if kind in (242, 251, 252, 253):  # environments and markers
            return kind
        if kind == 255:  # a symbol seen before
            return self.symbols[(flags >> 8 or self.integer()) - 1]
        if kind == 1:
            self.symbols.append(self.item())
            return self.symbols[-1]
        if kind == 9:
            return self.string(flags)
        if kind == 2:  # pairlist
            tag = self.item() if flags & 0x400 else None
            head = self.item()
            return [(tag, head), *(self.item() or [])]
        return self.vector(kind, flags)

    def string(self, flags):
        n = self.integer()
        if n < 0:
            return None
        encoding = "latin-1" if flags >> 12 & 4 else "utf-8"
        return self.take(n).decode(encoding)

    def vector(self, kind, flags):
        n = self.integer()
        if kind in (10, 13):
            values = [self.integer() for _ in range(n)]
        elif kind in (16, 19):
            values = [self.item() for _ in range(n)]
        else:
            raise ValueError(f"unsupported kind {kind} in R's data")
        if flags & 0x200:
            return values, dict(self.item() or [])
        return values


def read_lazyload(base):
    """{name: lines} from R's lazy-load database base.rdx, base.rdb."""
    index, names = Serialized(zlib.decompress(Path(f"{base}.rdx").read_bytes(), 47)).load()
    variables, names = dict(zip(names["names"], index))["variables"]
    blob, lines = Path(f"{base}.rdb").read_bytes(), {}
    for name, place in zip(names["names"], variables):
        offset, n = place[0] if isinstance(place, tuple) else place
        raw = zlib.decompress(blob[offset + 4 : offset + n])
        values = Serialized(raw).load()
        if isinstance(values, tuple):
            values = values[0]
        lines[name] = [line or "" for line in values]
    return lines


def clean(text):
    """Plain ASCII signs, no blanks at line ends, at most two empty lines in a row."""
    text = html.unescape(text)
    for sign, plain in PLAIN.items():
        text = text.replace(sign, plain)
    text = re.sub(r"[\x00-\x08\x0b-\x1f]", "", text.replace("\r\n", "\n"))
    text = re.sub(r"[ \t]+$", "", text, flags=re.M)
    return re.sub(r"\n{4,}", "\n\n\n", text).strip() + "\n"


def novels(unpacked):
    data = read_lazyload(Path(unpacked) / DATA)
    for key, _ in NOVELS:
        text = "\n".join(data[key])
        if key == "northangerabbey":
            # a modern publisher's note after the end
            text = text[: text.rindex("A NOTE ON THE TEXT")]
        yield clean(text).encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("unpacked", help="folder with the unpacked Debian package")
    parser.add_argument("out", type=Path, help="folder to write to")
    args = parser.parse_args()
    texts = list(novels(args.unpacked))
    whole = b"\0".join(texts)
    packed = bz2.compress(whole, 9)
    documents = [
        {"id": key, "title": title, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
        for (key, title), text in zip(NOVELS, texts)
    ]
    sha256 = hashlib.sha256(whole).hexdigest()
    manifest = {
        "bytes": len(whole),
        "bz2_bytes": len(packed),
        "sha256": sha256,
        "documents": documents,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "austen.txt.bz2").write_bytes(packed)
    (args.out / "manifest.json").write_text(json.dumps({"austen": manifest}, indent=1) + "\n")
    print(f"{len(documents)} novels, {len(whole)} bytes, {len(packed)} packed, sha256 {sha256}")


if __name__ == "__main__":
    main()
