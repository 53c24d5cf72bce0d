"""Short texts in pictures: a font that has their characters, and lines that fit a width."""

import bisect
import functools
import re
import unicodedata

from PIL import Image, ImageDraw, ImageFont

from values.errors import printable

# Where texts need more than Pillow's own font has, which is little more than ASCII; by the names
# they have on Linux, macOS and Windows.
FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "segoeui.ttf",
    "msyh.ttc",
)
ELLIPSIS = "…"
MAX_CHARACTERS = 500  # of a text: more cannot be read in a picture
_SELECTORS = re.compile("[\ufe00-\ufe0f]")  # of a variant of the character before
_NO_CHARACTER = "\U0010ffff"  # no font has it, so it shows what a font draws for what it lacks


def clean(text):
    """A text as one line that can be drawn: spaces are single, what is invisible is escaped."""
    text = " ".join(_SELECTORS.sub("", text[: 2 * MAX_CHARACTERS]).split())
    return printable(unicodedata.normalize("NFC", text), MAX_CHARACTERS)


def font_for(texts, size):
    """A PIL font of a size in pixels, of those here the one that lacks fewest of the characters."""
    characters = set().union(*map(clean, texts))
    best, lacking = None, len(characters) + 1
    for name in (None, *FONTS):
        try:
            font = ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
        except OSError:  # there is none of that name
            continue
        count = sum(not has(font, character) for character in characters)
        if count < lacking:
            best, lacking = font, count
        if not lacking:
            break
    return best


@functools.lru_cache(maxsize=10_000)
def has(font, character):
    """Whether a font has a glyph for a character."""
    mask = font.getmask(character)
    size, pixels = _blank(font)
    return character == " " or mask.size != size or bytes(mask) != pixels


@functools.lru_cache(maxsize=32)
def _blank(font):
    mask = font.getmask(_NO_CHARACTER)
    return mask.size, bytes(mask)


def spelt(text, font):
    """A text in the characters that a font has: without accents that it lacks, "?" for the rest."""
    return "".join(c if has(font, c) else _near(c, font) for c in text)


def _near(character, font):
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return ""  # it belongs to the character before
    base = unicodedata.normalize("NFKD", character)[0]
    return base if has(font, base) else "?"


def wrap(text, font, width, most):
    """A text in lines no wider than a width; beyond so many lines it is cut with an ellipsis.

    Lines break between words. A word wider than a line breaks anywhere, and a line has at least
    one character, however narrow it is.
    """
    lines = []
    while text:
        fits = _fitting(text, font, width)
        if fits == len(text):
            return [*lines, text]
        if len(lines) == most - 1:
            return [*lines, _cut(text, font, width)]
        space = text.rfind(" ", 1, fits + 1)
        end = space if space > 0 else fits
        lines.append(text[:end])
        text = text[end:].lstrip()
    return lines


def _cut(text, font, width):
    fits = _fitting(text, font, width - font.getlength(ELLIPSIS))
    return text[:fits].rstrip() + ELLIPSIS


def _fitting(text, font, width):
    """How many of the first characters fit into a width: at least one."""
    lengths = range(1, len(text) + 1)
    return max(1, bisect.bisect_right(lengths, width, key=lambda n: font.getlength(text[:n])))


def line_height(font):
    return sum(font.getmetrics())


def draw(lines, font, size, colour, background):
    """Lines as a PIL image of a size, each in the middle; what sticks out is cut off."""
    picture = Image.new("RGB", size, background)
    pen = ImageDraw.Draw(picture)
    for i, line in enumerate(lines):
        x = max(0, (size[0] - font.getlength(line)) / 2)
        pen.text((x, i * line_height(font)), line, colour, font)
    return picture
