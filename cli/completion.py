"""Tab completion of flags and of the names they take, by shtab.

    python -m cli.completion bash > completions/bash       (or zsh)

A file that the shell reads once per terminal: nothing is started at a press of Tab, and the scripts
know nothing of it.
"""

import sys

from cli import scripts
from cli.options import options_of
from cli.parser import build
from values.types import Name

SCRIPTS = {script.name.removesuffix(".py"): script for script in scripts.SCRIPTS}
SHELLS = ("bash", "zsh")


def script(shell):
    """What a shell is to read."""
    import shtab

    parts = []
    for row in SCRIPTS.values():
        parser, options = build(row), options_of(row)
        for action in parser._actions:
            option = options.get(action.dest)
            if option and isinstance(option.type, Name):
                action.choices = option.type.names
            elif action.nargs != 0:
                action.complete = shtab.FILE
        parts.append(shtab.complete(parser, shell=shell))
    return "\n".join(parts)


if __name__ == "__main__":
    print(script(sys.argv[1]))
