#!/usr/bin/env python3
"""Write the repository's name and tag wherever they stand: python tools/stamp.py OWNER/REPO TAG

It rewrites the constant in flash_course/addresses.py and in each notebook source's first cell, and every address of the
repository in README.md, CONTRIBUTING.md, docs/*.md and the notebook sources.
"""

import argparse
import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTANT = re.compile(r'^REPOSITORY, TAG = "[^"]*", "[^"]*"', flags=re.M)


def stamped_files(root):
    """The files that may name the repository."""
    patterns = ("README.md", "CONTRIBUTING.md", "docs/*.md", "notebooks/*.py", "solutions/*.py")
    return [root / "flash_course" / "addresses.py", *(path for p in patterns for path in sorted(root.glob(p)))]


def addresses(repository, tag):
    """A pattern for the repository's addresses on GitHub and Colab: what comes before its name, and before the tag."""
    name, tag = re.escape(repository), re.escape(tag)
    return re.compile(
        rf"(\bgithub(?:\.com)?/){name}(?![\w-]|\.(?!git\b)\w)(?:(/(?:blob|tree|raw)/|(?:\.git)?@){tag}(?![\w.-]*\w))?"
    )


def restamped(text, old, new):
    """``text`` with the constant and the addresses of ``old`` (repository, tag) turned to those of ``new``."""
    repository, tag = new

    def address(match):
        start, before_tag = match.groups()
        return f"{start}{repository}" + (f"{before_tag}{tag}" if before_tag else "")

    text = addresses(*old).sub(address, text)
    return CONSTANT.sub(lambda _: f'REPOSITORY, TAG = "{repository}", "{tag}"', text)


def stamp(repository, tag, root=ROOT):
    """Rewrite all files; returns those that changed."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", repository):
        raise ValueError(f"{repository!r}: expected the repository's name on GitHub as OWNER/REPO, such as ada/flash")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/-]*", tag):
        raise ValueError(f"{tag!r}: expected a tag or branch, such as v0.1.0 or main")
    project = runpy.run_path(str(root / "flash_course" / "addresses.py"))
    old, changed = (project["REPOSITORY"], project["TAG"]), []
    # project.py last: a run that was cut short can be repeated, since the old name is still known
    for path in reversed(stamped_files(root)):
        before = path.read_text(encoding="utf-8")
        after = restamped(before, old, (repository, tag))
        if after != before:
            path.write_text(after, encoding="utf-8", newline="\n")
            changed.append(path)
    return changed


def main(arguments=None, root=ROOT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", metavar="OWNER/REPO", help="the name on GitHub")
    parser.add_argument("tag", metavar="TAG", help="a tag or branch that has been pushed there")
    args = parser.parse_args(arguments)
    try:
        changed = stamp(args.repository, args.tag, root)
    except ValueError as error:
        parser.error(str(error))
    for path in changed:
        print(path.relative_to(root).as_posix())
    print(f"{len(changed)} files rewritten" + ("; now run: python tools/notebooks.py build" if changed else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
