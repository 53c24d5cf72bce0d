"""The gallery of what a run has drawn (`--gallery`), written when all images are there."""

import itertools
import string
from pathlib import Path

from media import gallery


class RunGallery:
    """The page of the folder that a run draws into, checked before any work.

    Args:
        output: the page's Path; None: `index.html` in the folder.
        template: of the images' names. Where their folders differ, the page is of the folder that
            holds these.
        overwrite: whether another file may be replaced.
    Raises:
        UserError: for a page that cannot be written there.
    """

    def __init__(self, output, template, overwrite):
        folders = Path(template.text).parent.parts
        own = list(itertools.takewhile(_is_fixed, folders))
        self.recursive = len(own) < len(folders)
        self.folder = Path(*(part.format() for part in own))
        self.output, self.overwrite = output, overwrite
        gallery.check(self.folder, output, overwrite, later=True)

    def save(self):
        """Writes the page; its Path, or None where there are no images."""
        if not gallery.find(self.folder, self.recursive):
            return None
        return gallery.write(self.folder, self.output, self.recursive, self.overwrite)[0]


def _is_fixed(part):
    return all(field is None for _, field, _, _ in string.Formatter().parse(part))
