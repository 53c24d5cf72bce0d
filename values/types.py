"""What an option's value may be: each type reads a text, or checks a value that JSON held.

A type is called with a text, as the command line gives it. `check` takes a value of JSON, of a job
file or a recipe, and `stored` is how much of that a recipe is held to where it is only shown. All
of them return the value or raise a UserError that says in a line why not.
"""

import difflib
import json
import math
import re
import secrets
import urllib.parse
from pathlib import Path

from diffusion.guidance_rules import RULES, choose
from models.zoo import CLIPS
from values.errors import UserError, printable, quoted
from values.extents import BOX
from values.files import expanded, file_name

MAX_IMAGES = 1_000_000
MAX_STEPS = 100_000
MAX_FRAMES = 1000
MAX_SEED = 2**64 - 1
OPEN = (MAX_IMAGES, MAX_STEPS, MAX_SEED)  # which nobody is expected to reach
MAX_SIDE = 16_384  # pixels
MAX_SCALE = 1e9
MAX_POWER = 100
MAX_TEXT = 20_000  # characters of a text in a recipe


class Text:
    """A text that a function reads; by itself any text."""

    def __init__(self, read=str, stored=None):
        self.read, self._stored = read, stored

    def __call__(self, text):
        return self.read(text)

    def check(self, value):
        return self(_text(value))

    def stored(self, value):
        value = _text(value)
        if len(value) > MAX_TEXT:
            raise UserError("the text is too long")
        return self._stored(value) if self._stored else value


class Whole:
    """A whole number from low to high."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def __call__(self, text):
        whole = re.fullmatch(r"[+-]?\d{1,30}", text, re.ASCII)
        return self.check(int(text) if whole else text)

    def check(self, value):
        if type(value) is int and value > self.high and self.high in OPEN:
            raise UserError(f"{quoted(value)} is too large: at most {self.high}")
        if type(value) is not int or not self.low <= value <= self.high:
            raise UserError(f"{quoted(value)} is not {_span('whole ', self.low, self.high)}")
        return value

    def stored(self, value):
        return Whole(self.low, MAX_SEED).check(value)  # a later version may take more


class DrawnSeed(int):
    """A seed that nobody chose."""


class Seed(Whole):
    """A seed, or `random` for one that is drawn here."""

    def __call__(self, text):
        if text == "random":
            return DrawnSeed(secrets.randbelow(2**32))  # short enough to be typed again
        if text == "-1":
            raise UserError('"-1" is no seed: write random for one that is drawn')
        return super().__call__(text)


class Number:
    """A number from low (or above it) to high."""

    def __init__(self, low, high, above=False):
        self.low, self.high, self.above = low, high, above

    def __call__(self, text):
        try:
            return self._within(float(text), text)
        except ValueError:
            return self._within(math.nan, text)

    def check(self, value):
        return self._within(value if is_number(value) else math.nan, value)

    def _within(self, value, shown):
        if not self.low <= value <= self.high or (self.above and value == self.low):
            span = _span("", self.low, self.high)
            if self.above:
                span = f"a number above {self.low:g} and up to {self.high:g}"
            raise UserError(f"{quoted(shown)} is not {span}")
        return float(value)

    def stored(self, value):
        if not is_number(value):
            raise UserError(f"{quoted(value)} is not a number")
        return value


class Name:
    """One of several names; an unknown one gets told what may have been meant.

    Args:
        kind: what they are names of.
        names: a list, or a table that has them as keys.
    """

    def __init__(self, kind, names):
        self.kind, self.names = kind, names

    def __call__(self, text):
        if text in self.names:
            return text
        close = difflib.get_close_matches(text, self.names, n=1)
        hint = f"did you mean {close[0]}? All: " if close else "choose from "
        raise UserError(f"no {self.kind} {quoted(text)}: {hint}{', '.join(self.names)}")

    def check(self, value):
        return self(_text(value))

    def stored(self, value):
        return Text().stored(value)  # one of a later version is shown, too

    def name_of(self, value):
        """The name in a value."""
        return value


class GuidanceRule(Name):
    """A rule of guidance and the values of its parameters, `NAME[:VALUE...]`, all written out."""

    def __init__(self):
        super().__init__("rule of guidance", RULES)

    def __call__(self, text):
        if is_numeral(text):
            raise UserError(
                f"{quoted(text)} is no rule of guidance: write the weight of a prompt behind it, "
                f'"a cat:{printable(text, 20)}", or a rule: {", ".join(RULES)}'
            )
        super().__call__(self.name_of(text))
        try:
            return str(choose(text))
        except ValueError as error:
            raise UserError(printable(error, 300)) from None

    def name_of(self, value):
        return value.partition(":")[0]


def is_numeral(text):
    """Whether a text is a number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def is_number(value):
    """Whether a value of JSON is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def seeds(text):
    """The seeds that `1,5-9` names, in order."""
    parts = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,30})(?:\s*-\s*(\d{1,30}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last > MAX_SEED:
            raise UserError(f"{quoted(part)} is too large: seeds go up to {MAX_SEED}")
        if first > last:
            raise UserError(f"{quoted(text)} names no seeds: write numbers and ranges like 1,5-9")
        parts.append(range(first, last + 1))
    if sum(part.stop - part.start for part in parts) > MAX_IMAGES:  # len() has its own limit
        raise UserError(f"{quoted(text)} names more than {MAX_IMAGES:,} seeds")
    return [seed for part in parts for seed in part]


def sides(words):
    """([width, height], words left) of words that begin with `64 32`, `64x32` or `64`, a square."""
    first, *others = words or [""]
    if match := re.fullmatch(r"(\d+)[x×X](\d+)", first, re.ASCII):
        return list(match.groups()), others
    if others and re.fullmatch(r"[+-]?[\d.]+", others[0], re.ASCII):
        return [first, others[0]], others[1:]
    return [first, first], others


def may_be_sweep(word):
    """Whether a word may be one of several `FLAG=VALUES`."""
    return bool(re.match(r"[\w-]+\s*=", word))


def device(text):
    """A device as torch names it; whether it is there is found out later."""
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d{1,3})?", text, re.ASCII):
        raise UserError(f"no device {quoted(text)}: use cuda, cuda:1, xpu, mps or cpu")
    return text


def clip_name(text):
    """What a CLIP is called; whether there is one of that name is found out later."""
    text = text.replace("/", "-", 1)  # as OpenAI spells it: ViT-B/16
    if not re.fullmatch(r"[\w.-]{1,80}(:[\w.-]{1,80})?", text, re.ASCII):
        raise UserError(
            f"no CLIP {quoted(text)}: give {', '.join(CLIPS)} or a name that open_clip knows, "
            "like ViT-L-14:openai"
        )
    return text


def existing_file(text):
    """The path of a regular file that is there."""
    path = Path(expanded(text))
    try:
        if not path.exists():
            raise UserError(f"{quoted(text)}: no such file")
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise UserError(f"{quoted(text)} is {kind}: give a file")
    except (OSError, ValueError) as error:
        raise UserError(f"{quoted(text)} is no file name") from error
    return path


def existing_folder(text):
    """The path of a folder that is there."""
    try:
        there = Path(expanded(text)).is_dir()
    except (OSError, ValueError):  # no name at all
        there = False
    if not there:
        raise UserError(f"{quoted(text)}: no such folder")
    return Path(expanded(text))


def page(text):
    """The path of an HTML file."""
    path = Path(expanded(text))
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{quoted(text)}: the name of a page must end in .html")
    return path


def job_file(text):
    """A file of jobs or a named pipe, or - for standard input."""
    path = Path(expanded(text))
    try:
        is_pipe = path.is_fifo() or path.is_char_device()
    except (OSError, ValueError):  # no name at all
        is_pipe = False
    return text if text == "-" else path if is_pipe else existing_file(text)


def shard(text):
    """(number, how many) of `I/N`."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"{quoted(text)}: write which of how many, 1/8 to 8/8")
    return int(match[1]), int(match[2])


def address(text):
    """An http or https address."""
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        parts = urllib.parse.urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or not text.isprintable():
        raise UserError(f"{quoted(text)} is not an http or https address")
    return text


def comma_list(text):
    """The words between commas."""
    return [word.strip() for word in text.split(",")]


def sweep(text):
    """`steps=10,20` as ("steps", ["10", "20"]); whether it can be swept is for the table to say.

    Values are separated by commas outside of braces, or are a list of JSON.
    """
    name, equals, rest = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    values = _of_json(rest) or [value.strip() for value in _between_commas(rest)]
    if not equals or not re.fullmatch("[a-z][a-z_]*", name) or not all(values):
        raise UserError(f'"{printable(text, 80)}": write FLAG=VALUE,VALUE like steps=10,20,50')
    return name, values


def _of_json(text):
    """The values in a list of JSON as texts; None: it is none."""
    try:
        values = json.loads(text) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or any(type(v) not in (str, int, float) for v in values):
        return None
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def _between_commas(text):
    parts, depth = [""], 0
    boxes = {place for box in BOX.finditer(text) for place in range(*box.span())}
    for place, character in enumerate(text):
        if place in boxes:  # of a prompt
            parts[-1] += character
            continue
        depth = max(0, depth + {"{": 1, "}": -1}.get(character, 0))
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def path(text):
    """The path of a file or folder that may not be there."""
    return Path(expanded(text))


def source(text):
    """The path of a picture, or its address."""
    if not text:
        raise UserError('"" names no file')
    return expanded(text)


# A file or an address, which a recipe names without its folders.
SOURCE = Text(source, stored=file_name)


def _text(value):
    if not isinstance(value, str):
        raise UserError(f"{quoted(value)} is not a text")
    return value


def _span(kind, low, high):
    if high in OPEN:
        return f"a {kind}number of at least {low:g}"
    return f"a {kind}number from {low:g} to {high:g}"
