"""The pictures that images start from, are led by or are changed under, opened once."""

import functools

from cli.errors import UserError, printable
from media.images import open_image, resize_and_crop

open_photo = functools.lru_cache(maxsize=32)(open_image)


def fitted(source, size):
    """The picture of a file or an address as PIL image of a (width, height), scaled and cropped."""
    return resize_and_crop(open_photo(source), tuple(size))


def mask_of(image):
    """Where a photo may change: a PIL image in grey, of the size of what is drawn; None: all over.

    Args:
        image: the ImageOptions of an edit.
    Raises:
        UserError: for a mask that is not of the photo's size, or all black.
    """
    if image.mask is None:
        return None
    mask, photo, size = open_photo(image.mask), open_photo(image.init), tuple(image.size)
    if mask.size not in (photo.size, size):
        sizes = ", not ".join(f"{w} x {h}" for w, h in (photo.size, mask.size))
        raise UserError(
            f"--mask {printable(image.mask, 200)}: make it as large as the photo, {sizes}"
        )
    mask = resize_and_crop(mask, size).convert("L")
    if mask.getextrema() == (0, 0):
        raise UserError(f"--mask {printable(image.mask, 200)} is all black: nothing may change")
    return mask
