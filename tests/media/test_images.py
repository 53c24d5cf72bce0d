import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from media import images
from media.images import fitted, open_image, open_mask, resize_and_crop, shrunk, size_of
from tests.media import profiles
from values.errors import UserError


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def refusal(*arguments, read=open_image, **options):
    with pytest.raises(UserError) as refused:
        read(*arguments, **options)
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


def noise(width, height, channels=3):
    levels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(levels.squeeze())


# Opening


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp", "misnamed.jpg"])
def test_every_format_gives_its_pixels(tmp_path, name):
    image = noise(5, 3)
    kind = "PNG" if name == "misnamed.jpg" else None
    options = {"lossless": True} if name == "a.webp" else {}
    opened = open_image(saved(tmp_path, image, name, format=kind, **options))
    assert opened.mode == "RGB"
    assert np.array_equal(np.array(opened), np.array(image))


def test_jpeg_and_cmyk_are_close_to_their_colour(tmp_path):
    teal = Image.new("RGB", (16, 16), (20, 120, 140))
    for image in (teal, teal.convert("CMYK")):
        opened = open_image(saved(tmp_path, image, "a.jpg", quality=95))
        assert np.abs(np.array(opened).astype(int) - (20, 120, 140)).max() <= 4


def test_lab_is_converted(tmp_path):
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(Image.new("RGB", (4, 4), (200, 50, 50)), to_lab)
    opened = open_image(saved(tmp_path, lab, "a.tiff"))
    assert np.abs(np.array(opened).astype(int) - (200, 50, 50)).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palette_become_rgb(tmp_path, mode):
    image = Image.new("L", (4, 2))
    image.putpixel((1, 0), 255)
    opened = open_image(saved(tmp_path, image.convert(mode)))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_transparent_pixels_are_white(tmp_path, mode):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (128, 128, 128, 255))
    options = {}
    if mode == "P":
        image = Image.frombytes("P", (2, 1), b"\x00\x01")
        image.putpalette([0, 0, 0, 128, 128, 128])
        options = {"transparency": 0}
    elif mode == "L":
        image, options = Image.frombytes("L", (2, 1), b"\x00\x80"), {"transparency": 0}
    opened = open_image(saved(tmp_path, image if mode in "PL" else image.convert(mode), **options))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (128, 128, 128)]


def test_half_transparent_black_is_grey(tmp_path):
    opened = open_image(saved(tmp_path, Image.new("RGBA", (1, 1), (0, 0, 0, 128))))
    assert opened.getpixel((0, 0)) == (127, 127, 127)


def test_16_bits_of_grey_are_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    opened = open_image(saved(tmp_path, Image.fromarray(values)))
    assert [opened.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[0, 32896, 65535]], np.int32), [0, 128, 255]),
        (np.array([[-100, 0, 100]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 128, 255]], np.float32), [0, 128, 255]),
        (np.array([[-3, 0, 3]], np.float32), [0, 128, 255]),
        (np.array([[7e8, 7e8, 7e8]], np.float32), [0, 0, 0]),
    ],
)
def test_32_bits_of_grey_are_scaled_by_their_range(tmp_path, values, levels):
    opened = open_image(saved(tmp_path, Image.fromarray(values), "a.tiff"))
    assert [opened.getpixel((x, 0))[0] for x in range(3)] == levels


def test_pixels_that_are_not_finite_are_refused(tmp_path):
    image = Image.fromarray(np.array([[0, np.nan]], np.float32))
    assert "not finite" in refusal(saved(tmp_path, image, "a.tiff"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_photos_stand_upright(tmp_path, orientation, name):
    image = noise(3, 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(saved(tmp_path, image, name, exif=exif))
    image.getexif()[0x0112] = orientation
    assert np.array_equal(np.array(opened), np.array(ImageOps.exif_transpose(image)))
    assert opened.info == {}


def test_first_frame_of_an_animation_counts(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = tmp_path / name
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        assert open_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_files_that_are_no_images_are_refused(tmp_path):
    path = tmp_path / "a.png"
    for content, words in [
        (b"", "empty"),
        (b"\n<!DOCTYPE html>", "web page"),
        (b"%PDF-1.7", "not a PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a PNG"),  # Pillow would run gs
        (b"\x89PNG\r\n\x1a\n", "not a PNG"),
    ]:
        path.write_bytes(content)
        assert words in refusal(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_cut_and_damaged_files_are_refused_or_read_but_never_crash(tmp_path, kind):
    whole = io.BytesIO()
    noise(40, 40).save(whole, kind)
    whole, path = whole.getvalue(), tmp_path / "a"
    path.write_bytes(whole[: len(whole) // 2])
    refusal(path)
    source = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(whole)
        for place in source.integers(0, len(whole), 3):
            damaged[place] = source.integers(0, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(UserError):  # and nothing but a UserError
            assert open_image(path).mode == "RGB"


def tiff(bits, photometric, sample_format, extra=()):
    """A TIFF of 1 x 1 pixel, uncompressed."""
    tags = {256: (4, [1]), 257: (4, [1]), 258: (3, bits), 259: (3, [1]), 262: (3, [photometric])}
    tags |= {273: (4, [0]), 277: (3, [len(bits)]), 278: (4, [1]), 279: (4, [sum(bits) // 8])}
    tags |= {338: (3, extra)} if extra else {}
    tags |= {339: (3, [sample_format] * len(bits))}
    body, entries, place = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in tags.items():
        content = struct.pack(f"<{len(values)}{' HI'[kind - 2]}", *values)
        if len(content) > 4:
            body, content = body + content, struct.pack("<I", place + len(body))
        entries += struct.pack("<HHI4s", tag, kind, len(values), content)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + bytes(4) + body + bytes(64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff([32] * 3, 2, 3), "a TIFF of 32-bit floating-point RGB, which cannot be read"),
        (tiff([8] * 5, 5, 1, [2]), "a TIFF of 8-bit CMYK with alpha"),
        (tiff([16] * 2, 1, 1, [2]), "a TIFF of 16-bit grey with alpha"),
        (tiff([64], 1, 3), "a TIFF of 64-bit floating-point grey"),
        (tiff([8], 77, 1), "a TIFF that is damaged or of a rare kind"),
        (b"II*\0\x08\0\0\0", "a TIFF that is damaged"),
    ],
)
@pytest.mark.parametrize("read", [open_image, size_of])
def test_tiff_that_cannot_be_read_is_told_as_what_it_is(tmp_path, content, words, read):
    path = tmp_path / "a.tiff"
    path.write_bytes(content)
    assert words in refusal(path, read=read)
    path.write_bytes(tiff([8] * 3, 2, 1))  # so the maker of these is right
    assert read(path)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.mark.parametrize("side", [9_000, 9_700, 12_000, 60_000, 2**31 - 1])
def test_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch, side):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    path = tmp_path / "a.png"
    path.write_bytes(png_of_size(side, side))
    assert "80 million pixels" in refusal(path)


def test_limits_can_be_set(tmp_path):
    path = saved(tmp_path, noise(20, 20))
    assert "pixels" in refusal(path, max_pixels=399)
    assert open_image(path, max_pixels=400).size == (20, 20)
    size = path.stat().st_size
    assert "larger than" in refusal(path, max_bytes=size - 1)
    assert open_image(path, max_bytes=size).size == (20, 20)


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in refusal(tmp_path / "pipe")
    assert "regular file" in refusal("/dev/zero")
    assert "folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "missing.png")
    assert "no such file" in refusal("bad\udcff\x1b[2J.png")
    refusal("a\0b.png")
    refusal("x" * 5000)
    assert "http" in refusal("ftp://host/a.png")
    assert "http" in refusal("file:///etc/passwd")


def test_address_is_downloaded(monkeypatch):
    data = io.BytesIO()
    noise(3, 2).save(data, "PNG")
    monkeypatch.setattr("media.web.download", lambda *arguments: data.getvalue())
    assert open_image("HTTPS://host/a.png").size == (3, 2)


# Colour profiles

SWAPPED = profiles.rgb(profiles.ADOBE_RGB[::-1])  # red and blue


def colour_of(tmp_path, mode, colour, profile, name="a.png"):
    image = Image.new(mode, (8, 8), colour)
    return open_image(saved(tmp_path, image, name, icc_profile=profile)).getpixel((0, 0))


def test_adobe_rgb_is_converted(tmp_path):
    assert colour_of(tmp_path, "RGB", (102, 159, 70), profiles.rgb()) == (60, 160, 60)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tiff"])
def test_profile_counts_in_every_format_that_has_them(tmp_path, name):
    red, _, blue = colour_of(tmp_path, "RGB", (200, 30, 30), SWAPPED, name)
    assert red < 40
    assert blue > 190


def test_transparency_stays_where_it_is(tmp_path):
    assert colour_of(tmp_path, "RGBA", (200, 30, 30, 0), SWAPPED) == (255, 255, 255)
    red, _, blue = colour_of(tmp_path, "RGBA", (200, 30, 30, 128), SWAPPED)
    assert (red, blue) == (139, 230)


def test_grey_is_converted_by_a_profile_of_grey_or_of_rgb(tmp_path):
    linear = round(255 * (1.055 * (128 / 255) ** (1 / 2.4) - 0.055))  # the curve of sRGB
    assert colour_of(tmp_path, "L", 128, profiles.grey(1.0)) == (linear,) * 3
    assert colour_of(tmp_path, "LA", (128, 255), profiles.grey(1.0)) == (linear,) * 3
    assert colour_of(tmp_path, "I;16", 128 * 257, profiles.grey(1.0)) == (linear,) * 3
    assert colour_of(tmp_path, "L", 128, profiles.rgb(gamma=1.0)) == (linear,) * 3


@pytest.mark.parametrize("name", ["a.tiff", "a.jpg"])
def test_inks_are_converted(tmp_path, name):
    assert min(colour_of(tmp_path, "CMYK", (0, 0, 0, 0), profiles.inks(), name)) > 250
    assert max(colour_of(tmp_path, "CMYK", (0, 0, 0, 255), profiles.inks(), name)) < 5
    red, green, blue = colour_of(tmp_path, "CMYK", (255, 0, 0, 0), profiles.inks(), name)
    assert red > 240
    assert max(green, blue) < 20


def test_profile_of_srgb_changes_no_level(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = saved(tmp_path, noise(64, 64), icc_profile=srgb)
    assert np.array_equal(np.array(open_image(path)), np.array(noise(64, 64)))


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        (b"no profile", "damaged"),
        (profiles.rgb()[:200], "damaged"),
        (profiles.inks(), "for CMYK images"),
        (profiles.grey(1.0), "for GRAY images"),
    ],
)
def test_profile_that_cannot_be_used_is_ignored_with_a_note(tmp_path, capsys, profile, why):
    path = saved(tmp_path, noise(5, 3), icc_profile=profile)
    for _ in range(2):  # and one note is enough
        assert np.array_equal(np.array(open_image(path)), np.array(noise(5, 3)))
    err = capsys.readouterr().err
    assert err.startswith(f"note: {path}: its colour profile is ignored: ")
    assert why in err
    assert err.count("\n") == 1


# Masks


def test_mask_without_transparency_is_its_brightness(tmp_path):
    image = noise(6, 4)
    assert list(open_mask(saved(tmp_path, image)).tobytes()) == list(image.convert("L").tobytes())
    grey = Image.linear_gradient("L")
    opened = open_mask(saved(tmp_path, grey, icc_profile=profiles.grey(1.0)))
    assert opened.mode == "L"
    assert opened.tobytes() == grey.tobytes()


@pytest.mark.parametrize("below", [(255, 255, 255), (0, 0, 0), (255, 0, 0)])
def test_mask_is_where_white_is_painted_on_a_transparent_ground(tmp_path, below):
    image = Image.new("RGBA", (3, 1), (*below, 0))
    image.putpixel((1, 0), (255, 255, 255, 255))
    image.putpixel((2, 0), (255, 255, 255, 128))
    assert list(open_mask(saved(tmp_path, image)).tobytes()) == [0, 255, 128]
    opaque = Image.new("RGBA", (1, 1), (0, 0, 0, 255))
    assert open_mask(saved(tmp_path, opaque)).getpixel((0, 0)) == 0


@pytest.mark.parametrize("mode", ["LA", "P", "L", "I;16"])
def test_mask_may_be_transparent_in_any_way(tmp_path, mode):
    if mode == "LA":
        image, options = Image.new("LA", (2, 1), (255, 0)), {}
        image.putpixel((1, 0), (255, 255))
    elif mode == "I;16":
        image, options = Image.fromarray(np.array([[0x8000, 65535]], np.uint16)), {}
        options["transparency"] = 0x8000
    else:
        image, options = Image.frombytes(mode, (2, 1), b"\x80\xff"), {"transparency": 0x80}
        if mode == "P":
            image.putpalette([255] * 768)
    assert list(open_mask(saved(tmp_path, image, **options)).tobytes()) == [0, 255]


# Kept in memory


def test_scaled_pictures_are_kept_and_read_again_when_the_file_changes(tmp_path, monkeypatch):
    opened = []
    read = images._opened
    monkeypatch.setattr(images, "_opened", lambda path: opened.append(path) or read(path))
    path = saved(tmp_path, noise(40, 20))
    for _ in range(2):
        expected = resize_and_crop(noise(40, 20), (8, 8))
        assert fitted(path, (8, 8)).tobytes() == expected.tobytes()
        assert fitted(str(path), [8, 8]).tobytes() == expected.tobytes()
        assert shrunk(path, 10).size == (20, 10)
        assert shrunk(path, 99).size == (40, 20)
    assert len(opened) == 3
    saved(tmp_path, Image.new("RGB", (40, 20), "red"))
    assert fitted(path, (8, 8)).getpixel((0, 0)) == (255, 0, 0)
    assert len(opened) == 4


def test_pictures_that_are_kept_are_bounded_in_bytes(tmp_path, monkeypatch):
    kept = images._Kept()
    monkeypatch.setattr(images, "MAX_KEPT", 3 * 8 * 8 * 4)
    for i in range(9):
        kept.get(saved(tmp_path, noise(30, 30), f"{i}.png"), (8, 8), resize_and_crop)
        kept.get(tmp_path / "0.png", (8, 8), resize_and_crop)  # asked for again and again
        assert kept.bytes == sum(8 * 8 * 4 for _ in kept.pictures) <= images.MAX_KEPT
    assert len(kept.pictures) == 3
    assert any(str(tmp_path / "0.png") in key for key in kept.pictures)
    monkeypatch.setattr(images, "MAX_KEPT", 100)
    assert kept.get(tmp_path / "1.png", (8, 8), resize_and_crop)[0].size == (8, 8)
    assert (len(kept.pictures), kept.bytes) == (0, 0)


# The size alone


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tiff", "a.gif", "a.bmp"])
def test_size_is_known_from_the_head_of_a_file(tmp_path, monkeypatch, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation or 1
    path = saved(tmp_path, noise(7, 4), name, **({"exif": exif} if orientation else {}))
    opened = open_image(path)
    turned = (orientation or 1) > 4 and name not in ("a.gif", "a.bmp")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    assert size_of(path) == opened.size == ((4, 7) if turned else (7, 4))


@pytest.mark.parametrize("kind", ["eXIf", "XMP", "ImageMagick"])
def test_orientation_behind_the_pixels_of_a_png_counts(tmp_path, monkeypatch, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes()
    text = f"Raw profile type exif\0\nexif\n{len(data):8}\n{data.hex()}\n"
    behind = {
        "eXIf": chunk(b"eXIf", data.removeprefix(b"Exif\0\0")),
        "XMP": chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
        "ImageMagick": chunk(b"tEXt", text.encode()),
    }
    path = saved(tmp_path, noise(7, 4))
    png = path.read_bytes()
    path.write_bytes(png[:-12] + behind[kind] + png[-12:])
    assert open_image(path).size == (4, 7)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    assert size_of(path) == (4, 7)


def test_size_needs_no_pixels_but_obeys_the_limits(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_of_size(8_000, 10_000))  # without most of its pixels
    assert size_of(path) == (8_000, 10_000)
    assert "damaged" in refusal(path)
    assert "80 million pixels" not in refusal(path)
    path.write_bytes(png_of_size(8_001, 10_000))
    assert "80 million pixels" in refusal(path, read=size_of)
    path = saved(tmp_path, noise(20, 20))
    assert "larger than" in refusal(path, read=size_of, max_bytes=path.stat().st_size - 1)
    assert size_of(path, max_bytes=path.stat().st_size, max_pixels=400) == (20, 20)
    assert "pixels" in refusal(path, read=size_of, max_pixels=399)


def test_what_has_no_size_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in refusal(tmp_path / "pipe", read=size_of)
    assert "folder" in refusal(tmp_path, read=size_of)
    assert "no such file" in refusal(tmp_path / "missing.png", read=size_of)
    path = tmp_path / "a.png"
    for content, words in [(b"", "empty"), (b"<svg>", "web page"), (b"\x89PNG\r\n", "not a PNG")]:
        path.write_bytes(content)
        assert words in refusal(path, read=size_of)
    path.write_bytes(png_of_size(3, 2)[:30])
    refusal(path, read=size_of)


def test_address_that_no_recipe_could_hold_is_refused(monkeypatch):
    monkeypatch.setattr("media.web.download", lambda *arguments: pytest.fail("asked for"))
    assert "too long" in refusal("http://host/" + "a" * 20_000)


# Scaling


def test_frame_is_covered_at_every_size():
    white = Image.new("RGB", (1, 1), "white")
    for side in range(1, 300):
        for size in ((255, 255), (64, 48)):
            for shape in ((side, side), (side, 206)):
                framed = resize_and_crop(white.resize(shape), size)
                assert framed.size == size
                assert framed.getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (100_003, 1), (3, 1), (2, 20_000)])
@pytest.mark.parametrize("size", [(256, 256), (1, 1), (1000, 1), (1, 1000), (5, 3)])
def test_extreme_shapes_stay_small_in_memory(shape, size):
    framed = resize_and_crop(Image.new("RGB", shape, (9, 99, 199)), size)
    assert framed.size == size
    assert framed.getextrema() == ((9, 9), (99, 99), (199, 199))


def test_centre_is_kept():
    image = noise(301, 97)
    for size in ((64, 64), (64, 16), (16, 64), (128, 128)):
        framed = np.array(resize_and_crop(image, size)).astype(int)
        for turn in (ImageOps.mirror, ImageOps.flip):
            turned = np.array(turn(resize_and_crop(turn(image), size))).astype(int)
            assert np.abs(framed - turned).max() <= 1


def test_pixels_at_their_own_scale_are_untouched():
    image = noise(41, 32)
    framed = resize_and_crop(image, (32, 32))
    assert np.array_equal(np.array(framed), np.array(image.crop((4, 0, 36, 32))))
    assert np.array_equal(np.array(resize_and_crop(image, (41, 32))), np.array(image))


@pytest.mark.parametrize("shape", [(512, 256), (1000, 800), (48, 96), (30, 20)])
def test_result_is_the_middle_of_the_scaled_image(shape):
    image, (width, height), side = noise(*shape), shape, 64
    scale = side / min(shape)
    whole = image.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    expected = np.array(whole.crop((left, top, left + side, top + side))).astype(int)
    assert np.abs(np.array(resize_and_crop(image, (side, side))).astype(int) - expected).max() <= 1


def test_empty_frame_is_refused():
    with pytest.raises(ValueError, match="0 x 5"):
        resize_and_crop(noise(4, 4), (0, 5))
