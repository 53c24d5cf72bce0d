"""`docs/options.md`: the options of all scripts, from their table.

python -m cli.options_page > docs/options.md
"""

import re

from cli.options import options_of
from cli.scripts import SCRIPTS


def page():
    """The text of the page."""
    parts = ["# Options", "From `cli/options.py`, by `python -m cli.options_page`."]
    for script in SCRIPTS:
        rows = ["| option | default | what it is |", "|---|---|---|"]
        for option in options_of(script).values():
            cells = (_names(option), _quoted(option.shown_default), _text(option.help))
            rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
        parts += [f"## {script.name}", script.about, "\n".join(rows)]
    return "\n\n".join(parts)


def _names(option):
    words = option.metavar if isinstance(option.metavar, tuple) else (option.metavar,)
    values = " ".join(word for word in words if word)
    if option.many in ("+", "*") and "..." not in values:
        values += " ..."
    elif option.many == "?":
        values = f"[{values}]"
    if option.is_positional:
        return _quoted(values)
    first, *others = option.flags.split()
    return ", ".join(map(_quoted, [f"{first} {values}".rstrip(), *others]))


def _quoted(text):
    return f"`{text}`" if text else ""


def _text(text):
    """A help text as Markdown shows it."""
    return re.sub(r"[\\`*_<>\[\]|]", r"\\\g<0>", text)


if __name__ == "__main__":
    print(page())
