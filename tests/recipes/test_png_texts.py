import struct
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from recipes import png_texts
from values.errors import UserError

TEXT = "ein Käfer"


def saved(tmp_path, fill, size=(7, 5)):
    info = PngInfo()
    fill(info)
    path = tmp_path / "a.png"
    Image.new("RGB", size).save(path, pnginfo=info)
    return path


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["add_text", "add_itxt"])
def test_all_kinds_of_text_are_read(tmp_path, kind, packed):
    path = saved(tmp_path, lambda info: getattr(info, kind)("key", TEXT, zip=packed))
    assert png_texts.read(path, ["key"]) == ((7, 5), {"key": TEXT})


def test_only_what_is_asked_for_is_read_and_the_first_of_a_key_counts(tmp_path):
    def fill(info):
        for key, text in [("a", "1"), ("b", "2"), ("a", "3")]:
            info.add_text(key, text)

    path = saved(tmp_path, fill)
    assert png_texts.read(path, ["a", "c"]).texts == {"a": "1"}
    assert png_texts.read(path, ["b"]).texts == {"b": "2"}


def test_pixels_are_passed_over_unread(tmp_path):
    path = tmp_path / "a.png"
    pixels = struct.pack(">I", 2**20) + b"IDAT" + b"no pixels" * 2**17
    path.write_bytes(png(pixels[: 8 + 2**20] + b"crc?", chunk(b"tEXt", b"key\0text")))
    with pytest.raises(UserError, match="cut short"):  # behind the text there is no end
        png_texts.read(path, ["key", "other"])
    assert png_texts.read(path, ["key"]).texts == {"key": "text"}


DAMAGED = {
    "": "not a PNG",
    "jpeg": "not a PNG",
    "no head": "cut short",
    "short head": "damaged",
    "wrong checksum": "checksum",
    "cut in the text": "cut short",
    "longer than the file": "cut short",
    "unknown packing": "Unknown compression method",
    "too large": "too large",
    "too large unpacked": "too large",
    "not UTF-8": "not UTF-8",
    "no text": "not UTF-8 or cut short",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files_are_refused_in_one_line(tmp_path, damage):
    text = chunk(b"tEXt", b"key\0text")
    large = b"x" * (png_texts.MAX_BYTES + 1)
    contents = {
        "": b"",
        "jpeg": b"\xff\xd8\xff\xe0" * 9,
        "no head": png()[:20],
        "short head": png()[:8] + chunk(b"IHDR", bytes(8)),
        "wrong checksum": png(text[:-1] + b"?"),
        "cut in the text": png(text[:-6]),
        "longer than the file": png(b"\xff\xff\xff\xf0" + text[4:]),
        "unknown packing": png(chunk(b"zTXt", b"key\0\1...")),
        "too large": png(chunk(b"tEXt", b"key\0" + large)),
        "too large unpacked": png(chunk(b"zTXt", b"key\0\0" + zlib.compress(large))),
        "not UTF-8": png(chunk(b"iTXt", b"key\0\0\0\0\0\xff\xff")),
        "no text": png(chunk(b"iTXt", b"key\0\0\0\0")),
    }
    path = tmp_path / "a.png"
    path.write_bytes(contents[damage])
    with pytest.raises(UserError, match=DAMAGED[damage]) as refused:
        png_texts.read(path, ["key"])
    assert str(refused.value).isprintable()


def test_file_of_very_many_parts_is_given_up(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(chunk(b"tEXt", b"") * (png_texts.MAX_CHUNKS + 1)))
    with pytest.raises(UserError, match="too many parts"):
        png_texts.read(path, ["key"])


@pytest.mark.parametrize("kind", ["tEXt", "zTXt"])
def test_bytes_that_are_utf_8_are_read_as_such(tmp_path, kind):
    path = tmp_path / "a.png"
    for written in ("猫 ❤️, Käfer", TEXT, "a cat"):
        text = written.encode("latin-1" if written == TEXT else "utf-8")
        body = b"key\0" + (text if kind == "tEXt" else b"\0" + zlib.compress(text))
        path.write_bytes(png(chunk(kind.encode(), body), chunk(b"IEND", b"")))
        assert png_texts.read(path, ["key"]).texts == {"key": written}
