"""Images from files and addresses, to tensors and back, and into PNGs that are whole or absent."""

import contextlib
import math
import re
import warnings

from cli import recipe as recipes
from cli.errors import UserError, printable
from cli.files import open_limited, read_file, write_whole
from cli.outputs import place
from media import image_limits

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
        from media.web import download

        if len(source) > MAX_ADDRESS:
            raise UserError(f"{printable(source, 200)}: the address is too long: download it")
        data = download(source, max_bytes, timeout)
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
    from PIL import Image

    return part.resize(size, Image.Resampling.LANCZOS, box=box)


def shrink(image, side):
    """A PIL image scaled down evenly until its shorter side has `side` pixels; never enlarged."""
    from PIL import Image

    factor = side / min(image.size)
    if factor >= 1:
        return image
    size = tuple(max(1, round(length * factor)) for length in image.size)
    return image.resize(size, Image.Resampling.LANCZOS)


def within(size, side):
    """A (width, height) scaled down evenly until neither side is longer than `side` pixels."""
    factor = min(1, side / max(size))
    return tuple(max(1, round(length * factor)) for length in size)


def small(tensor, size):
    """As `to_image`, scaled to a (width, height)."""
    from PIL import Image

    image = to_image(tensor)
    return image if image.size == tuple(size) else image.resize(size, Image.Resampling.LANCZOS)


def to_tensor(image):
    """A PIL image as a float32 tensor [3, height, width] from -1 to 1."""
    import numpy as np
    import torch

    levels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return levels.contiguous().float() / 127.5 - 1


def to_image(tensor):
    """A tensor [3, height, width] from -1 to 1 as a PIL image, each value to its nearest level.

    Values beyond -1 and 1 are clamped. `to_image(to_tensor(image))` is `image`.

    Raises:
        UserError: for a tensor with values that are not finite.
    """
    import torch
    from PIL import Image

    tensor = tensor.detach().float().cpu()
    if not torch.isfinite(tensor).all():
        raise UserError(
            "the sample holds values that are not finite and is no image: try float32, "
            "smaller weights or more steps"
        )
    levels = ((tensor.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def save_png(image, path, texts=None, overwrite=False):
    """Write a PNG that appears at its place complete, or not at all.

    Args:
        image: a PIL image.
        path: the file; its folder exists.
        texts: a dict from keys to the texts to write.
        overwrite: whether to replace an existing file. Where not, it is left untouched even if
            it appears while this one is being written.
    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: it cannot be written.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in (texts or {}).items():
        if text.isascii():
            info.add_text(key, text)
        else:
            info.add_itxt(key, text, lang="", tkey=key)
    write_whole(path, lambda part: image.save(part, format="PNG", pnginfo=info), overwrite)


def publish(image, target, recipe=None):
    """Save a finished image with its recipe where a target says; missing folders are made.

    Args:
        image: a PIL image.
        target: as `cli.outputs.Outputs` makes them.
        recipe: a dict for `cli.recipe.texts`; its index becomes the number in the file's name.
    Returns, raises:
        as `cli.outputs.place`.
    """

    def save(path, number, overwrite):
        texts = recipes.texts({**recipe, "index": number}) if recipe is not None else None
        save_png(image, path, texts, overwrite)

    return place(save, target)


def _decode(data, name, max_pixels):
    from PIL import ImageOps

    with _explained(name, data[:256], max_pixels):
        image = _header(image_limits.Stream(data), max_pixels)
        image_limits.check(image, data)
        image.load()
    with warnings.catch_warnings(action="ignore"):
        with contextlib.suppress(Exception):  # a damaged tag: take the pixels as they lie
            image = ImageOps.exif_transpose(image)
        try:
            image = _to_rgb(image)
        except (ValueError, OSError) as error:
            raise UserError(f"{name}: cannot be shown as RGB ({printable(error, 80)})") from None
    image.info = {}  # where the photo was taken is nobody's business in what is made of it
    return image


def _header(file, max_pixels):
    """A PIL image whose pixels are not decoded yet."""
    from PIL import Image

    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > max_pixels:
        raise Image.DecompressionBombError
    return image


@contextlib.contextmanager
def _explained(name, start, max_pixels):
    """What Pillow raises while it reads a file, whose first bytes are given, as a UserError."""
    from PIL import Image, UnidentifiedImageError

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
    except image_limits.TooMuchWork as error:
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
    from PIL import Image

    with warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
        # Not image.getexif(): that of a PNG decodes the pixels, to look behind them.
        return Image.Image.getexif(image).get(0x0112)


def _to_rgb(image):
    from PIL import Image

    if image.mode[0] in "IF":  # I;16, I;16B, I, F: 16 or 32 bits of grey
        return _grey_levels(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _grey_levels(image):
    """Grey of 16 or 32 bits to 8: by the range its values are in, stretched if in no usual one."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("it has values that are not finite")
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    else:
        usual = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
        ranges = [top for top in usual if low >= 0 and high <= top]
        low, high = (0.0, ranges[0]) if ranges else (low, high)
    scaled = (values.astype(np.float64) - low) * 255 / max(high - low, 1e-30)
    levels = scaled.round().astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        levels[values == transparent] = 255
    return Image.fromarray(levels)
