"""The comment in a GIF."""

import warnings

from recipes.png_texts import MAX_BYTES
from values.errors import UserError, printable
from values.files import open_limited

MAX_FILE = 256 * 2**20  # bytes


def is_one(head):
    """Whether a file that begins so is a GIF."""
    return head[:6] in (b"GIF87a", b"GIF89a")


def read(path):
    """((width, height), its comment or "") of a GIF.

    Raises:
        UserError: in one line, for a damaged file and for a comment that is too large.
    """
    from PIL import Image

    name = printable(path, 200)
    with open_limited(path, MAX_FILE) as file:
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                Image.open(file, formats=["GIF"]) as image,
            ):
                size, comment = image.size, image.info.get("comment", b"")
        except Exception as error:  # the decoder raises all kinds of errors for broken files
            raise UserError(f"{name}: damaged ({printable(error, 120)})") from None
    if len(comment) > MAX_BYTES:
        raise UserError(f"{name}: its recipe is too large: the file is not ours")
    return size, comment.decode("utf-8", "replace")
