"""Files of an npm package: a pinned version, checked against its hash, kept in a cache folder.

npm itself fetches it, so that a registry of one's own, or a proxy, is the one that npm is set to.
"""

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

MATHJAX = (
    "mathjax@4.1.3",
    ("tex-svg.js", "a11y/assistive-mml.js"),
    "sha512-BN/8Pkgn7G1pIDYJqd9md+JHsE/jydSYbyOZnSdSA0WziuVO8mRxdYiWFumkVVly/8U+hm9DpIIoWuvySverzw==",
)


class FetchError(Exception):
    """A file that could not be had, and what to do."""


def npm_files(package, names, integrity, cache):
    """The folder that holds the files ``names`` of ``package``, a "name@version"; fetched into ``cache`` unless there.

    ``integrity`` is the hash of the package's archive, as npm writes it.
    """
    folder = Path(cache) / package.replace("/", "-")
    if not all((folder / name).is_file() for name in names):
        archive = fetched(package, cache)
        check_hash(archive, package, integrity)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            for name in names:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(".part")
                part.write_bytes(files.extractfile(f"package/{name}").read())
                part.replace(path)
    return folder


def fetched(package, cache):
    """The bytes of the package's archive."""
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(
            f"{package} is not in {cache} and there is no npm to fetch it: install Node.js (Debian: apt-get install "
            "npm), or build once where it is and copy that folder"
        )
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [npm, "pack", package, "--silent", "--pack-destination", folder],
            capture_output=True,
            text=True,
            cwd=folder,
        )
        archives = [*Path(folder).glob("*.tgz")]
        if run.returncode or len(archives) != 1:
            raise FetchError(
                f"npm could not fetch {package}: is its registry (npm config get registry) within reach?\n{run.stderr}"
            )
        return archives[0].read_bytes()


def check_hash(archive, package, integrity):
    kind, _, expected = integrity.partition("-")
    got = base64.b64encode(hashlib.new(kind, archive).digest()).decode()
    if got != expected:
        raise FetchError(
            f"{package} has the {kind} {got}, expected {expected}: it is not what was pinned"
        )
