"""The texts in a JPEG or a WebP: in its EXIF data, where other tools look for them, too.

Our recipe is the description of the image, the text for viewers is the comment.
"""

import contextlib
import warnings

from recipes.png_texts import MAX_BYTES, Texts
from values.errors import UserError, printable
from values.files import open_limited

FORMATS = ("JPEG", "WEBP")
MAX_FILE = 64 * 2**20  # bytes
DESCRIPTION, SOFTWARE, EXIF, COMMENT = 0x010E, 0x0131, 0x8769, 0x9286  # tags
MAX_JPEG = 65_500  # bytes of a JPEG's EXIF data


def is_one(head):
    """Whether a file that begins so may be a JPEG or a WebP."""
    return head.startswith(b"\xff\xd8\xff") or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read(path, keys):
    """The texts of a file under some keys: ("description", "comment"), whichever it has.

    Args:
        keys: what to call the two.
    Returns:
        `recipes.png_texts.Texts`.
    Raises:
        UserError: in one line, for a damaged file and for a text that is too large.
    """
    from PIL import Image

    name, texts = printable(path, 200), {}
    with open_limited(path, MAX_FILE) as file:
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                Image.open(file, formats=FORMATS) as image,
            ):
                size, exif = image.size, image.getexif()
                found = (exif.get(DESCRIPTION), exif.get_ifd(EXIF).get(COMMENT))
        except Exception as error:  # the decoders raise all kinds of errors for broken files
            raise UserError(f"{name}: damaged ({printable(error, 120)})") from None
    for key, text in zip(keys, found, strict=True):
        if isinstance(text, bytes):
            text = _decoded(text)
        if isinstance(text, str) and text.strip("\0 "):
            if len(text) > MAX_BYTES:
                raise UserError(f"{name}: its recipe is too large: the file is not ours")
            texts[key] = text.strip("\0")
    return Texts(size, texts)


def data(description, comment, software, limit=None):
    """EXIF data with texts, as bytes, or without those for which a limit leaves no room."""
    from PIL import Image

    for texts in ((description, comment), (description, None), (None, None)):
        exif = Image.Exif()
        exif[SOFTWARE] = software
        if texts[0]:
            exif[DESCRIPTION] = texts[0]
        if texts[1]:
            exif.get_ifd(EXIF)[COMMENT] = b"UNICODE\0" + texts[1].encode("utf-16-be", "replace")
        found = exif.tobytes()
        if limit is None or len(found) <= limit:
            break
    return found, texts[0] is not None


def _decoded(comment):
    """The text of a comment, which begins with eight bytes of what it is written in."""
    kind, text = comment[:8], comment[8:]
    with contextlib.suppress(UnicodeDecodeError):
        if kind == b"UNICODE\0":  # in either order of bytes; most texts begin with Latin letters
            return text.decode("utf-16-be" if text[:1] == b"\0" else "utf-16-le")
        return (text if kind in (b"ASCII\0\0\0", b"\0" * 8) else comment).decode("utf-8")
    return None
