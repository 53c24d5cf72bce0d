"""The images that files, folders and patterns stand for."""

import glob
import os
import re
from pathlib import Path

from media.preview import is_preview
from values.errors import UserError, printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def find_images(words, output):
    """The paths that files, folders and patterns stand for.

    Args:
        words: what the user named, in the order to show it in.
        output: the file of the grid, which no folder and no pattern stands for.
    Raises:
        UserError: for what stands for no image.
    """
    return [path for word in words for path in _stands_for(word, output)]


def _stands_for(word, output):
    shown = printable(word, 200)
    if re.match("https?://", word, re.IGNORECASE):
        raise UserError(f"{shown}: a grid is made of files: download the image first")
    try:
        if Path(word).is_dir():
            found = [entry for entry in Path(word).iterdir() if not entry.name.startswith(".")]
        elif glob.has_magic(word) and not os.path.lexists(word):
            found = [Path(name) for name in glob.glob(word)]
        else:
            return [Path(word)]
        found = [p for p in found if p.suffix.lower() in SUFFIXES and p.is_file()]
        found = [path for path in found if not is_preview(path)]
        if output.exists():
            found = [path for path in found if not path.samefile(output)]
    except (OSError, ValueError) as error:
        why = printable(getattr(error, "strerror", None) or error, 80)
        raise UserError(f"{shown}: cannot be read: {why}") from None
    if not found:
        raise UserError(f"{shown}: no images there: name files that end in {', '.join(SUFFIXES)}")
    return sorted(found, key=natural)


def natural(path):
    """A key that sorts paths as people count: image2.png before image10.png."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], str(path)
