"""The `parameters` text that common tools write into their PNGs, taken apart.

Prompt lines come first, then lines of what is not wanted from "Negative prompt:" on, and last one
line of settings: `Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512`. There is no
standard; what cannot be told apart stays in the prompt.
"""

import json
import re

KEY = "parameters"
NEGATIVE = "Negative prompt:"
_NAME = re.compile(r'\s*([^\s:,"][^:,"\n]{0,60}):\s*')
_PLAIN = re.compile("[^,]*")
_END = re.compile(r"\s*(,|\Z)")


def parse(text):
    """A text taken apart.

    Returns:
        a dict: `prompt` and `negative_prompt`, texts of one or more lines or "", and `settings`,
        a dict from names to texts in the order of the file.
    """
    *lines, last = text.strip().replace("\r\n", "\n").split("\n")
    settings = _settings(last)
    if len(settings) < 3 and "Steps" not in settings:  # a prompt may hold a colon or two
        lines.append(last)
        settings = {}
    negative = next((i for i, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    unwanted = "\n".join(lines[negative:]).removeprefix(NEGATIVE)
    return {
        "prompt": "\n".join(lines[:negative]).strip(),
        "negative_prompt": unwanted.strip(),
        "settings": settings,
    }


def _settings(line):
    """The `Name: value` pairs of a line; {} unless it holds nothing else."""
    found, place = {}, 0
    while place < len(line):
        name = _NAME.match(line, place)
        if not name:
            return {}
        value, place = _value(line, name.end())
        found.setdefault(name[1].rstrip(), value)
    return found


def _value(line, start):
    """The value that starts at a place, and the place behind it and its comma."""
    if line[start : start + 1] in ('"', "{", "["):  # as JSON, where it holds commas
        try:
            value, end = json.JSONDecoder().raw_decode(line, start)
        except (ValueError, RecursionError):
            end = len(line) + 1
        if comma := end <= len(line) and _END.match(line, end):
            return (value if isinstance(value, str) else line[start:end]), comma.end()
    plain = _PLAIN.match(line, start)
    return plain[0].strip(), plain.end() + 1
