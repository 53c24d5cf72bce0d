"""Tab completion of flags and of the names they take, by shtab.

    python -m cli.completion bash > completions/bash       (or zsh)

A file that the shell reads once per terminal: nothing is started at a press of Tab, and the scripts
know nothing of it.
"""

import importlib
import sys

SCRIPTS = (
    "cfg_sample",
    "clip_sample",
    "reverse_sample",
    "cfg_modify_image",
    "make_grid",
    "png_info",
    "make_gallery",
)
SHELLS = ("bash", "zsh")


def script(shell):
    """What a shell is to read."""
    import shtab

    parts = []
    for name in SCRIPTS:
        parser = importlib.import_module(name).make_parser()
        parser.prog = f"{name}.py"
        for action in parser._actions:
            if hasattr(action.type, "names"):
                action.choices = list(action.type.names)
            elif action.nargs != 0:
                action.complete = shtab.FILE
        parts.append(shtab.complete(parser, shell=shell))
    return "\n".join(parts)


if __name__ == "__main__":
    print(script(sys.argv[1]))
