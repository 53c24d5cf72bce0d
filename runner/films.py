"""Animations of a run's images: each is written when all of its frames are there as files.

A frame is a file first, in a folder beside the animation, and is skipped, shared out between
processes and drawn again as any other image.
"""

import functools
import string
from pathlib import Path

from jobs import outputs
from jobs.jobs import items
from media import animation
from recipes import recipe as recipes
from values.errors import UserError, printable
from values.files import write_whole
from values.names import Template
from values.picture_types import ANIMATIONS, FPS

FRAMES = "_frames/{frame:03}_of_{frames:03}.png"  # behind the animation's name without its ending
_FIELDS = ("film", "line", "seed", "prompt", "model", "steps", "method", "schedule", "frames")


def are_wanted(jobs):
    """Whether the images of these Jobs are to become animations, by the name that they are given.

    Raises:
        UserError: for a name that cannot be an animation's.
    """
    template = jobs.run.output
    ending = template.ending.lower() if template else ""
    may_be_one = ending == ".webp" and "frame" not in template.named
    if ending not in ANIMATIONS and not may_be_one:
        return False
    if may_be_one and not (
        {"morph", "frames"} & set(jobs.said) or any(job.image.frame for job in jobs.all)
    ):
        return False
    if "frame" in template.named:
        name = printable(template.text, 100)
        raise UserError(f'the output name "{name}": an animation has all frames: no {{frame}}')
    animation.check(template.text)
    return True


def check_name(options, animated, image):
    """UserError for an image that the name of the run's files does not fit.

    Args:
        options: the RunOptions.
        animated: what `are_wanted` returned.
        image: the ImageOptions.
    """
    if image.frame and not options.output:
        raise UserError(
            "an animation needs a name: -o morph.gif (or .webp, .apng, .mp4), or that of its "
            'frames, -o "frames/{frame:03}.png"'
        )
    if image.frame and not animated and not {"frame", "index"} & set(options.output.named):
        name = printable(options.output.text, 100)
        raise UserError(
            f'the output name "{name}": an animation ends in .gif, .webp, .apng or .mp4, and the '
            'names of its frames hold {frame}: -o "frames/{frame:03}.png"'
        )
    if animated and not image.frame:
        name = printable(options.output.text, 100)
        raise UserError(
            f'the output name "{name}" must end in a name with .png, .jpg or .webp: only --morph '
            "and --variation 7:0-1 make animations"
        )


class Films:
    """The animations of a run.

    Args:
        jobs: the `jobs.jobs.Jobs`.
        policy: as for `jobs.outputs.Outputs`.
    Attributes:
        frames: the Outputs of the frames.
    """

    def __init__(self, jobs, policy):
        self.jobs, options = jobs, jobs.run
        self.fps, self.folder = options.fps or FPS, options.wildcards
        text = _numbered_by_film(options.output.text)
        ending = Path(text).suffix
        fields = (*_FIELDS, "frame")
        frames = Template(text[: -len(ending)] + FRAMES, ".png", fields)
        self.frames = outputs.Outputs(frames, policy)
        self.files = outputs.Outputs(Template(text, ending, _FIELDS), policy)
        self._drawn, self._written = {}, set()  # frames, by animation; animations

    def check(self):
        """What is Found at the animations' names; UserError as `jobs.outputs.Outputs.check`."""
        return self.files.check(i.fields for i in items(self.jobs) if not i.image.frame.number)

    def is_there(self, item):
        """Whether the animation of a frame is finished, so that the frame need not be."""
        return self.files.policy is outputs.Policy.SKIP and self.files.exists(item.fields)

    def save(self, drawn):
        """Writes what the Items that were drawn complete; the Paths, one after the other."""
        for item in drawn:
            self._drawn.setdefault(item.film, set()).add(item.image.frame.number)
        for item in {item.film: item for item in drawn}.values():
            # Of files that are replaced those that are there may be old.
            replaces = self.files.policy is outputs.Policy.OVERWRITE
            if not replaces or len(self._drawn[item.film]) == item.image.frame.count:
                yield from self._write(item)

    def save_rest(self):
        """As `save`, of all animations whose frames are there, whoever has drawn them."""
        for item in items(self.jobs):
            if not item.image.frame.number and item.film not in self._written:
                yield from self._write(item)

    def _write(self, item):
        paths = [
            self.frames.template.path({**item.fields, "frame": number})
            for number in range(item.image.frame.count)
        ]
        if not all(path.exists() and not outputs.is_empty(path) for path in paths):
            return
        self._written.add(item.film)
        self._drawn.pop(item.film, None)
        recipe = self._recipe(item, paths)

        def write(path, number, overwrite):
            numbered = recipe and {**recipe, "index": number}
            fill = functools.partial(
                animation.write, path=path, files=paths, fps=self.fps, recipe=numbered
            )
            write_whole(path, fill, overwrite)

        target = self.files.target({**item.fields, "index": item.film})
        if not self.is_there(item) and (path := outputs.place(write, target)):
            yield path

    def _recipe(self, item, paths):
        """What the animation says of itself, or None: as its frames do."""
        try:
            return item.image.frame.recipe(list(map(recipes.read, paths)), self.folder)
        except UserError:  # --no-metadata
            return None


def _numbered_by_film(text):
    """A template in which {index} is the number of the animation, and not that of an image."""
    parts = []
    for literal, field, spec, _ in string.Formatter().parse(text):
        parts.append(literal.replace("{", "{{").replace("}", "}}"))
        if field is not None:
            field = "film" if field == "index" else field
            parts.append("{" + field + (f":{spec}" if spec else "") + "}")
    return "".join(parts)
