"""The texts in a PNG, read without its pixels: a few kilobytes of a file, however large it is."""

import os
import struct
import zlib
from typing import NamedTuple

from cli.errors import UserError, printable
from cli.files import open_regular

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 4 * 2**20  # of a text; ours have some thousands, or a few per character of a prompt
MAX_CHUNKS = 100_000  # programs write pixels in some kilobytes a chunk, or all in one


class Texts(NamedTuple):
    """What a PNG says beside its pixels.

    Args:
        size: (width, height) in pixels.
        texts: a dict from those of the keys that it has to their texts.
    """

    size: tuple[int, int]
    texts: dict[str, str]


def read(path, keys):
    """The texts of a PNG under some keys, wherever in the file they are.

    Raises:
        UserError: in one line, for a file that is no PNG or is damaged before all keys are found,
            and for a text that is too large.
    """
    name = printable(path, 200)
    try:
        with open_regular(path) as file:
            return _read(file, {key.encode("latin-1"): key for key in keys})
    except _NoPng:
        raise UserError(f"{name}: not a PNG, and only PNGs hold a recipe") from None
    except _TooLarge:
        raise UserError(
            f"{name}: its recipe is too large: the file is damaged or not ours"
        ) from None
    except (ValueError, zlib.error) as error:
        raise UserError(f"{name}: damaged ({printable(error, 120)})") from None


class _NoPng(ValueError):
    pass


class _TooLarge(ValueError):
    pass


def _read(file, wanted):
    left = os.fstat(file.fileno()).st_size - len(SIGNATURE)
    if file.read(len(SIGNATURE)) != SIGNATURE:
        raise _NoPng
    size, found = None, {}
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        left -= 12 + length
        if left < 0 or not kind.isalpha():
            raise ValueError("the file is cut short")
        if kind == b"IHDR":
            if length != 13:
                raise ValueError("its header has an odd length")
            size = struct.unpack(">II5x", _body(file, kind, length))
        elif kind in _UNPACK:
            _add(found, wanted, file, kind, length)
        else:
            file.seek(length + 4, os.SEEK_CUR)
        if size and (kind == b"IEND" or len(found) == len(wanted)):
            return Texts(size, found)
    raise ValueError("it has too many parts")


def _add(found, wanted, file, kind, length):
    """Read a chunk of text if it is one of those wanted and not found yet, or pass over it."""
    start = file.tell()
    key, end, _ = file.read(min(length, 80)).partition(b"\0")
    if not end or key not in wanted or wanted[key] in found:
        file.seek(start + length + 4)
        return
    if length > MAX_BYTES:
        raise _TooLarge
    file.seek(start)
    found[wanted[key]] = _UNPACK[kind](_body(file, kind, length)[len(key) + 1 :])


def _body(file, kind, length):
    body = file.read(length)
    if file.read(4) != struct.pack(">I", zlib.crc32(kind + body)):
        raise ValueError(f"the checksum of its {kind.decode()} is wrong")
    return body


def _plain(data):
    return data.decode("latin-1")


def _packed(data):
    if data[:1] != b"\0":
        raise ValueError("its text is packed in an unknown way")
    return _inflate(data[1:]).decode("latin-1")


def _international(data):
    packed, method = data[:2] if len(data) >= 2 else (2, 0)
    if packed > 1 or (packed and method):
        raise ValueError("its text is packed in an unknown way")
    _language, _, rest = data[2:].partition(b"\0")
    _translated_key, end, text = rest.partition(b"\0")
    if not end:
        raise ValueError("its text is cut short")
    return (_inflate(text) if packed else text).decode("utf-8")


def _inflate(data):
    text = zlib.decompressobj().decompress(data, MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise _TooLarge
    return text


_UNPACK = {b"tEXt": _plain, b"zTXt": _packed, b"iTXt": _international}
