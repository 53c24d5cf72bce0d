"""Images saved whole, with their recipes: as a PNG, a JPEG or a WebP."""

import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cli.scripts import SOFTWARE
from jobs.outputs import place
from recipes import exif_texts, parameters
from recipes import recipe as recipes
from values.errors import note, printable
from values.files import write_whole

KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # by the end of a name; else PNG
ENCODING = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}


def save_png(image, path, texts=None, overwrite=False):
    """Write a PNG that appears at its place complete, or not at all.

    Args:
        image: a PIL image.
        path: the file; its folder exists.
        texts: a dict from keys to the texts to write.
        overwrite: whether to replace an existing file. Where not, it is left untouched even if
            it appears while this one is being written.
    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: it cannot be written.
    """
    info = PngInfo()
    for key, text in (texts or {}).items():
        if text.isascii():
            info.add_text(key, text)
        else:
            info.add_itxt(key, text, lang="", tkey=key)
    write_whole(path, lambda part: image.save(part, format="PNG", pnginfo=info), overwrite)


def save_image(image, path, recipe=None, overwrite=False):
    """Write an image with its recipe, as a PNG, JPEG or WebP; whole, or not at all.

    Args:
        image: a PIL image of mode RGB.
        path: the file, whose suffix names the format; its folder exists. A WebP holds the very
            pixels, as a PNG does.
        recipe: a dict for `recipes.recipe.texts`; None: none.
        overwrite: whether to replace an existing file.
    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: it cannot be written.
    """
    texts = recipes.texts(recipe) if recipe is not None else {}
    kind = KINDS.get(Path(path).suffix.lower(), "PNG")
    if kind == "PNG":
        save_png(image, path, texts, overwrite)
        return
    more = dict(ENCODING[kind])
    if texts:
        limit = exif_texts.MAX_JPEG if kind == "JPEG" else None
        described = (texts[recipes.KEY], texts[parameters.KEY], SOFTWARE, limit)
        more["exif"], whole = exif_texts.data(*described)
        if not whole:
            note(f"note: {printable(path, 200)}: its recipe is too long for a JPEG: left out")
    write_whole(path, lambda part: image.save(part, format=kind, **more), overwrite)


def is_lossy(suffix):
    """Whether `save_image` changes pixels in a file whose name ends so."""
    return KINDS.get(suffix.lower()) == "JPEG"


def as_saved(image, suffix):
    """A PIL image with the pixels that it has once `save_image` has saved it."""
    if not is_lossy(suffix):
        return image
    file = io.BytesIO()
    image.save(file, format="JPEG", **ENCODING["JPEG"])
    return Image.open(file).convert("RGB")


def publish(image, target, recipe=None):
    """Save a finished image with its recipe where a target says; missing folders are made.

    Args:
        image: a PIL image.
        target: as `jobs.outputs.Outputs` makes them.
        recipe: a dict for `recipes.recipe.texts`; its index becomes the number in the file's name.
    Returns, raises:
        as `jobs.outputs.place`.
    """

    def save(path, number, overwrite):
        numbered = {**recipe, "index": number} if recipe is not None else None
        save_image(image, path, numbered, overwrite)

    return place(save, target)
