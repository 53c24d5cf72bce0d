"""The images of all jobs, and which of them go through the network together."""

import itertools
import math
from typing import NamedTuple

from cli import metadata, prompts
from cli.jobs import Job
from cli.prompts import Prompt
from cli.wildcards import Wildcards
from diffusion.methods import NEGLIGIBLE

MAX_OPEN = 64  # batches that wait for more images of their shape

# What images must have in common to be drawn together, beside as many prompts.
ALIKE = ("size", "method", "steps", "schedule", "eta", "tolerance", "latent", "guidance_interval")
ALIKE += ("clip_guidance_scale", "cutn", "cut_pow", "guide_every")


class Item(NamedTuple):
    """An image to draw.

    Args:
        job: what it is one of.
        index: its number in the run, from 0.
        number: its number in the job.
        seed: of its noise, and of the choices in its prompts.
        prompts: with all choices made, and weights other than 0.
    """

    job: Job
    index: int
    number: int
    seed: int
    prompts: list[Prompt]

    @property
    def fields(self):
        """What the name of its file may hold, as `cli.names.Template` takes it."""
        args = self.job.args
        texts = [p.text for p in self.prompts if p.weight > 0]
        texts += [metadata.file_name(p.text) for p in args.images if p.weight > 0]
        return {
            "index": self.index,
            "line": self.job.line,
            "seed": self.seed,
            "prompt": " ".join(texts),
            "model": args.model,
            "steps": args.steps,
            "method": args.method,
            "schedule": args.schedule,
        }


def items(jobs):
    """The images of jobs, one after the other."""
    count = itertools.count()
    for job in jobs:
        for number, seed in enumerate(job.args.seeds):
            yield Item(job, next(count), number, seed, chosen_prompts(job.args, seed))


def chosen_prompts(args, seed):
    """The text prompts of one image: choices are made by its seed."""
    if not args.makes_choices:
        return args.prompts
    texts = Wildcards(args.wildcards).expand([prompt.text for prompt in args.prompts], seed)
    made = [Prompt(text, p.weight) for text, p in zip(texts, args.prompts, strict=True)]
    return [prompt for prompt in prompts.merge(made) if prompt.weight]


def batches(images, size):
    """Lists of up to `size` images that are alike in shape, across jobs.

    The same images come in the same batches every time, whoever draws which, so that rounding,
    which depends on the shape of a batch, is the same too.
    """
    waiting = {}
    for item in images:
        shape = shape_of(item)
        batch = waiting.setdefault(shape, [])
        batch.append(item)
        if len(batch) == size:
            yield waiting.pop(shape)
        elif len(waiting) > MAX_OPEN:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def shape_of(item):
    args = item.job.args
    conditions = [*item.prompts, *args.images]
    rest = 1 - math.fsum(prompt.weight for prompt in conditions)
    rows = len(conditions) + (abs(rest) > NEGLIGIBLE)  # with the empty prompt, if it has a part
    alike = (getattr(args, name, None) for name in ALIKE)
    alike = [tuple(value) if isinstance(value, list) else value for value in alike]
    return (rows, args.starting_timestep if args.init else None, *alike)
