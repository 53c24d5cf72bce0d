r"""When and where a prompt counts: the suffix behind its weight.

`@0-0.6` are timesteps, `[0,0,0.5,1]` is a part of the image, and `A->B@0.6` is A above 0.6 and B
below. Each counts only at the very end of a prompt, and a backslash right before it makes it text.
"""

import re
from typing import NamedTuple

from diffusion.spans import ALWAYS, Span
from values.errors import UserError, quoted

_N = r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_BORDER = rf"(?:{_N}~)?{_N}"
_SPAN = rf"@>?{_BORDER}-{_BORDER}"
_BOX = rf"\[ *{_N} *(?:, *{_N} *){{3}}\]"
_FLAGS = re.ASCII | re.IGNORECASE
_EXTENT = re.compile(rf"(?:(?P<span>{_SPAN})|(?P<box>{_BOX}))\Z", _FLAGS)
_SPAN_PARTS = re.compile(rf"@(>?)({_BORDER})-({_BORDER})", _FLAGS)
_CHANGE = re.compile(rf"@({_BORDER})\Z", _FLAGS)
BOX = re.compile(_BOX, _FLAGS)  # anywhere
_LONGEST = 400  # characters of a span or a box
ARROW = re.compile(r"(?<!\\)(\\*)->")


class Extent(NamedTuple):
    """When and where a prompt counts; a box is (left, top, right, bottom) in shares of the image.

    None: at all timesteps, everywhere.
    """

    when: Span | None = None
    box: tuple[float, float, float, float] | None = None


def split_extent(argument):
    """(text before, Extent) of a prompt.

    Raises:
        UserError: for timesteps or a box that are malformed, or are given twice.
    """
    found = Extent()
    while match := _at_end(_EXTENT, argument):
        kind = "when" if match["span"] else "box"
        if getattr(found, kind) is not None:
            what = "timesteps" if match["span"] else "a box"
            raise UserError(f"{quoted(argument)} names {what} twice: give one")
        value = _span(match[0]) if match["span"] else _box(match[0])
        found = found._replace(**{kind: value})
        argument = halved(argument[: match.start()]).rstrip(" ")
    return argument, found


def literal(text):
    r"""A text whose backslashes before what looks like an extent at its end are unescaped.

    Each pair stands for one, and an odd one, which makes the extent text, is left out.
    """
    match = _looks_like_one(text)
    return halved(text[: match.start()]) + match[0] if match else text


def escaped(text):
    """The inverse of `literal`."""
    match = _looks_like_one(text)
    if not match:
        return text
    before = text[: match.start()]
    return before + "\\" * _backslashes(before) + match[0]


def halved(text):
    """A text with each pair of backslashes at its end as one, and an odd one left out."""
    n = _backslashes(text)
    return text[: len(text) - n] + "\\" * (n // 2)


def is_chain(argument):
    """Whether a prompt, without its box, ends in a change like `@0.6` and has an arrow."""
    return bool(_at_end(_CHANGE, argument)) and "->" in argument


def links(argument):
    """The parts of `A->B@0.6->C@0.3` with the timesteps of each, from noise to image.

    Returns:
        a list of (part, Span); of one part with all timesteps where each arrow is escaped.
    Raises:
        UserError: where a part behind an arrow lacks its `@T`, or these do not descend.
    """
    cuts = [m for m in ARROW.finditer(argument) if len(m[1]) % 2 == 0]
    starts = [0, *(m.end() for m in cuts)]
    ends = [*(m.end() - 2 for m in cuts), len(argument)]
    parts = [argument[a:b] for a, b in zip(starts, ends, strict=True)]
    if len(parts) == 1:
        return [(_arrows(argument), ALWAYS)]
    first, *others = parts
    found, above = [], (1.0, 1.0)
    texts, borders = [first], []
    for part in others:
        match = _at_end(_CHANGE, part.rstrip(" "))
        if not match:
            raise UserError(
                f"{quoted(argument)}: say behind {quoted(part.strip())}, too, at which t it "
                r"begins, like a cat->a fox@0.6, or write \-> for an arrow that is text"
            )
        texts.append(part[: match.start()])
        borders.append(_border(match[1], match[0]))
        if borders[-1] in ((0.0, 0.0), (1.0, 1.0)):
            raise UserError(
                f"{quoted(argument)}: {match[0]} leaves one side empty: give a t between 0, the "
                "image, and 1, the noise"
            )
        if borders[-1][1] > above[0] or borders[-1] in borders[:-1]:
            raise UserError(
                f"{quoted(argument)}: sampling goes from t = 1 to 0, and so do changes: "
                f"{match[0]} is not below the one before"
            )
        above = borders[-1]
    for i, text in enumerate(texts):
        whole_to, high = borders[i - 1] if i else (1.0, 1.0)
        low, whole_from = borders[i] if i < len(borders) else (0.0, 0.0)
        span = Span(low, high, whole_from, whole_to, above=i < len(borders) and low == whole_from)
        found.append((_arrows(text.strip(" ")), span))
    return found


def written(when, box):
    """The suffix of a Span and a box; empty for `ALWAYS` and None."""
    text = ""
    if when != ALWAYS:
        low, high = number(when.low), number(when.high)
        rises = "" if when.low == when.whole_from else f"~{number(when.whole_from)}"
        falls = "" if when.whole_to == when.high else f"{number(when.whole_to)}~"
        text = f"@{'>' * when.above}{low}{rises}-{falls}{high}"
    return text + (f"[{','.join(map(number, box))}]" if box else "")


def read(text):
    """The Extent that `written` wrote; UserError for any other text."""
    before, extent = split_extent(text)
    if before:
        raise UserError(f"{quoted(text)} are no timesteps like @0-0.6 and no box like [0,0,0.5,1]")
    return extent


def doubt(text):
    """What a text ends in that may have been meant as an extent, in a line; None: nothing does."""
    if _at_end(_EXTENT, text):
        return (
            f"{quoted(text)} is text to its end: timesteps and places stand behind the weight, "
            '"a cat:3@0-0.6"'
        )
    if _at_end(_CHANGE, text) and "->" in text:
        return f'{quoted(text)} is text to its end: the weight stands first, "a cat->a fox:3@0.6"'
    if re.search(rf"\S@{_N}\Z", text[-_LONGEST:], _FLAGS):
        return f'{quoted(text)} is text to its end: timesteps are two, "a cat:3@0-0.6"'
    if re.search(rf"\[ *{_N} *(?:, *{_N} *)+\]\Z", text[-_LONGEST:], _FLAGS):
        return (
            f"{quoted(text)} is text to its end: a box has four numbers, left, top, right and "
            'bottom, "a cat:3[0,0,0.5,1]"'
        )
    return None


def number(value):
    """The shortest text that reads back as the same number."""
    if isinstance(value, int):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value).removesuffix(".0")


def _looks_like_one(text):
    return _found(_EXTENT, text) or ("->" in text and _found(_CHANGE, text)) or None


def _at_end(pattern, text):
    """The match at the end of a text, but for one that a backslash has made text."""
    match = _found(pattern, text)
    return match if match and _backslashes(text[: match.start()]) % 2 == 0 else None


def _found(pattern, text):
    if text[-1:] not in ("]", ".") and not text[-1:].isdigit():  # most have neither
        return None
    return pattern.search(text, max(0, len(text) - _LONGEST))


def _backslashes(text):
    return len(text) - len(text.rstrip("\\"))


def _arrows(text):
    return ARROW.sub(lambda match: "\\" * (len(match[1]) // 2) + "->", text)


def _span(text):
    above, low, high = _SPAN_PARTS.fullmatch(text).groups()
    (low, whole_from), (whole_to, high) = _border(low, text), _border(high, text)
    if low >= high or whole_from > whole_to:
        raise UserError(
            f'"{text}": the first timestep must be below the second, as in @0-0.6 '
            r"(or write \@ for text)"
        )
    if above and whole_from > low:
        raise UserError(
            f'"{text}": a weight that rises from {low:g} is 0 there anyway: leave out >'
        )
    return Span(low, high, whole_from, whole_to, bool(above))


def _border(text, whole):
    """(low, high) of `0.6`, twice the same, or of `0.5~0.7`."""
    low, _, high = text.partition("~")
    low, high = float(low), float(high or low)
    if not (0 <= low <= 1 and 0 <= high <= 1):
        raise UserError(
            f'"{whole}": timesteps go from 0, the image, to 1, the noise (or write \\@ for text)'
        )
    if low > high or (low == high and "~" in text):
        raise UserError(f'"{whole}": a fade goes from a lower t to a higher one, like @0.5~0.7')
    return low, high


def _box(text):
    box = left, top, right, bottom = tuple(float(part) for part in text[1:-1].split(","))
    if not all(0 <= side <= 1 for side in box):
        raise UserError(
            f'"{text}": a box lies in the image: left, top, right and bottom are from 0 to 1, '
            r"as in [0,0,0.5,1] (or write \[ for text)"
        )
    if left >= right or top >= bottom:
        raise UserError(
            f'"{text}": the box is empty: left must be below right and top below bottom, as in '
            r"[0,0,0.5,1] (or write \[ for text)"
        )
    return box
