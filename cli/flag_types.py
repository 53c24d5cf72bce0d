"""What a flag's value may be: functions that read one, or say in a line why it cannot be read."""

import argparse
import difflib
import math
import re
import urllib.parse
from pathlib import Path

from cli.errors import UserError, printable
from models.zoo import CLIPS

MAX_IMAGES = 1_000_000
MAX_STEPS = 100_000
MAX_SEED = 2**63 - 1
MAX_SIDE = 16_384  # pixels
MAX_SCALE = 1e9
MAX_POWER = 100


def whole(low, high):
    """A type for whole numbers from low to high."""

    def read(text):
        if not re.fullmatch(r"[+-]?\d{1,30}", text, re.ASCII) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{_quote(text)} is not {_span('whole ', low, high)}")
        return int(text)

    return read


def number(low, high, above=False):
    """A type for numbers from low (or above it) to high."""

    def read(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (above and value == low):
            span = f"a number above {low:g} and up to {high:g}" if above else _span("", low, high)
            raise argparse.ArgumentTypeError(f"{_quote(text)} is not {span}")
        return value

    return read


def name_of(kind, names):
    """A type for one of several names, which says what may have been meant."""
    names = list(names)

    def read(text):
        if text in names:
            return text
        close = difflib.get_close_matches(text, names, n=1)
        hint = f"did you mean {close[0]}? All: " if close else "choose from "
        raise argparse.ArgumentTypeError(f"no {kind} {_quote(text)}: {hint}{', '.join(names)}")

    read.names = names  # for `cli/completion.py`
    return read


def seeds(text):
    """The seeds that `1,5-9` names, in order."""
    parts = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,19})(?:\s*-\s*(\d{1,19}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= MAX_SEED:
            raise argparse.ArgumentTypeError(
                f"{_quote(text)} names no seeds: write numbers and ranges like 1,5-9"
            )
        parts.append(range(first, last + 1))
    if sum(part.stop - part.start for part in parts) > MAX_IMAGES:  # len() has its own limit
        raise argparse.ArgumentTypeError(f"{_quote(text)} names more than {MAX_IMAGES:,} seeds")
    return [seed for part in parts for seed in part]


def device(text):
    """A device as torch names it; whether it is there is found out later."""
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d{1,3})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"no device {_quote(text)}: use cuda, cuda:1, mps or cpu")
    return text


def clip_name(text):
    """What a CLIP is called; whether there is one of that name is found out later."""
    text = text.replace("/", "-", 1)  # as OpenAI spells it: ViT-B/16
    if not re.fullmatch(r"[\w.-]{1,80}(:[\w.-]{1,80})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"no CLIP {_quote(text)}: give {', '.join(CLIPS)} or a name that open_clip knows, "
            "like ViT-L-14:openai"
        )
    return text


def existing_file(text):
    """The path of a regular file that is there."""
    path = Path(text)
    try:
        if not path.exists():
            raise argparse.ArgumentTypeError(f"{_quote(text)}: no such file")
        if not path.is_file():
            raise argparse.ArgumentTypeError(f"{_quote(text)} is not a regular file")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{_quote(text)} is no file name") from error
    return path


def existing_folder(text):
    """The path of a folder that is there."""
    try:
        there = Path(text).is_dir()
    except (OSError, ValueError):  # no name at all
        there = False
    if not there:
        raise argparse.ArgumentTypeError(f"{_quote(text)}: no such folder")
    return Path(text)


def page(text):
    """The path of an HTML file."""
    path = Path(text)
    if path.suffix.lower() not in (".html", ".htm"):
        raise argparse.ArgumentTypeError(f"{_quote(text)}: the name of a page must end in .html")
    return path


def job_file(text):
    """A file of jobs, or - for standard input."""
    return text if text == "-" else existing_file(text)


def shard(text):
    """(number, how many) of `I/N`."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{_quote(text)}: write which of how many, 1/8 to 8/8")
    return int(match[1]), int(match[2])


def address(text):
    """An http or https address."""
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        parts = urllib.parse.urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{_quote(text)} is not an http or https address")
    return text


def checked_by(read):
    """A type function from a reader that raises UserError."""

    def checked(text):
        try:
            return read(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def _span(kind, low, high):
    if high in (MAX_SEED, MAX_STEPS, MAX_IMAGES):
        return f"a {kind}number of at least {low:g}"
    return f"a {kind}number from {low:g} to {high:g}"


def _quote(text):
    return f'"{printable(text, 100)}"'
