"""Types of options that say how pictures are put together, and where they go."""

import re
from pathlib import Path

from cli.errors import UserError, printable
from cli.names import Template

FITS = ("contain", "cover", "stretch")
WHITE = (255, 255, 255)
GAP = 8  # pixels between the images of a grid, where there are texts
ANIMATIONS = {".png": "PNG", ".gif": "GIF", ".webp": "WEBP", ".apng": "PNG", ".mp4": "MP4"}


def colour(text):
    """(red, green, blue) of a colour that Pillow knows; UserError for any other."""
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UserError(
            f'"{printable(text, 40)}" is no colour: use a name like white, or #202020'
        ) from None


def picture_file(text):
    """The Template of a grid's file: a name that is taken as it is, braces and all."""
    if not re.search(r"[^/\\]\.png$", text, re.IGNORECASE):
        raise UserError(f'a grid is a PNG: let "{printable(text, 100)}" end in a name with .png')
    return Template(text.replace("{", "{{").replace("}", "}}"))


def trajectory_file(text):
    """The Template of a trajectory's file, whose name is taken as it is, braces and all."""
    suffix = Path(text).suffix.lower()
    if suffix not in ANIMATIONS:
        *others, last = ANIMATIONS
        raise UserError(
            f'a trajectory is a strip or an animation: let "{printable(text, 100)}" end in a name '
            f"with {', '.join(others)} or {last}"
        )
    return Template(text.replace("{", "{{").replace("}", "}}"), suffix)
