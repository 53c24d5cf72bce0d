#!/usr/bin/env python3
"""Print how PNGs were made, and the command that draws an image again."""

from cli.begin import begin

if __name__ == "__main__":  # Ctrl-C or a missing package during the imports: one line, no traceback
    begin()

import json
import os
import sys

from cli.parser import all_values
from cli.scripts import INFO
from models import checkpoints
from models.zoo import NETWORKS
from recipes import commands, info
from runner.exit import program
from values.errors import UserError, printable


def main():
    args = all_values(INFO)
    name, failed = os.path.basename(sys.argv[0]), False
    for i, path in enumerate(args.files):
        try:
            found = info.find(path)
            if args.json:
                text = json.dumps(as_json(path, found))
            elif args.command:
                text = as_command(path, found)
            else:
                text = as_text(path, found, titled=len(args.files) > 1)
                text = "\n" + text if i else text
        except UserError as error:
            print(f"{name}: error: {error}", file=sys.stderr)
            failed = True
        else:
            print(text)
    if failed:
        sys.exit(2)


def as_json(path, found):
    size = {"file": str(path), "size": list(found.size)}
    if found.recipe is not None:
        return {**size, "recipe": found.recipe}
    return {**size, "parameters": found.parameters}


def as_command(path, found):
    """The command line for one file; what to know of it goes to stderr."""
    shown = printable(path, 200)
    if found.recipe is None:
        raise UserError(f"{shown}: was not made by these scripts: there is no command to draw it")
    try:
        command = commands.command(found.recipe, path, os.path.dirname(sys.argv[0]))
    except UserError as error:
        raise UserError(f"{shown}: {error}") from None
    row, notes = NETWORKS[found.recipe["model"]], command.notes
    if row.url and "--checkpoint" not in command.arguments and not checkpoints.is_present(row):
        notes = [*notes, f"the checkpoint of {row.name} is not here: the command downloads it"]
    for note in notes:
        print(f"note: {shown}: {note}", file=sys.stderr)
    return command.line()


def as_text(path, found, titled):
    """The recipe in two columns, the second of which may have several lines."""
    rows = info.rows(found)
    width = max((len(name) for name, _ in rows), default=0)
    lines = [printable(path, 1000)] if titled else []
    for name, text in rows:
        first, *others = text.split("\n")
        lines.append(f"{name:{width}}  {first}")
        lines += [f"{'':{width}}  {line}" for line in others]
    return "\n".join(lines)


if __name__ == "__main__":
    program(main)
