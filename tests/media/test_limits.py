import io
import struct
import zlib

import pytest
from PIL import Image

from media import limits
from media.images import open_image
from recipes import recipe as recipes
from values.errors import UserError


def refusal(read, path):
    with pytest.raises(UserError) as refused:
        read(path)
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


def saved(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


@pytest.mark.slow
def test_png_in_too_many_pieces_is_refused(tmp_path):
    data = saved(Image.new("RGB", (4, 4)), "PNG")
    empty = struct.pack(">I4sI", 0, b"abCd", zlib.crc32(b"abCd"))
    path = tmp_path / "a.png"
    for place in (33, -12):  # in front of the pixels and behind them
        path.write_bytes(data[:place] + empty * 1000 + data[place:])
        assert open_image(path).size == (4, 4)
        path.write_bytes(data[:place] + empty * limits.MAX_READS + data[place:])
        assert "too many pieces" in refusal(open_image, path)
        assert "damaged" in refusal(recipes.read, path)


@pytest.mark.parametrize("piece", [b"\xff\xfe\0\2", b"\xff"])
def test_jpeg_in_too_many_pieces_is_refused(tmp_path, piece):
    data = saved(Image.new("RGB", (4, 4)), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data[:2] + piece * limits.MAX_READS + data[2:])
    assert "too many pieces" in refusal(open_image, tmp_path / "a.jpg")


def test_jpeg_in_too_many_scans_is_refused(tmp_path):
    data = saved(Image.new("RGB", (1000, 1000)), "JPEG", progressive=True)
    last, path = data.rindex(b"\xff\xda"), tmp_path / "a.jpg"
    for times in (90, 9_000):  # libjpeg takes a minute for these 140 kB
        path.write_bytes(data[:last] + data[last:-2] * times + data[-2:])
        if times == 90:
            assert open_image(path).size == (1000, 1000)
    assert "too many scans" in refusal(open_image, path)


def test_scans_of_a_jpeg_are_counted_up_to_its_end():
    image = Image.new("RGB", (40, 40), "teal")
    baseline, progressive = saved(image, "JPEG"), saved(image, "JPEG", progressive=True)
    assert limits.scans_of(baseline) == 1
    assert limits.scans_of(progressive) == 10
    assert limits.scans_of(baseline + b"\xff\xda" * 9) == 1  # a film behind the photo
    thumbnail = saved(image, "JPEG", comment=progressive)
    assert limits.scans_of(thumbnail) == 1
    assert limits.scans_of(progressive[:-500] + b"\xff") <= 10


def bmp_in_run_lengths(width, height, runs):
    start = 14 + 40 + 1024
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    head = struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start)
    return head + sizes + bytes(range(256)) * 4 + runs


def test_bmp_in_run_lengths_is_read_if_it_is_small(tmp_path):
    path = tmp_path / "a.bmp"
    path.write_bytes(bmp_in_run_lengths(300, 2, b"\xff\1\x2d\2\0\0\xff\1\x2d\2\0\1"))
    assert open_image(path).size == (300, 2)
    path.write_bytes(bmp_in_run_lengths(8000, 8000, b"\1\1\0\0" * 8000))  # half a minute
    assert "run lengths" in refusal(open_image, path)
