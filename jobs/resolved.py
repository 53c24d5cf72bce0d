"""What is asked for, once all of it is resolved: the options of a run and of the images of a job.

Both are dataclasses whose fields are rows of the table of options, and what follows from them.
"""

from dataclasses import dataclass, field, make_dataclass
from functools import cache

from cli.option import Is
from cli.options import TABLE
from cli.scripts import SAMPLING, Script
from jobs.frames import Frame
from jobs.outputs import Policy
from models.zoo import Network
from recipes import latents


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """What the table does not say of a run.

    Args:
        script: the script that runs.
        network: the row of the network.
        expected: the model and the hashes of weights and files that the recipe names, a dict.
        policy: what happens where a file exists, as `jobs.outputs` takes it.
    """

    script: Script
    network: Network
    expected: dict = field(repr=False)
    policy: Policy | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Image:
    """What the table does not say of the images of a job.

    Args:
        asks: whether it has prompts, if only of weight 0.
        makes_choices: whether its prompts hold alternatives or lists.
        head: what the file of `latent` says; or None.
        other_head: what that of `variation` says; or None.
        latent_indices: which of its latents to start from; or None.
        latent_timesteps: those of the way to the latents, descending, where they are to be visited
            again; or None.
        batch: [rows, row] of the recipe: the shape of the batch to draw in; or None.
        unpacked: whether the recipe's image was drawn by a network that could be differentiated, as
            others of its run needed it, and was not; it rounds otherwise.
        frame: what it is a frame of; None: it is no animation's.
    """

    asks: bool
    makes_choices: bool
    head: latents.Head | None
    other_head: latents.Head | None
    latent_indices: range | list | None
    latent_timesteps: list | None
    batch: list | None
    unpacked: bool
    frame: Frame | None = None

    @property
    def moves(self):
        """Whether its noise is to move."""
        return self.variation is not None and self.variation.last is not None

    @property
    def conditions(self):
        """All prompts, of texts and of images."""
        return [*self.prompts, *self.images]

    @property
    def steers(self):
        """Whether CLIP steers (clip_sample.py)."""
        return bool(self.conditions) and (self.clip_guidance_scale or 0) > 0

    @property
    def differentiates(self):
        """Whether the network is differentiated."""
        return self.steers or self.by in ("mmps", "pigdm")

    @property
    def photo_size(self):
        """(width, height) that its photo is scaled to: a part of what is drawn, or all of it."""
        (width, height), factor = self.size, self.factor or 1
        left, top, right, bottom = self.pad or (0, 0, 0, 0)
        return (width - left - right) // factor, (height - top - bottom) // factor


@cache
def classes():
    """RunOptions and ImageOptions, made from the table."""
    return (
        _dataclass("RunOptions", _Run, False, "a run"),
        _dataclass("ImageOptions", _Image, True, "the images of a job"),
    )


def _dataclass(name, base, scope, about):
    """A frozen dataclass with a field for each option of a scope, None where a script lacks it."""
    names = {
        row.of(script).name: None
        for rows in TABLE.values()
        for row in rows
        for script in row.scripts
        if script in SAMPLING and (Is.IMAGES in row.is_) == scope
    }
    rows = [(option, object, field(default=None)) for option in names]
    names = {"__module__": __name__, "__doc__": f"The options of {about}, all of them resolved."}
    return make_dataclass(
        name, rows, bases=(base,), frozen=True, kw_only=True, eq=False, namespace=names
    )


RunOptions, ImageOptions = classes()
