"""Weighted prompts: `TEXT[:WEIGHT]` on the command line, for texts and for images."""

import itertools
import math
import os
import re
from dataclasses import dataclass

from diffusion.methods import WHOLE
from values.errors import UserError, printable
from values.files import expanded, file_name
from values.types import MAX_TEXT, is_number

MAX_LENGTH = 10_000  # characters; a longer one is a file pasted by mistake
_ODD = re.compile(r"[:(\[<{}]|AND|--")  # some of which other tools' prompts have
_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a character, or a byte that is none


@dataclass(frozen=True)
class Prompt:
    """A text, or the path or URL of an image, and its weight in the guidance."""

    text: str
    weight: float


class TextPrompt:
    r"""The type of a text prompt `TEXT[:WEIGHT]`, as `values.types` has types; in JSON also a pair.

    The weight is what follows the last colon where that is a number; otherwise the colon is text.
    A colon is made text by a backslash (`ratio 16\:9`). Other backslashes stay as they are, but
    for those right before a colon, which are doubled to stand for themselves.

    Calling it and `check` raise a UserError for an empty text, one of more than `MAX_LENGTH`
    characters, one that is not Unicode, and for a weight that is infinite or nan.

    Args:
        weight: of a prompt that names none.
    """

    kind = "prompt"

    def __init__(self, weight=3.0):
        self.weight = float(weight)

    def __call__(self, argument):
        before, colon, after = argument.rpartition(":")
        weight = _number(after)
        escaped = (len(before) - len(before.rstrip("\\"))) % 2 == 1
        if not colon or weight is None or escaped or not self._may_end(before):
            return self._checked(Prompt(_unescape(argument, at_end=False), self.weight), argument)
        if not math.isfinite(weight):
            raise UserError(
                f"the weight {_quote(after)} of the {self.kind} {_quote(argument)} is not finite: "
                r"give one like 2.5, or write \: for a colon that belongs to the text"
            )
        return self._checked(Prompt(_unescape(before, at_end=True), weight), argument)

    def check(self, value):
        if isinstance(value, str):
            return self(value)
        text, weight = self._pair(value)
        return self._checked(Prompt(text, weight), text)

    def stored(self, value):
        return self._pair(value)

    def _pair(self, value):
        pair = value if isinstance(value, list | tuple) and len(value) == 2 else (None, None)
        text, weight = pair
        if not isinstance(text, str) or len(text) > MAX_TEXT or not is_number(weight):
            raise UserError(f"{_quote(value)} is no text with a weight")
        return [text, float(weight)]

    def _may_end(self, before):
        return True

    def _checked(self, prompt, argument):
        text = prompt.text
        if len(text) > MAX_LENGTH:
            raise UserError(
                f"the {self.kind} {_quote(text)} has {len(text):,} characters: "
                f"shorten it to {MAX_LENGTH:,} or less"
            )
        if not text.strip():
            raise UserError(
                f"the {self.kind} {_quote(argument)} is empty: write TEXT or TEXT:WEIGHT"
            )
        if self.kind != ImagePrompt.kind and _SURROGATE.search(text):
            try:  # bytes that the locale has no characters for
                text = text.encode("utf-8", "surrogateescape").decode("utf-8")
            except UnicodeError:
                raise UserError(
                    f"the prompt {_quote(text)} is not valid UTF-8: type it anew"
                ) from None
        return Prompt(text, prompt.weight)


class NegativePrompt(TextPrompt):
    """The type of a prompt to lead away from, `TEXT[:WEIGHT]`: of WEIGHT (1) with a minus."""

    kind = "negative prompt"

    def __init__(self):
        super().__init__(1.0)

    def _checked(self, prompt, argument):
        prompt = super()._checked(prompt, argument)
        if prompt.weight < 0:
            raise UserError(
                f"the {self.kind} {_quote(argument)} has a minus twice: leave out that of its "
                "weight"
            )
        return Prompt(prompt.text, -prompt.weight)


class ImagePrompt(TextPrompt):
    """The type of an image prompt `PATH_OR_URL[:WEIGHT]`: by the same rules and two more.

    The port of a URL (`http://host:8080`) and the drive of a Windows path (`C:1`) are no weights.
    """

    kind = "image prompt"

    def stored(self, value):
        text, weight = super().stored(value)
        return [file_name(text), weight]

    def _checked(self, prompt, argument):
        prompt = super()._checked(prompt, argument)
        return Prompt(expanded(prompt.text), prompt.weight)

    def _may_end(self, before):
        in_authority = re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#]*", before, re.IGNORECASE)
        return not in_authority and not re.fullmatch(r"[A-Za-z]", before)


def photos_and_prompts(words, default_weight):
    """Tells photos and prompts apart: photos come first; a file, an address or named like an image.

    Returns:
        (photos, prompts): a list of strings and a list of Prompts, either of which may be empty.
    Raises:
        UserError: where a word behind the photos is no prompt, or another photo.
    """
    photos = list(itertools.takewhile(is_photo, words))
    for word in words[len(photos) :]:
        if photos and is_photo(word):
            raise UserError(
                f"{_quote(word)} is a photo behind the prompts: name it before them, or with "
                "--images where it is to guide"
            )
    prompts = [TextPrompt(default_weight)(word) for word in words[len(photos) :]]
    return [expanded(photo) for photo in photos], prompts


def is_photo_file(word):
    """Whether a word is the path of a file that is there."""
    return os.path.isfile(expanded(word))


def is_photo(word):
    """Whether a word is taken for a photo: a file, an address or named like an image."""
    return _is_address(word) or _is_named_like_one(word) or is_photo_file(word)


def is_picture(text):
    """Whether a text can only have been meant as a picture: an address, or one that is there."""
    if "." not in text and ":" not in text:  # most are neither
        return False
    return _is_address(text) or (_is_named_like_one(text) and is_photo_file(text))


def _is_address(word):
    return bool(re.match("https?://", word, re.IGNORECASE))


def _is_named_like_one(word):
    return bool(re.search(r"\.(png|jpe?g|webp|gif|bmp|tiff?)$", word, re.IGNORECASE))


def may_be_file(word):
    """Whether a word may be meant as a picture's file or address, there or not."""
    return is_photo(word) or bool(re.fullmatch(r"\S*(?:\.\w{2,5}|[/\\]\S*)", word))


def may_be_image(word):
    """`may_be_file`, of a word that may end in a weight."""
    return may_be_file(word) or may_be_file(ImagePrompt()(word).text)


def format_prompt(prompt):
    """The argument that `TextPrompt` reads as this very prompt; it always names the weight."""
    text = re.sub(r"(?<!\\)\\+(?=:|\Z)", lambda run: run[0] * 2, prompt.text)
    short = f"{prompt.weight:g}"
    return f"{text}:{short if float(short) == prompt.weight else repr(prompt.weight)}"


def doubt(text):
    """How a prompt was read that looks like another tool's weights, in a line; None: it does not.

    Args:
        text: of a Prompt.
    """
    if not _ODD.search(text):
        return None
    if re.search(r":\s*[+-]?\d*,\d+\s*$", text):
        return f"{_quote(text)} is text to its end: a weight has a point, like 3.5"
    if re.search(r"::\s*-?[\d.]+|\bAND\b|<\w+:[^<>]*>|\s--\w", text):
        return (
            f"{_quote(text)} is text as a whole: prompts are arguments of their own, with weights "
            'at their ends, "a cat:2" "a dog:1", and so are flags'
        )
    if text.count("{") != text.count("}"):
        return f"{_quote(text)}: a brace is missing, so all of it is text"
    if re.search(r"[(\[][^()\[\]]*:\s*[+-]?[\d.,]+\s*[)\]]", text):
        return (
            f"{_quote(text)}: the parentheses, and what is in them, are text: a weight stands at "
            'the end, "a cat:1.3"'
        )
    return None


def merge(prompts):
    """Prompts with equal texts as one, weights added, in the order of first appearance."""
    weights = {}
    for prompt in prompts:
        weights[prompt.text] = weights.get(prompt.text, 0.0) + prompt.weight
        if not math.isfinite(weights[prompt.text]):
            raise UserError(f"the weights of {_quote(prompt.text)} are too large to add up")
    return [Prompt(text, weight) for text, weight in weights.items()]


def describe(conditions, zero_weight=None, interval=WHOLE, against="no prompt"):
    """Lines that show what guides the sampling, weights aligned at their decimal points.

    Args:
        conditions: prompts, of texts and images alike.
        zero_weight: the weight of the zero embedding, shown as "(no prompt)" at the end; None: it
            has no part in it.
        interval: the timesteps at which it has.
        against: what has that weight, where it is another.
    Returns:
        a string for each, safe to print.
    """
    rows = [(_decimal(prompt.weight), printable(prompt.text, 90)) for prompt in conditions]
    if zero_weight is not None:
        low, high = interval
        when = "" if (low, high) == WHOLE else f", at t from {low:g} to {high:g}"
        rows.append((_decimal(zero_weight), f"({against}{when})"))
    if not rows:
        return []
    parts = [weight.partition(".") for weight, _ in rows]
    left = max(len(whole) for whole, _, _ in parts)
    right = max(len(point + digits) for _, point, digits in parts)
    return [
        f"  {whole:>{left}}{point + digits:<{right}}  {text}"
        for (whole, point, digits), (_, text) in zip(parts, rows, strict=True)
    ]


def _number(text):
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _unescape(text, at_end):
    # In a run of backslashes before a colon each pair is one backslash; an odd one left over has
    # escaped the colon. The colon that announces the weight stood at the end of `text`.
    # A run is looked at from its start alone: one of a million takes no time.
    runs = r"(?<!\\)(\\+)(:|\Z)" if at_end else r"(?<!\\)(\\+)(:)"
    return re.sub(runs, lambda run: "\\" * (len(run[1]) // 2) + run[2], text)


def _decimal(weight):
    text = f"{weight:.4f}".rstrip("0").rstrip(".")
    if text in ("0", "-0") and weight:
        return f"{weight:.1e}" if abs(weight) > 1e-9 else "0"  # less is rounding, of 1 - sum
    return "0" if text == "-0" else text if abs(weight) < 1e6 else f"{weight:.4g}"


def _quote(text):
    return f'"{printable(text, 60)}"'
