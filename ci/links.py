#!/usr/bin/env python3
"""Checks that what the Markdown files of this repository point at is there.

Two kinds of pointers: links to files, and paths of source files between backquotes (those with a slash and a known ending).
Links to the web are not followed.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)+\.(?:rs|c|h|sh|py|md|toml))`")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# Paths may be given from the root or from the place where most of the code is.
BASES = [ROOT, ROOT / "crates/gort-rt/src", ROOT / "crates"]


def missing(document):
    """The pointers in `document` that lead nowhere."""
    text = CODE.sub("", document.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if not re.match(r"[a-z]+:", link) and not (document.parent / link).exists():
            yield link
    for path in PATH.findall(text):
        if not any((base / path).exists() for base in BASES):
            yield path


def main():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    bad = [f"{d.relative_to(ROOT)}: {m} does not exist" for d in documents for m in missing(d)]
    print("\n".join(bad) if bad else f"ci/links.py: the pointers in {len(documents)} documents lead somewhere")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
