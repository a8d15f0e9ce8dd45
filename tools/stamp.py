#!/usr/bin/env python3
"""Write the repository's name and tag wherever they stand: python tools/stamp.py OWNER/REPO TAG

It rewrites the constant in flash_course/addresses.py and the first cell of each notebook's source, writes an address
behind the links of README.md and of the notebook sources that need one, and rewrites every other address of the
repository in these, CONTRIBUTING.md, CITATION.cff and docs/*.md. `python tools/stamp.py OWNER/REPO main`, in just these
words, takes the name out again.
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST_CELL = re.compile(r"^# @title Setup\b.*?(?=\n\n# %%|\n*\Z)", flags=re.M | re.S)  # in a source
CONSTANT = re.compile(r'^REPOSITORY, TAG = "[^"]*", "[^"]*"', flags=re.M)


def stamped_files(root):
    """The files that may name the repository."""
    patterns = (
        "README.md",
        "CONTRIBUTING.md",
        "CITATION.cff",
        "docs/*.md",
        "notebooks/*.py",
        "solutions/*.py",
    )
    found = [root / "flash_course" / "addresses.py"]
    for pattern in patterns:
        found += sorted(root.glob(pattern))
    return found


def project_of(text):
    """What flash_course/addresses.py defines, from its text."""
    project = {}
    exec(compile(text, "addresses.py", "exec"), project)
    return project


def addresses(repository, tag):
    """A pattern for the repository's addresses on GitHub and Colab: what comes before its name, and before the tag."""
    name, tag = re.escape(repository), re.escape(tag)
    return re.compile(
        rf"(\bgithub(?:\.com)?/){name}(?![\w-]|\.(?!git\b)\w)(?:(/(?:blob|tree|raw)/|(?:\.git)?@){tag}(?![\w.-]*\w))?"
    )


def restamped(text, folder, old, new):
    """A file's text under the constants of ``new`` in place of ``old``, both as ``project_of`` gives them.

    ``folder`` is the page's, from the root; None where links get no address behind them.
    """
    repository, tag = new["REPOSITORY"], new["TAG"]

    def address(match):
        start, before_tag = match.groups()
        if not before_tag:
            return f"{start}{repository}"
        return f"{start}{repository}{before_tag}{tag}"

    if folder is not None:
        text = new["with_addresses"](text, folder)
    text = addresses(old["REPOSITORY"], old["TAG"]).sub(address, text)
    if folder in ("notebooks", "solutions"):
        text = FIRST_CELL.sub(lambda _: new["first_cell"](), text)
    return CONSTANT.sub(lambda _: f'REPOSITORY, TAG = "{repository}", "{tag}"', text)


def cited(text, new):
    """CITATION.cff with the line that says where the code lies, or without it."""
    line = ""
    if new["is_stamped"]():
        line = f'repository-code: "{new["home_address"]()}"\n'
    text = re.sub(r"^repository-code:.*\n", "", text, flags=re.M)
    return re.sub(r"^(?=license:)", lambda _: line, text, count=1, flags=re.M)


def folder_of(path, root):
    """The folder whose relative links get addresses, None for a page whose links do not."""
    folder = path.parent.relative_to(root).as_posix()
    if path.name == "CONTRIBUTING.md":
        return None
    return {"notebooks": folder, "solutions": folder, ".": ""}.get(folder)


def stamp(repository, tag, root=ROOT):
    """Rewrite all files; returns those that changed."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", repository):
        raise ValueError(
            f"{repository!r}: expected the repository's name on GitHub as OWNER/REPO, such as ada/flash"
        )
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/-]*", tag):
        raise ValueError(f"{tag!r}: expected a tag or branch, such as v0.1.0 or main")
    text = (root / "flash_course" / "addresses.py").read_text(encoding="utf-8")
    old = project_of(text)
    new = project_of(CONSTANT.sub(f'REPOSITORY, TAG = "{repository}", "{tag}"', text))
    changed = []
    # addresses.py last: a run that was cut short can be repeated, since the old name is still known
    for path in reversed(stamped_files(root)):
        before = path.read_text(encoding="utf-8")
        after = restamped(before, folder_of(path, root), old, new)
        if path.name == "CITATION.cff":
            after = cited(after, new)
        if after != before:
            path.write_text(after, encoding="utf-8", newline="\n")
            changed.append(path)
    return changed


def main(arguments=None, root=ROOT):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repository", metavar="OWNER/REPO", help="the name on GitHub")
    parser.add_argument("tag", metavar="TAG", help="a tag or branch that has been pushed there")
    args = parser.parse_args(arguments)
    try:
        changed = stamp(args.repository, args.tag, root)
    except ValueError as error:
        parser.error(str(error))
    for path in changed:
        print(path.relative_to(root).as_posix())
    line = f"{len(changed)} files rewritten"
    if changed:
        line += "; now run: python tools/exercises.py build, python tools/notebooks.py build"
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
