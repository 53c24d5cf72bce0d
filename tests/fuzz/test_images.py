"""Pictures, after bad disks, bad servers and bad will."""

import warnings
from pathlib import Path

from hypothesis import given

from media.images import open_image, resize_and_crop, shrink
from tests.fuzz import corpus, mutate
from tests.fuzz.lines import one_line
from values.errors import UserError


def opens_or_is_refused(data):
    Path("image").write_bytes(data)
    with warnings.catch_warnings(record=True, action="always") as warned:
        try:
            image = open_image("image")
        except UserError as error:
            one_line(error)
        else:
            assert image.mode == "RGB"
            assert not image.info
            assert resize_and_crop(image, (16, 8)).size == (16, 8)
            assert min(shrink(image, 8).size) >= 1
    assert not warned


@given(mutate.damaged(corpus.pngs, corpus.png_parts, corpus.join_png))
def test_damaged_png_opens_or_is_refused_in_one_line(data):
    opens_or_is_refused(data)


@given(mutate.damaged(corpus.jpegs, corpus.jpeg_parts, corpus.join_jpeg))
def test_damaged_jpeg_opens_or_is_refused_in_one_line(data):
    opens_or_is_refused(data)


@given(mutate.damaged(corpus.webps, corpus.riff_parts, corpus.join_riff))
def test_damaged_webp_opens_or_is_refused_in_one_line(data):
    opens_or_is_refused(data)


@given(mutate.damaged(corpus.other_images))
def test_damaged_gif_bmp_or_tiff_opens_or_is_refused_in_one_line(data):
    opens_or_is_refused(data)
