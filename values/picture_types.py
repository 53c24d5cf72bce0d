"""Types of the options for pictures, and the names and sizes that their help tells.

Neither Pillow nor torch is imported before a colour is given: the parsers need this module.
"""

import os
import re
from pathlib import Path

from values.errors import UserError, printable
from values.names import Template

FITS = ("contain", "cover", "stretch")
WHITE = (255, 255, 255)
GAP = 8  # pixels between the images of a grid that has texts

PREVIEW = "preview.png"
GALLERY = "index.html"

KINDS = {".png": "PNG", ".gif": "GIF", ".webp": "WEBP", ".apng": "PNG", ".mp4": "MP4"}
ANIMATIONS = (".gif", ".apng", ".mp4")  # which are nothing else; a WebP may be one
FPS = 10.0  # frames a second of an animation


def colour(text):
    """(red, green, blue), each up to 255, of a colour's name or of a code like #202020."""
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UserError(
            f'"{printable(text, 40)}" is no colour: use a name like white, or #202020'
        ) from None


def picture_file(text):
    """The Template of a grid's PNG, or of one in a folder; braces in its name are literal."""
    if text.endswith("/") or (os.path.isdir(text) and not Path(text).suffix):
        text = os.path.join(text, "grid.png")
    if not re.search(r"[^/\\]\.png$", text, re.IGNORECASE):
        raise UserError(f'a grid is a PNG: let "{printable(text, 100)}" end in a name with .png')
    return _literal(text, ".png")


def trajectory_file(text):
    """The Template of a trajectory's file; braces in its name are literal."""
    suffix = Path(text).suffix.lower()
    if suffix not in KINDS:
        *others, last = KINDS
        raise UserError(
            f'a trajectory is a strip or an animation: let "{printable(text, 100)}" end in a name '
            f"with {', '.join(others)} or {last}"
        )
    return _literal(text, suffix)


def is_strip(path):
    """Whether a trajectory's file is one picture, with the frames side by side."""
    return Path(path).suffix.lower() == ".png"


def _literal(text, suffix):
    return Template(text.replace("{", "{{").replace("}", "}}"), suffix)
