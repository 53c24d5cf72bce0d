"""The texts that pictures hold: PNGs in chunks, JPEGs and WebPs as EXIF data, GIFs as a comment."""

from recipes import exif_texts, gif_texts, parameters, png_texts
from values.files import open_regular

RECIPE = "v-diffusion"  # under which a PNG holds our recipe
START = '{"version"'  # of one, where it has no name


def read(path, keys):
    """The texts of a picture under some keys, as `recipes.png_texts.read` returns and raises."""
    with open_regular(path) as file:
        head = file.read(16)
    if gif_texts.is_one(head):
        size, text = gif_texts.read(path)
        ours = RECIPE in keys and text.startswith(START)
        return png_texts.Texts(size, {RECIPE: text} if ours else {})
    if not exif_texts.is_one(head):
        return png_texts.read(path, keys)
    size, texts = exif_texts.read(path, (RECIPE, parameters.KEY))
    if not texts.get(RECIPE, "").startswith(START):  # a description by another program
        texts.pop(RECIPE, None)
    return png_texts.Texts(size, {key: text for key, text in texts.items() if key in keys})
