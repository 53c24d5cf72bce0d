"""Strategies that damage good files, texts and JSON, byte by byte and part by part."""

import functools
import json

from hypothesis import strategies as st

EXTREMES = (0, 1, 2**7 - 1, 2**7, 2**15 - 1, 2**15, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1)
MOST_REPEATS = 3000
MOST_BYTES = 2**21  # that repeats may add


@st.composite
def damaged(draw, originals, split=None, join=None, within=None):
    """One of the good files, most of them changed.

    Args:
        originals: a function () -> dict from names to bytes.
        split, join: functions bytes -> list of parts and back, where each part is a tuple that ends
            in its bytes. What depends on the parts, such as lengths and checksums, is right after
            `join`, so that readers get beyond it.
        within: function (draw, bytes of a part) -> changed bytes; None: `changed`.
    """
    files = originals()
    data = files[draw(st.sampled_from(sorted(files)))]
    other = files[draw(st.sampled_from(sorted(files)))]
    if split and draw(st.booleans()):
        parts = split(data)
        for _ in range(draw(st.integers(1, 3))):
            parts = change_parts(draw, parts, split(other), within or changed)
        data = join(parts)
    for _ in range(draw(st.integers(0, 3))):
        data = changed(draw, data, other)
    return data


def changed(draw, data, other=b""):
    """Bytes with one change."""
    i, j = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    match draw(
        st.sampled_from(("flip", "number", "cut", "drop", "repeat", "insert", "fill", "splice"))
    ):
        case "flip":
            flipped = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[i : i + 1])
            return data[:i] + flipped + data[i + 1 :]
        case "number":  # a length, an offset, a count
            width, order = draw(st.sampled_from((1, 2, 4, 8))), draw(st.sampled_from(("<", ">")))
            number = draw(st.sampled_from(EXTREMES) | st.integers(0, 2**64 - 1)) % 2 ** (8 * width)
            raw = number.to_bytes(width, "little" if order == "<" else "big")
            return data[:i] + raw + data[i + width :]
        case "cut":
            return data[:i]
        case "drop":
            return data[:i] + data[j:]
        case "repeat":
            times = min(draw(st.integers(1, 20)), MOST_BYTES // (j - i + 1))
            return data[:j] + data[i:j] * times + data[j:]
        case "insert":
            return data[:i] + draw(st.binary(max_size=40)) + data[i:]
        case "fill":
            return data[:i] + data[i : i + 1] * (j - i) + data[j:]
        case "splice":
            return data[:i] + other[draw(st.integers(0, len(other))) :]


def change_parts(draw, parts, others, within):
    """A list of parts with one of them changed, moved, left out or joined by others."""
    if not parts:
        return list(others)
    i = draw(st.integers(0, len(parts) - 1))
    part = parts[i]
    match draw(st.sampled_from(("within", "drop", "repeat", "move", "alien"))):
        case "within":
            return [*parts[:i], (*part[:-1], within(draw, part[-1])), *parts[i + 1 :]]
        case "drop":
            return parts[:i] + parts[i + 1 :]
        case "repeat":
            times = draw(st.integers(1, 3) | st.just(MOST_REPEATS))
            times = min(times, MOST_BYTES // (len(part[-1]) + 1))
            return parts[:i] + [part] * times + parts[i:]
        case "move":
            rest = parts[:i] + parts[i + 1 :]
            j = draw(st.integers(0, len(rest)))
            return [*rest[:j], part, *rest[j:]]
        case "alien":
            return [*parts[:i], *draw(st.lists(st.sampled_from(others), max_size=3)), *parts[i:]]


HARM = (
    "../", "/", "\\", "..", ".", "~", "\0", "\n", "\r", "\t", "\x1b[2J", "\x1b]0;x\x07", "\x9b31m",
    "\x7f", "\u202e", "\u2028", "\u200d", "\ufeff", "\ud800", "\udcff", ":", "\\:", "{prompt}",
    "{seed}", "{", "}", "{0}", "%s", "CON", "nul", "com1", "null", "-", "--", "'", '"', "$(ls)",
    "a cat", "é", "猫", "𝒳", "℀", "１", "nan", "inf", "1e999", ".png", "http://", "e\u0301",
)  # fmt: skip


@functools.cache
def texts():
    """Texts of all kinds, much of them made to do harm."""
    harm = st.sampled_from(HARM)
    long = st.builds(lambda piece, n: piece * n, harm, st.sampled_from((90, 300, 5_000, 10_000)))
    return st.lists(harm | st.text(max_size=5), max_size=8).map("".join) | st.text() | long


@functools.cache
def odd_values():
    """Values that JSON can hold and a field seldom expects."""
    numbers = st.sampled_from((0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**400, 0.5, -0.0))
    scalars = st.one_of(
        st.none(), st.booleans(), numbers, st.integers(), st.floats(), texts(), st.just([1] * 5000)
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=6,
    )


def changed_json(draw, value):
    """A JSON value in which one value, wherever it is, has become another."""
    keys = range(len(value)) if isinstance(value, list) else value
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 4)) == 0:
        return draw(odd_values())
    copy = value.copy()
    key = draw(st.sampled_from(list(keys)))
    copy[key] = changed_json(draw, copy[key])
    return copy


def changed_header(draw, content):
    """Bytes with a change; if they are JSON, mostly of its values."""
    if content[:1] != b"{":
        return changed(draw, content)
    return changed_json_text(draw, content.decode(errors="replace")).encode()


def changed_json_text(draw, text):
    """A text of JSON with changed values, or broken as text."""
    match draw(st.sampled_from(("values", "values", "bytes", "deep", "digits"))):
        case "values":
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):  # of an earlier change
                return text
            for _ in range(draw(st.integers(1, 3))):
                value = changed_json(draw, value)
            return json.dumps(value)
        case "bytes":
            return changed(draw, text.encode()).decode(errors="replace")
        case "deep":
            deep = draw(st.sampled_from(("[", '{"a":'))) * draw(st.sampled_from((500, 200_000)))
            return draw(st.sampled_from((deep, text.replace(":", f":{deep}", 1))))
        case "digits":
            return text.replace(":", ":" + "9" * draw(st.sampled_from((4_000, 5_000, 200_000))), 1)
