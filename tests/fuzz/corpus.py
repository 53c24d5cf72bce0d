"""Good files of every format that is read, made anew, and the parts that they are made of."""

import functools
import io
import json
import pathlib
import re
import struct
import tempfile
import zlib

SCAN = b"\xff\xda"
BARE = (b"\xff\xd8", SCAN, b"\xff\xd9")  # markers after which no length is to be mended
RECIPE = {
    "script": "cfg_sample.py",
    "prompts": [["a red apple", 3.0], ["blurry: 2", -1.0]],
    "images": [["photo.png", 0.5]],
    "seed": 7,
    "index": 0,
    "steps": 20,
    "method": "ddim",
    "schedule": "logit",
    "eta": 0.5,
    "batch": [4, 1],
    "chunk": 2,
    "size": [64, 64],
    "model": "emoji",
    "model_sha256": "0" * 64,
    "dtype": "float32",
    "guidance_interval": [0.0, 0.9],
    "guidance": "apg:0.06:-0.5:0",
    "guide_sha256": "1" * 64,
    "files_sha256": {"photo.png": ["2" * 64]},
    "software": "v-diffusion 1.0",
}


def picture(mode="RGB", size=(24, 17)):
    from PIL import Image

    step = 5 if mode in ("1", "P") else 7
    levels = bytes((x * step + y * 11) % 256 for y in range(size[1]) for x in range(size[0] * 3))
    return Image.frombytes("RGB", size, levels).convert(mode)


def encoded(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


@functools.cache
def pngs():
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("parameters", "a cat", zip=True)
    text.add_itxt("v-diffusion", "{}", zip=True)
    frames = {"save_all": True, "append_images": [picture().rotate(9)]}
    return {
        **{mode: encoded(picture(mode), "PNG") for mode in ("1", "L", "LA", "RGB", "RGBA", "I;16")},
        "palette": encoded(picture("P"), "PNG", transparency=3),
        "transparent": encoded(picture("L"), "PNG", transparency=7),
        "exif and text": encoded(picture(), "PNG", exif=exif(), pnginfo=text, dpi=(72, 72)),
        "animated": encoded(picture(), "PNG", **frames),
    }


@functools.cache
def jpegs():
    return {
        "baseline": encoded(picture(), "JPEG"),
        "progressive": encoded(picture(), "JPEG", progressive=True, subsampling=0),
        "grey": encoded(picture("L"), "JPEG", comment=b"grey", restart_marker_blocks=1),
        "large": encoded(picture(size=(2000, 1500)), "JPEG", progressive=True, quality=10),
        "cmyk": encoded(picture("CMYK"), "JPEG", exif=exif(), dpi=(1, 1)),
    }


@functools.cache
def webps():
    frames = {"save_all": True, "append_images": [picture().rotate(9)]}
    return {
        "lossy": encoded(picture(), "WEBP"),
        "lossless": encoded(picture("RGBA"), "WEBP", lossless=True, exif=exif()),
        "animated": encoded(picture(), "WEBP", **frames),
    }


@functools.cache
def other_images():
    """GIF, BMP and TIFF."""
    frames = {"save_all": True, "append_images": [picture().rotate(9)]}
    tiffs = {
        f"tiff {mode} {how}": encoded(picture(mode), "TIFF", compression=how)
        for mode, how in (
            ("RGB", None),
            ("RGB", "tiff_lzw"),
            ("RGBA", "tiff_deflate"),
            ("L", "packbits"),
            ("YCbCr", "jpeg"),
            ("1", "group4"),
            ("F", None),
            ("I;16", "tiff_lzw"),
            ("I;16B", None),
            ("CMYK", None),
            ("P", None),
        )
    }
    return {
        **tiffs,
        "tiff pages": encoded(picture(), "TIFF", **frames),
        "tiff exif": encoded(picture(), "TIFF", exif=exif()),
        "gif": encoded(picture("P"), "GIF", transparency=3, interlace=1),
        "gif animated": encoded(picture(), "GIF", **frames),
        **{f"bmp {mode}": encoded(picture(mode), "BMP") for mode in ("1", "L", "RGB", "RGBA")},
    }


def exif():
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010E] = "a description"
    return exif.tobytes()


def png_parts(data):
    """(kind, content) of each chunk."""
    parts, i = [], 8
    while i + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, i)
        parts.append((data[i + 4 : i + 8], data[i + 8 : i + 8 + size]))
        i += 12 + size
    return parts


def join_png(parts):
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg_parts(data):
    """(marker, content) of each segment; that of a scan is all up to the next marker."""
    parts, i = [], 0
    while i + 2 <= len(data):
        marker = data[i : i + 2]
        start = end = i + 2
        if marker == SCAN:
            end = re.compile(rb"\xff[^\0\xd0-\xd7]").search(data, start).start()
        elif marker not in BARE:
            start, end = i + 4, i + 2 + struct.unpack_from(">H", data, i + 2)[0]
        parts.append((marker, data[start:end]))
        i = end
    return parts


def join_jpeg(parts):
    return b"".join(
        marker + content
        if marker in BARE
        else marker + struct.pack(">H", min(len(content) + 2, 0xFFFF)) + content
        for marker, content in parts
    )


def riff_parts(data):
    """(kind, content) of each chunk of a WebP."""
    parts, i = [], 12
    while i + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, i)
        parts.append((kind, data[i + 8 : i + 8 + size]))
        i += 8 + size + size % 2
    return parts


def join_riff(parts):
    chunks = b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in parts
    )
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


def png_with(text, kind, key=b"v-diffusion"):
    """A PNG with a text in a chunk of one of the three kinds."""
    text = text.encode(errors="surrogatepass")
    content = {
        b"tEXt": key + b"\0" + text,
        b"zTXt": key + b"\0\0" + zlib.compress(text),
        b"iTXt": key + b"\0\1\0\0\0" + zlib.compress(text),
    }
    head, *rest = png_parts(encoded(picture("1", (4, 3)), "PNG"))
    return join_png([head, (kind, content[kind]), *rest])


def png_of(recipe):
    from media.saving import save_png
    from recipes import recipe as recipes

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a.png")
        save_png(picture("1", (4, 3)), path, recipes.texts(recipe))
        return path.read_bytes()


@functools.cache
def recipe_pngs():
    header, *texts_and_pixels, end = png_parts(png_of(RECIPE))
    texts = [part for part in texts_and_pixels if part[0] in TEXT_CHUNKS]
    pixels = [part for part in texts_and_pixels if part not in texts]
    return {
        "ours": png_of(RECIPE),
        **{kind.decode(): png_with(json.dumps(RECIPE), kind) for kind in TEXT_CHUNKS},
        "behind the pixels": join_png([header, *pixels, *texts, end]),
    }
