"""Tab completion of flags and of the names they take, as a script for bash.

    python -m cli.completion > completions/bash

A file that bash reads once per terminal: nothing is started at a press of Tab, and the scripts
know nothing of it.
"""

import importlib

SCRIPTS = (
    "cfg_sample",
    "clip_sample",
    "reverse_sample",
    "cfg_modify_image",
    "make_grid",
    "png_info",
    "make_gallery",
)
HEAD = """\
# Tab completion for bash, made by `make completion`:  . completions/bash
_v_diffusion() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} flags="" names=""
    case ${COMP_WORDS[0]##*/} in
"""
# Where nothing is offered, bash completes names of files.
TAIL = """\
    esac
    [[ $word == -* ]] && names=$flags
    COMPREPLY=($(compgen -W "$names" -- "$word"))
}
"""


def bash():
    """The script."""
    files = [f"{name}.py" for name in SCRIPTS]
    cases = "".join(map(_case, SCRIPTS))
    return f"{HEAD}{cases}{TAIL}complete -o default -F _v_diffusion {' '.join(files)}\n"


def _case(name):
    """What may be said to one script."""
    actions = importlib.import_module(name).make_parser()._actions
    flags = [flag for action in actions for flag in action.option_strings]
    lines = [f"    {name}.py)", f'        flags="{" ".join(flags)}"']
    taken = [(a.option_strings, a.type.names) for a in actions if hasattr(a.type, "names")]
    if taken:
        lines.append("        case $before in")
        for some, names in taken:
            lines.append(f'        {"|".join(some)}) names="{" ".join(names)}" ;;')
        lines.append("        esac")
    return "\n".join([*lines, "        ;;\n"])


if __name__ == "__main__":
    print(bash(), end="")
