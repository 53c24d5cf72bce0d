"""The texts in a PNG, by Pillow's reader of its chunks; the pixels are skipped, not decoded."""

import contextlib
import os
from typing import NamedTuple

from values.errors import UserError, printable
from values.files import open_regular

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KINDS = (b"tEXt", b"zTXt", b"iTXt")
MAX_BYTES = 4 * 2**20  # of a text; recipes have some thousands. Pillow unpacks 2**20 at the most
MAX_CHUNKS = 100_000  # programs write pixels in some kilobytes a chunk, or all in one


class Texts(NamedTuple):
    """What a PNG says beside its pixels.

    Args:
        size: (width, height) in pixels.
        texts: a dict from those of the keys that it has to their texts.
    """

    size: tuple[int, int]
    texts: dict[str, str]


class _TooLarge(Exception):
    pass


def read(path, keys):
    """The texts of a PNG under some keys, anywhere in the file; the first of a key counts.

    Raises:
        UserError: in one line, for a file that is no PNG or is damaged before all keys are found,
            and for a text that is too large.
    """
    name = printable(path, 200)
    try:
        with open_regular(path) as file:
            if file.read(len(SIGNATURE)) != SIGNATURE:
                raise UserError(f"{name}: not a PNG, JPEG, WebP or GIF: only these hold a recipe")
            return _read(file, keys)
    except _TooLarge:
        raise UserError(
            f"{name}: its recipe is too large: the file is damaged or not ours"
        ) from None
    except (ValueError, SyntaxError) as error:
        raise UserError(f"{name}: damaged ({printable(error, 120)})") from None


def chunks(stream, file):
    """(kind, place, length) of each chunk from here to the end; the content may be read or not.

    Args:
        stream: a PIL.PngImagePlugin.PngStream of the file.
    Raises:
        ValueError, SyntaxError: for a file that is cut short or in too many parts.
    """
    size = os.fstat(file.fileno()).st_size
    for _ in range(MAX_CHUNKS):
        if file.tell() + 8 > size:
            raise ValueError("the file is cut short")
        kind, place, length = stream.read()
        if place + length + 4 > size:
            raise ValueError("the file is cut short")
        yield kind, place, length
        if kind == b"IEND":
            return
        file.seek(place + length + 4)
    raise ValueError("it has too many parts")


def _read(file, keys):
    from PIL.PngImagePlugin import PngStream

    stream, found = PngStream(file), {}
    for kind, place, length in chunks(stream, file):
        if kind == b"IHDR":
            stream.crc(kind, stream.call(kind, place, length))
        elif kind in KINDS:
            key = file.read(min(length, 80)).partition(b"\0")[0].decode("latin-1")
            if key in keys and key not in found:
                file.seek(place)
                found[key] = _text(stream, key, kind, place, length)
        if len(found) == len(keys) and any(stream.im_size):
            break
    return Texts(stream.im_size, found)


def _text(stream, key, kind, place, length):
    if length > MAX_BYTES:
        raise _TooLarge
    stream.im_text.clear()
    try:
        stream.crc(kind, stream.call(kind, place, length))
    except ValueError:  # it is not unpacked further than to Pillow's limit
        raise _TooLarge from None
    if key not in stream.im_text:
        raise ValueError("its text is not UTF-8 or cut short")
    text = str(stream.im_text[key])
    if kind != b"iTXt":
        # Latin-1 by the standard, but many programs write UTF-8, which Latin-1 hardly looks like.
        with contextlib.suppress(UnicodeDecodeError):
            text = text.encode("latin-1").decode("utf-8")
    return text
