"""Weighted prompts: `TEXT[:WEIGHT]` on the command line, for texts and for images."""

import math
import os
import re
from dataclasses import dataclass

from cli.errors import UserError, printable
from diffusion.methods import WHOLE

MAX_LENGTH = 10_000  # characters; a longer one is a file pasted by mistake


@dataclass(frozen=True)
class Prompt:
    """A text, or the path or URL of an image, and its weight in the guidance."""

    text: str
    weight: float


def parse(argument, default_weight=3.0):
    r"""Read a text prompt `TEXT[:WEIGHT]`.

    The weight is what follows the last colon where that is a number; otherwise the colon is text.
    A colon is made text by a backslash (`ratio 16\:9`). Other backslashes stay as they are, but
    for those right before a colon, which are doubled to stand for themselves.

    Raises:
        UserError: for an empty text, one of more than `MAX_LENGTH` characters, one that is not
            Unicode, and for a weight that is infinite or nan.
    """
    prompt = _parse(argument, default_weight, kind="prompt")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in prompt.text):
        raise UserError(f"the prompt {_quote(prompt.text)} is not valid UTF-8: type it anew")
    return prompt


def parse_image(argument, default_weight=3.0):
    """Read an image prompt `PATH_OR_URL[:WEIGHT]`, by the rules of `parse` and two more.

    The port of a URL (`http://host:8080`) and the drive of a Windows path (`C:1`) are no weights.
    """
    return _parse(argument, default_weight, kind="image prompt", is_weight=_ends_a_source)


def photos_and_prompts(words, default_weight):
    """Tells photos and prompts apart: photos come first; a file, an address or named like an image.

    Returns:
        (photos, prompts): a list of strings and a list of Prompts.
    Raises:
        UserError: where the first word is no photo, or another no prompt.
    """
    photos = []
    for word in words:
        address = re.match("https?://", word, re.IGNORECASE)
        named = re.search(r"\.(png|jpe?g|webp|gif|bmp|tiff?)$", word, re.IGNORECASE)
        if not (address or named or os.path.exists(word)):
            break
        photos.append(word)
    if not photos:
        raise UserError(f"{_quote(words[0])}: no such file: the first is a photo")
    return photos, [parse(word, default_weight) for word in words[len(photos) :]]


def format_prompt(prompt):
    """The argument that `parse` reads as this very prompt; it always names the weight."""
    text = re.sub(r"(?<!\\)\\+(?=:|\Z)", lambda run: run[0] * 2, prompt.text)
    short = f"{prompt.weight:g}"
    return f"{text}:{short if float(short) == prompt.weight else repr(prompt.weight)}"


def merge(prompts):
    """Prompts with equal texts as one, weights added, in the order of first appearance."""
    weights = {}
    for prompt in prompts:
        weights[prompt.text] = weights.get(prompt.text, 0.0) + prompt.weight
        if not math.isfinite(weights[prompt.text]):
            raise UserError(f"the weights of {_quote(prompt.text)} are too large to add up")
    return [Prompt(text, weight) for text, weight in weights.items()]


def describe(conditions, zero_weight=None, interval=WHOLE):
    """Lines that show what guides the sampling, weights aligned at their decimal points.

    Args:
        conditions: prompts, of texts and images alike.
        zero_weight: the weight of the zero embedding, shown as "(no prompt)" at the end; None: it
            has no part in it.
        interval: the timesteps at which it has.
    Returns:
        a string for each, safe to print.
    """
    rows = [(_decimal(prompt.weight), printable(prompt.text, 90)) for prompt in conditions]
    if zero_weight is not None:
        low, high = interval
        when = "" if (low, high) == WHOLE else f", at t from {low:g} to {high:g}"
        rows.append((_decimal(zero_weight), f"(no prompt{when})"))
    if not rows:
        return []
    parts = [weight.partition(".") for weight, _ in rows]
    left = max(len(whole) for whole, _, _ in parts)
    right = max(len(point + digits) for _, point, digits in parts)
    return [
        f"  {whole:>{left}}{point + digits:<{right}}  {text}"
        for (whole, point, digits), (_, text) in zip(parts, rows, strict=True)
    ]


def _parse(argument, default_weight, kind, is_weight=lambda before: True):
    before, colon, after = argument.rpartition(":")
    number = _number(after)
    escaped = (len(before) - len(before.rstrip("\\"))) % 2 == 1
    if colon and number is not None and not escaped and is_weight(before):
        if not math.isfinite(number):
            raise UserError(
                f"the weight {_quote(after)} of the {kind} {_quote(argument)} is not finite: give "
                r"one like 2.5, or write \: for a colon that belongs to the text"
            )
        text, weight = _unescape(before, at_end=True), number
    else:
        text, weight = _unescape(argument, at_end=False), float(default_weight)
    if len(text) > MAX_LENGTH:
        raise UserError(
            f"the {kind} {_quote(text)} has {len(text):,} characters: "
            f"shorten it to {MAX_LENGTH:,} or less"
        )
    if not text.strip():
        raise UserError(f"the {kind} {_quote(argument)} is empty: write TEXT or TEXT:WEIGHT")
    return Prompt(text, weight)


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


def _ends_a_source(before):
    in_authority = re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#]*", before, re.IGNORECASE)
    return not in_authority and not re.fullmatch(r"[A-Za-z]", before)


def _decimal(weight):
    text = f"{weight:.4f}".rstrip("0").rstrip(".")
    if text in ("0", "-0") and weight:
        return f"{weight:.1e}" if abs(weight) > 1e-9 else "0"  # less is rounding, of 1 - sum
    return "0" if text == "-0" else text if abs(weight) < 1e6 else f"{weight:.4g}"


def _quote(text):
    return f'"{printable(text, 60)}"'
