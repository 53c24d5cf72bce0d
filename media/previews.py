"""A picture of what a batch is becoming, renewed every few steps (`--preview-every`).

It is called `preview.png` and lies beside the images. A file of that name that does not say it is a
preview is somebody's picture and is never replaced.
"""

import contextlib
import math
import os
from pathlib import Path

from cli import png_texts
from cli.errors import UserError, printable
from media import grids, images

NAME = "preview.png"
SIDE = 1024  # pixels of the whole, about
CELL = 256  # of an image at the most
KEY, MARK = "Comment", "v-diffusion preview"


class Preview:
    """The preview of a run.

    Args:
        folder: where it goes; made where it is missing.
        every: how many steps apart it is renewed.
    """

    def __init__(self, folder, every):
        self.path, self.every = Path(folder) / NAME, every

    def refuse(self):
        """UserError for another file in its place."""
        if os.path.lexists(self.path) and not is_preview(self.path):
            raise UserError(
                f"{printable(self.path, 200)} exists and is no preview: --preview-every writes "
                "a file of that name, so give it another one"
            )

    def wants(self, number):
        """Whether it shows a step of a batch, counted from 0."""
        return number % self.every == 0

    def show(self, batch):
        """Show a batch of images, a tensor [N, 3, H, W] from -1 to 1."""
        columns = math.ceil(math.sqrt(len(batch)))
        cell = images.within(batch.shape[:1:-1], max(1, min(CELL, SIDE // columns)))
        plan = grids.layout(len(batch), cell, columns)
        picture = grids.draw(plan, (images.small(image, cell) for image in batch))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(self.path) and not is_preview(self.path):
            return  # come to be since the run began
        # A viewer on Windows may keep it open: the next one will do.
        with contextlib.suppress(PermissionError):
            images.save_png(picture, self.path, {KEY: MARK}, overwrite=True)


def is_preview(path):
    """Whether a file is a preview of ours."""
    if Path(path).name != NAME:
        return False
    try:
        return png_texts.read(path, [KEY]).texts.get(KEY) == MARK
    except UserError:
        return False
