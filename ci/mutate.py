#!/usr/bin/env python3
"""Writes a copy of the runtime's sources, and of the models, in which each mutation of models/mutations.txt can be switched on.

    ci/mutate.py TO         makes the copy in the directory TO, and prints each mutation's name and its models

The list is made of blocks, with an empty line between them:

    NAME: MODEL...          the models that must fail
    FILE                    the file to change
    - OLD                   what stands there, once; further lines without a sign belong to it
    + NEW                   what to put in its place
    NAME: MODEL...          another mutation of the same place
    + NEW

Where NEW names $M, it replaces OLD, and $M is true while the mutation is on. Elsewhere both are expressions, or both
statements, and the mutation chooses. So all of them are compiled at once; the program's variable MUTANT names the one that is on.
"""

import pathlib
import re
import shutil
import sys


def blocks(text):
    """(file, old, [(name, models, new)]) of each block."""
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        file, old, found, part = None, [], [], None
        for line in lines:
            if line.startswith("- "):
                part = old
                part.append(line[2:])
            elif line.startswith("+ "):
                part = found[-1][2]
                part.append(line[2:])
            elif re.match(r"[a-z0-9-]+: ", line):
                name, models = line.split(": ")
                found.append((name, models.split(), []))
            elif file is None:
                file = line
            else:
                part.append(line)
        yield file, "\n".join(old), [(name, models, "\n".join(new)) for name, models, new in found]


def choice(name, old, new):
    mutant = f'crate::atomic::mutant("{name}")'
    if "$M" in new:
        return new.replace("$M", mutant)
    if old.endswith(";"):
        return f"if {mutant} {{ {new} }} else {{ {old} }}"
    return f"(if {mutant} {{ {new} }} else {{ {old} }})"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    to = pathlib.Path(sys.argv[1])
    for part in ("crates/gort-rt/src", "models"):
        shutil.copytree(root / part, to / part, ignore=shutil.ignore_patterns("target"), dirs_exist_ok=True)
    main = to / "models/src/main.rs"  # what the list says is not meant to look well
    main.write_text(main.read_text().replace("#![allow(", "#![allow(warnings, ", 1))
    for file, old, found in blocks((root / "models/mutations.txt").read_text()):
        path = to / file
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"mutate: {file} holds {text.count(old)} times, in place of once:\n{old}")
        now = old
        for name, models, new in found:
            now = choice(name, now, new)
            print(name, *models)
        path.write_text(text.replace(old, now))


main()
