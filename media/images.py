"""Images from files and addresses: read, turned upright, scaled and cropped.

Of what is asked for again and again, only the scaled picture is kept in memory.
"""

import collections
import contextlib
import math
import os
import re
import warnings

from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from media import limits, web
from media.colour import ProfileError, in_srgb, is_seen_through, on_ground, to_8_bits
from recipes import png_texts
from values.errors import UserError, note_once, printable
from values.files import open_limited, read_file

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]
MAX_BYTES = 64 * 2**20
MAX_ADDRESS = 10_000  # characters; a recipe has room for them
MAX_PIXELS = 80_000_000  # below the 89 million at which Pillow warns of a decompression bomb
MAX_KEPT = 256 * 2**20  # bytes of the scaled pictures in memory
FIRST_ALONE = "of the pictures in it the first alone counts"
ORIENTATION = 0x0112  # the EXIF tag


def open_image(source, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS, timeout=20.0):
    """Read an image as people see it: upright, in sRGB, on white where it is transparent.

    Args:
        source: a path, or an http or https address. Of an animation the first frame counts.
        max_bytes: the largest file to read.
        max_pixels: the largest width times height to decode.
        timeout: seconds to wait for each sign of life of a server.
    Returns:
        a PIL image of mode RGB, 8 bits a channel, without the metadata of the file. A colour
        profile that cannot be used is ignored with a note on stderr.
    Raises:
        UserError: in one line, for whatever cannot be read as such an image.
    """
    return _opened(source, max_bytes, max_pixels, timeout)[0]


def _opened(source, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS, timeout=20.0):
    """(what `open_image` returns, what of the file it leaves out, in words)."""
    image, name, is_animated = _upright(source, max_bytes, max_pixels, timeout)
    profile = image.info.get("icc_profile")
    left_out = [FIRST_ALONE] if is_animated else []
    with _explained_colours(name):
        image = to_8_bits(image)
        try:
            image = in_srgb(image, profile)
        except ProfileError as error:
            note_once(f"note: {name}: its colour profile is ignored: {error}")
        if is_seen_through(image):
            left_out.append("what is transparent in it counts as white")
        image = on_ground(image, "white")
    image.info = {}  # such as the place where a photo was taken
    return image, left_out


def open_mask(source, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS, timeout=20.0):
    """Read a mask: white where a picture may change, black where it stays, grey in between.

    What is transparent is black, whatever colour lies below: on a transparent ground the places
    that are painted white may change. Colours count by their brightness; as a mask holds data,
    its colour profile is ignored. Arguments and errors are those of `open_image`.

    Returns:
        a PIL image of mode L.
    """
    return _opened_mask(source, max_bytes, max_pixels, timeout)[0]


def _opened_mask(source, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS, timeout=20.0):
    """(`open_mask` of a file, what of it is left out in words)."""
    image, name, is_animated = _upright(source, max_bytes, max_pixels, timeout)
    left_out = [FIRST_ALONE] if is_animated else []
    with _explained_colours(name):
        image = to_8_bits(image)
        if is_seen_through(image):
            left_out.append("what is transparent in it counts as black: it stays")
        image = on_ground(image, "black").convert("L")
    image.info = {}
    return image, left_out


def size_of(path, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS):
    """(width, height) of what `open_image` makes of a file, without decoding its pixels.

    Raises:
        UserError: in one line, for what is no image or breaks the limits.
    """
    with open_limited(path, max_bytes) as file:
        with _explained(printable(path, 200), file, max_pixels):
            image = _header(file, max_pixels)
        turned = False
        if image.format != "TIFF":  # Pillow has turned its size already
            turned = _orientation(image, file) in (5, 6, 7, 8)
        return image.size[::-1] if turned else image.size


def fitted(source, size):
    """`resize_and_crop(open_image(source), size)`, kept in memory for the next call.

    All pictures that are kept take up to `MAX_KEPT` bytes; a file that has changed is read again.
    """
    return _kept.get(source, size, resize_and_crop)[0]


def size_before(source, size):
    """(width, height) of `open_image(source)`, kept with what `fitted` makes of it."""
    return _kept.get(source, size, resize_and_crop)[1]


def left_out_of(source, size):
    """What of a file `fitted` leaves out, in words: a list."""
    return _kept.get(source, size, resize_and_crop)[2]


def fitted_mask(source, size):
    """(`open_mask(source)` scaled and cropped to a size, its size before), kept as by `fitted`."""
    return _kept.get(source, size, _resize_and_crop_mask, _opened_mask)[:2]


def left_out_of_mask(source, size):
    """What of a file `fitted_mask` leaves out, in words: a list."""
    return _kept.get(source, size, _resize_and_crop_mask, _opened_mask)[2]


def shrunk(source, side):
    """`shrink(open_image(source), side)`, kept as by `fitted`."""
    return _kept.get(source, side, shrink)[0]


class _Kept:
    """The scaled pictures that were last asked for, up to a number of bytes, and old sizes."""

    def __init__(self):
        self.pictures, self.bytes = collections.OrderedDict(), 0

    def get(self, source, size, scale, read=None):
        """(the picture scaled, its size before, what is left out of the file in words)."""
        key = (scale, size if isinstance(size, int) else tuple(size), *_version(str(source)))
        if key in self.pictures:
            self.pictures.move_to_end(key)
            return self.pictures[key]
        image, left_out = (read or _opened)(source)
        found = scale(image, size), image.size, left_out
        self.pictures[key] = found
        self.bytes += _bytes_of(found[0])
        while self.bytes > MAX_KEPT:
            self.bytes -= _bytes_of(self.pictures.popitem(last=False)[1][0])
        return found


_kept = _Kept()


def _bytes_of(picture):
    return picture.width * picture.height * 4  # Pillow stores RGB in four bytes a pixel


def _version(source):
    """What tells one content of a file from another; addresses are taken to stay the same."""
    try:
        found = os.stat(source)
    except (OSError, ValueError):
        return (source,)
    return os.path.abspath(source), found.st_mtime_ns, found.st_size, found.st_ino


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


def _resize_and_crop_mask(mask, size):
    return resize_and_crop(mask.convert("RGB"), size).convert("L")


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


def _upright(source, max_bytes, max_pixels, timeout):
    """(PIL image with its pixels decoded, name of the source to show, whether it has more)."""
    source = str(source)
    name = printable(source, 200)
    if re.match("https?://", source, re.IGNORECASE):
        if len(source) > MAX_ADDRESS:
            raise UserError(f"{name}: the address is too long: download it")
        data = web.download(source, max_bytes, timeout)
    elif re.match(r"[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
        raise UserError(f"{name}: give a path, or an http or https address")
    else:
        data = read_file(source, max_bytes)
    file = limits.Stream(data)
    with _explained(name, file, max_pixels):
        image = _header(file, max_pixels)
        limits.check(image, data)
        image.load()
    # A damaged tag does not say how the pixels lie: they are taken as they are.
    read, is_animated = image, False
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(read)
    if image is not read:  # looking for more pictures may lose the pixels of the first
        with warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
            is_animated = getattr(read, "is_animated", False)
    return image, name, is_animated


def _header(file, max_pixels):
    """A PIL image whose pixels are not decoded yet."""
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > max_pixels:
        raise Image.DecompressionBombError
    return image


def _orientation(image, file):
    """The EXIF orientation of an image whose pixels are not decoded yet; None if it has none."""
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
        if image.format == "PNG" and not image.is_animated and "exif" not in image.info:
            # PNGs may have it behind their pixels, which image.getexif() decodes to get there.
            file.seek(image.tile[0].offset - 8)  # the first chunk of pixels
            for chunk in png_texts.chunks(image.png, file):
                if chunk[0] in (b"eXIf", *png_texts.KINDS):
                    image.png.crc(chunk[0], image.png.call(*chunk))
        return Image.Image.getexif(image).get(ORIENTATION)


@contextlib.contextmanager
def _explained(name, file, max_pixels):
    """What Pillow raises while it reads an image, as a UserError."""
    start = file.read(256)
    file.seek(0)
    if not start:
        raise UserError(f"{name}: the file is empty")
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd tags: the pixels are what counts
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(
            f"{name}: more than {max_pixels / 1e6:g} million pixels: make it smaller"
        ) from None
    except limits.TooMuchWork as error:
        raise UserError(f"{name}: {error}: save it anew, as a PNG") from None
    except UnidentifiedImageError:
        if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise UserError(
                f"{name}: {_kind_of_tiff(file)}, which cannot be read here: save it as a PNG"
            ) from None
        page = start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
        hint = " (it looks like a web page or an SVG)" if page else ""
        raise UserError(f"{name}: not a PNG, JPEG, WebP, GIF, BMP or TIFF{hint}") from None
    except Exception as error:  # the decoders raise all kinds of errors for broken files
        why = printable(str(error) or type(error).__name__, 120)
        raise UserError(f"{name}: the image is damaged or cut short ({why})") from None


def _kind_of_tiff(file):
    """What a TIFF holds, in words like "a TIFF of 32-bit floating-point RGB"."""
    try:
        file.seek(0)
        start = file.read(8)
        start += file.read(8) if start[2:4] in (b"+\0", b"\0+") else b""  # a BigTIFF
        tags = TiffImagePlugin.ImageFileDirectory_v2(start)
        file.seek(tags.next)
        with warnings.catch_warnings(action="ignore"):
            tags.load(file)
        bits = "/".join(dict.fromkeys(f"{n}" for n in tags[TiffImagePlugin.BITSPERSAMPLE]))
        number = {2: "signed ", 3: "floating-point "}
        number = number.get(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0], "")
        colours = {0: "grey", 1: "grey", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
        colours = colours[tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION]]
        alpha = " with alpha" if tags.get(TiffImagePlugin.EXTRASAMPLES, (0,))[0] else ""
        return f"a TIFF of {bits}-bit {number}{colours}{alpha}"
    except Exception:  # broken files raise all kinds of errors
        return "a TIFF that is damaged or of a rare kind"


@contextlib.contextmanager
def _explained_colours(name):
    """What goes wrong with the colours of an image, as a UserError."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (ValueError, OSError) as error:
        raise UserError(f"{name}: cannot be shown as RGB ({printable(error, 80)})") from None
