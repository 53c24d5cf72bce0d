"""Animations (GIF, WebP, APNG, MP4) of pictures, and of the steps of a batch, or these in a strip.

    trajectory = Trajectory(count, size, steps, strip=False)
    trajectory.add(t, xs, preds)                    # for each step that it `wants`
    save(trajectory, path, fps)

Frames are small images of 8 bits, and their number is bounded: a run of a thousand steps takes no
more memory than one of two hundred.
"""

import math
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cli.scripts import SOFTWARE
from media import grids, images
from recipes import exif_texts, parameters
from recipes import recipe as recipes
from values.errors import UserError, printable
from values.files import write_whole
from values.picture_types import KINDS, is_strip

MOST_IMAGES = 8
MOST_COLUMNS = 16  # of a strip, the finished images' included
MOST_FRAMES = 200  # of an animation, likewise
MOST_PIXELS = 2**26  # of all frames
CELL = 256  # pixels of a side of an image at the most
GAP = 2  # pixels between images
HOLD = 1.5  # seconds that an animation rests on its last frame


class Frame(NamedTuple):
    """One instant: its timestep, and for each image two PIL images."""

    t: float
    preds: list
    xs: list


class Trajectory:
    """The frames of a batch.

    Args:
        count: how many images.
        size: (width, height) of each.
        steps: of the run; if they are more than the frames can be, some are picked evenly.
        strip: whether the frames stand side by side, which shows fewer of them.
    """

    def __init__(self, count, size, steps, strip):
        most = MOST_COLUMNS if strip else MOST_FRAMES
        self.picked = picked(steps, most - 1)  # the last frame shows the finished images
        pixels = MOST_PIXELS // (2 * count * (len(self.picked) + 1))
        self.cell = images.within(size, min(CELL, math.isqrt(pixels)))
        self.frames = []

    def wants(self, number):
        """Whether a step, counted from 0, becomes a frame."""
        return number in self.picked

    def add(self, t, xs, preds):
        """Add the frame of timestep t: PIL images of each x, made visible, and of each pred."""
        small = [[images.scaled(image, self.cell) for image in row] for row in (preds, xs)]
        self.frames.append(Frame(t, *small))


def picked(steps, most):
    """The numbers of up to `most` of the steps, evenly spaced, with the first and the last."""
    if steps <= most:
        return set(range(steps))
    return {round(i * (steps - 1) / (most - 1)) for i in range(most)}


def check(path):
    """UserError if this kind of file cannot be written here."""
    if Path(path).suffix.lower() == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError:
            raise UserError(
                f"{printable(path, 200)}: MP4 needs PyAV (pip install av): without it use "
                ".gif, .webp or .apng"
            ) from None


def save(trajectory, path, fps, overwrite=False):
    """Write a trajectory, whole or not at all, in the format that the file's suffix names."""
    kind = KINDS[Path(path).suffix.lower()]

    def write(part):
        if is_strip(path):
            strip(trajectory).save(part, format=kind)
        elif kind == "MP4":
            _write_video(part, animation(trajectory), fps)
        else:
            _write_animation(part, list(animation(trajectory)), fps, kind)

    write_whole(path, write, overwrite)


def write(part, path, files, fps, recipe=None):
    """Write an animation of pictures, each shown for the same time.

    Args:
        part: the file to write.
        path: the name that it gets, whose suffix says the format.
        files: the paths of the pictures, all of one size.
        fps: of them, a second.
        recipe: a dict for `recipes.recipe.texts`, which the file is to hold; an MP4 holds none.
    """
    kind = KINDS[Path(path).suffix.lower()]
    pictures = (_opened(file) for file in files)
    if kind == "MP4":
        _write_video(part, pictures, fps, hold=0)
        return
    texts = recipes.texts(recipe) if recipe is not None else {}
    _write_animation(part, list(pictures), fps, kind, hold=0, texts=texts)


def _opened(file):
    with Image.open(file) as picture:
        return picture.convert("RGB")


def strip(trajectory):
    """A PIL image: a column for each frame; for each image a row of preds, and of xs below it."""
    frames = trajectory.frames
    rows = [row for i in range(len(frames[0].xs)) for row in (("pred", i), ("x", i))]
    plan = grids.layout(
        len(rows) * len(frames),
        trajectory.cell,
        len(frames),
        row_titles=[name for name, _ in rows],
        column_titles=[f"{frame.t:.3f}" for frame in frames],
        spacing=GAP,
    )
    shown = ((f.preds if name == "pred" else f.xs)[i] for name, i in rows for f in frames)
    return grids.draw(plan, shown)


def animation(trajectory):
    """PIL images, one for each frame: the preds in a row, and the xs below them."""
    count = len(trajectory.frames[0].xs)
    plan = grids.layout(2 * count, trajectory.cell, count, spacing=GAP)
    for frame in trajectory.frames:
        yield grids.draw(plan, [*frame.preds, *frame.xs])


def _write_animation(part, pictures, fps, kind, hold=HOLD, texts=None):
    each = round(1000 / fps)
    durations = [each] * (len(pictures) - 1) + [max(each, round(1000 * hold))]
    options = {"quality": 90} if kind == "WEBP" else {}
    if texts:
        options |= _texts_for(kind, texts)
    pictures[0].save(
        part,
        format=kind,
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        **options,
    )


def _texts_for(kind, texts):
    """The options of Pillow that put a recipe's texts where `recipes.picture_texts` finds them."""
    if kind == "GIF":
        return {"comment": texts[recipes.KEY].encode()}
    if kind == "WEBP":
        return {"exif": exif_texts.data(texts[recipes.KEY], texts[parameters.KEY], SOFTWARE)[0]}
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text, lang="", tkey=key)
    return {"pnginfo": info}


def _write_video(part, pictures, fps, hold=HOLD):
    import av  # optional

    stream = None
    with av.open(str(part), "w", format="mp4") as video:
        for picture in pictures:
            # yuv420p stores colours for two pixels at once: sides must be even.
            width, height = (side + side % 2 for side in picture.size)
            if stream is None:
                stream = video.add_stream("h264", rate=Fraction(fps).limit_denominator(1000))
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.options = {"crf": "18"}
            even = picture.crop((0, 0, width, height))
            video.mux(stream.encode(av.VideoFrame.from_image(even)))
        for _ in range(max(0, round(fps * hold) - 1)):
            video.mux(stream.encode(av.VideoFrame.from_image(even)))
        video.mux(stream.encode(None))
