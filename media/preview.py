"""A picture of the batch that is being drawn, renewed every few steps (`--preview-every`).

Its name is `preview.png`, and it lies beside the images. A file of that name without our mark is
not ours and is never replaced.
"""

import contextlib
import math
import os
from pathlib import Path

from media import grids, images, saving
from recipes import png_texts
from values.errors import UserError, printable
from values.picture_types import PREVIEW

SIDE = 1024  # pixels of the whole, about
CELL = 256  # of an image at the most
KEY, MARK = "Comment", "v-diffusion preview"


class Preview:
    """The preview of a run.

    Args:
        folder: where it goes; made if it is missing.
        every: how many steps apart it is renewed.
    """

    def __init__(self, folder, every):
        self.path, self.every = Path(folder) / PREVIEW, every

    def refuse(self):
        """UserError if another file has its name."""
        if os.path.lexists(self.path) and not is_preview(self.path):
            raise UserError(
                f"{printable(self.path, 200)} exists and is no preview: --preview-every writes "
                "a file of that name, so give it another one"
            )

    def wants(self, number):
        """Whether it shows a step of a batch, counted from 0."""
        return number % self.every == 0

    def show(self, batch):
        """Write the preview of a batch, a list of PIL images of one size; the picture."""
        columns = math.ceil(math.sqrt(len(batch)))
        cell = images.within(batch[0].size, max(1, min(CELL, SIDE // columns)))
        plan = grids.layout(len(batch), cell, columns, fit="stretch")
        picture = grids.draw(plan, batch)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(self.path) and not is_preview(self.path):
            return picture  # another program has written it since the run began
        # On Windows a viewer may keep the file open: the next preview replaces it.
        with contextlib.suppress(PermissionError):
            saving.save_png(picture, self.path, {KEY: MARK}, overwrite=True)
        return picture


def is_preview(path):
    """Whether a file is a preview of ours."""
    if Path(path).name != PREVIEW:
        return False
    try:
        return png_texts.read(path, [KEY]).texts.get(KEY) == MARK
    except UserError:
        return False
