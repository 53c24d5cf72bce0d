"""Images from files and addresses, to tensors and back, and into PNGs that are whole or absent."""

import contextlib
import math
import re
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from cli.errors import UserError, printable
from cli.files import open_limited, read_file, write_whole
from media import limits, web
from media.colour import to_rgb

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]
MAX_BYTES = 64 * 2**20
MAX_ADDRESS = 10_000  # characters; a recipe has room for them
MAX_PIXELS = 80_000_000  # below the 89 million at which Pillow warns of a decompression bomb


def open_image(source, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS, timeout=20.0):
    """Read an image as people see it: upright, on white where transparent, 8 bits of RGB.

    Args:
        source: a path, or an http or https address. Of an animation the first frame counts.
        max_bytes: the largest file to read.
        max_pixels: the largest width times height to decode.
        timeout: seconds to wait for each sign of life of a server.
    Returns:
        a PIL image of mode RGB without the metadata of the file.
    Raises:
        UserError: in one line, for whatever cannot be read as such an image.
    """
    source = str(source)
    if re.match("https?://", source, re.IGNORECASE):
        if len(source) > MAX_ADDRESS:
            raise UserError(f"{printable(source, 200)}: the address is too long: download it")
        data = web.download(source, max_bytes, timeout)
    elif re.match(r"[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
        raise UserError(f"{printable(source, 200)}: give a path, or an http or https address")
    else:
        data = read_file(source, max_bytes)
    return _decode(data, printable(source, 200), max_pixels)


def size_of(path, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS):
    """(width, height) of what `open_image` makes of a file, without decoding its pixels.

    A PNG that says only behind its pixels which way is up is taken as it lies.

    Raises:
        UserError: in one line, for what is no image or breaks the limits.
    """
    name = printable(path, 200)
    with open_limited(path, max_bytes) as file:
        start = file.read(256)
        file.seek(0)
        with _explained(name, start, max_pixels):
            image = _header(file, max_pixels)
        turned = False
        if image.format != "TIFF":  # of which Pillow knows how it stands from the start
            turned = _orientation(image) in (5, 6, 7, 8)
        return image.size[::-1] if turned else image.size


def resize_and_crop(image, size):
    """Scale an image evenly until it just covers a frame, and cut off what sticks out.

    Args:
        image: a PIL image of mode RGB.
        size: (width, height) of the frame, in pixels.
    Returns:
        a PIL image of exactly that size, the centre of the given one, without any padding.
    """
    width, height = size
    if min(size) < 1:
        raise ValueError(f"size must be at least 1 x 1, not {width} x {height}")
    # The part of the image that is seen, in its own pixels: one side whole, the other cut.
    if image.width * height >= image.height * width:
        seen = (image.height * width / height, float(image.height))
    else:
        seen = (float(image.width), image.width * height / width)
    # At its own scale an image is cut between pixels, so that they stay as they are.
    snap = math.floor if seen == (width, height) else float
    left, top = snap((image.width - seen[0]) / 2), snap((image.height - seen[1]) / 2)
    # Cut roughly first, leaving room for the filter: no intermediate image is larger than the
    # given one, and the box, which Pillow keeps in single precision, starts near 0.
    room = [math.ceil(3 * max(1.0, seen[i] / size[i])) + 1 for i in range(2)]
    x, y = max(0, math.floor(left) - room[0]), max(0, math.floor(top) - room[1])
    right = min(image.width, math.ceil(left + seen[0]) + room[0])
    bottom = min(image.height, math.ceil(top + seen[1]) + room[1])
    part = image.crop((x, y, right, bottom))
    box = (left - x, top - y, left - x + seen[0], top - y + seen[1])
    box = (*box[:2], min(box[2], part.width), min(box[3], part.height))
    return part.resize(size, Image.Resampling.LANCZOS, box=box)


def shrink(image, side):
    """A PIL image scaled down evenly until its shorter side has `side` pixels; never enlarged."""
    factor = side / min(image.size)
    if factor >= 1:
        return image
    return scaled(image, tuple(max(1, round(length * factor)) for length in image.size))


def within(size, side):
    """A (width, height) scaled down evenly until neither side is longer than `side` pixels."""
    factor = min(1, side / max(size))
    return tuple(max(1, round(length * factor)) for length in size)


def scaled(image, size):
    """A PIL image scaled to a (width, height), whatever that does to its shape."""
    return image if image.size == tuple(size) else image.resize(size, Image.Resampling.LANCZOS)


def save_png(image, path, metadata=None, overwrite=False):
    """Write a PNG that appears at its place complete, or not at all.

    Args:
        image: a PIL image.
        path: the file; its folder exists.
        metadata: a PIL.PngImagePlugin.PngInfo with the text chunks to write.
        overwrite: whether to replace an existing file. Where not, it is left untouched even if
            it appears while this one is being written.
    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: it cannot be written.
    """
    write_whole(path, lambda part: image.save(part, format="PNG", pnginfo=metadata), overwrite)


def _decode(data, name, max_pixels):
    with _explained(name, data[:256], max_pixels):
        image = _header(limits.Stream(data), max_pixels)
        limits.check(image, data)
        image.load()
    with warnings.catch_warnings(action="ignore"):
        with contextlib.suppress(Exception):  # a damaged tag: take the pixels as they lie
            image = ImageOps.exif_transpose(image)
        try:
            image = to_rgb(image)
        except (ValueError, OSError) as error:
            raise UserError(f"{name}: cannot be shown as RGB ({printable(error, 80)})") from None
    image.info = {}  # where the photo was taken is nobody's business in what is made of it
    return image


def _header(file, max_pixels):
    """A PIL image whose pixels are not decoded yet."""
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > max_pixels:
        raise Image.DecompressionBombError
    return image


@contextlib.contextmanager
def _explained(name, start, max_pixels):
    """What Pillow raises while it reads a file, whose first bytes are given, as a UserError."""
    if not start:
        raise UserError(f"{name}: the file is empty")
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd tags: nothing the user can mend
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(
            f"{name}: more than {max_pixels / 1e6:g} million pixels: make it smaller"
        ) from None
    except limits.TooMuchWork as error:
        raise UserError(f"{name}: {error}: save it anew, as a PNG") from None
    except UnidentifiedImageError:
        page = start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
        hint = " (it looks like a web page or an SVG)" if page else ""
        raise UserError(f"{name}: not a PNG, JPEG, WebP, GIF, BMP or TIFF{hint}") from None
    except Exception as error:  # the decoders raise all kinds of errors for broken files
        why = printable(str(error) or type(error).__name__, 120)
        raise UserError(f"{name}: the image is damaged or cut short ({why})") from None


def _orientation(image):
    """Which way an image is turned, by the EXIF data in front of its pixels."""
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
        # Not image.getexif(): that of a PNG decodes the pixels, to look behind them.
        return Image.Image.getexif(image).get(0x0112)
