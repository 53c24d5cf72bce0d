"""Limits on the work of Pillow's decoders: small files can keep them busy for hours.

Their number of pixels says nothing of it: a PNG can be five million empty chunks, and a JPEG go
over its pixels again with every 34 bytes.
"""

import io
import math
import re

MAX_READS = 500_000
MAX_PASSED = 2.5e9  # pixels that the scans of a JPEG pass over, taken together
EACH_SCAN = 100_000  # pixels that its own setting up is worth
MAX_RUN_LENGTH = 4_000_000  # pixels of a BMP in run lengths, which Pillow decodes one by one
MARKER = re.compile(rb"\xff([^\0\1\xd0-\xd8\xff])")  # of a segment of a JPEG, or its end
SCAN, END = b"\xda", b"\xd9"


class TooMuchWork(Exception):
    """An image would take its decoder minutes; the message says what it is."""


class Stream(io.BytesIO):
    """The bytes of an image, which can be read in so many pieces."""

    reads = 0

    def read(self, size=-1):
        self.reads += 1
        if self.reads > MAX_READS:
            raise TooMuchWork("it is in too many pieces")
        return super().read(size)


def check(image, data):
    """Looks at an image that Pillow has opened and not loaded yet.

    Args:
        image: what Pillow made of the data.
        data: the bytes of the file.
    Raises:
        TooMuchWork: where loading it would take minutes.
    """
    pixels = image.width * image.height
    if data[:2] == b"\xff\xd8" and scans_of(data) * (pixels + EACH_SCAN) > MAX_PASSED:
        raise TooMuchWork("it is a JPEG in too many scans")
    if pixels > MAX_RUN_LENGTH and any(tile[0] == "bmp_rle" for tile in image.tile):
        raise TooMuchWork(
            f"it is a BMP in run lengths of more than {MAX_RUN_LENGTH / 1e6:g} million pixels"
        )


def scans_of(data):
    """How many scans the first picture of a JPEG has; that of too many pieces has no end."""
    scans, place = 0, 2
    for _ in range(MAX_READS):
        marker = MARKER.search(data, place)
        if marker is None or marker[1] == END:
            return scans
        scans += marker[1] == SCAN
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return math.inf
