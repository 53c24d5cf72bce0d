"""Photos and masks that jobs name: whether they can be read, and what becomes of them."""

import os

from jobs import remarks
from media.colour import has_colours
from media.images import fitted, left_out_of, left_out_of_mask, size_before
from runner import films
from runner.masks import mask_of, region_of
from values.errors import printable
from values.wildcards import Wildcards


def look_at(options, image, animated=False):
    """UserError for whatever a job names that is missing or damaged.

    animated: whether the images are to become animations.
    """
    films.check_name(options, animated, image)
    for source in [image.init, *(image.photos or [])]:
        if source:
            fitted(source, image.photo_size)
    for prompt in image.images:
        fitted(prompt.text, image.size)
    mask_of(image)
    for prompt in image.prompts:
        if prompt.mask is not None:
            region_of(prompt.mask, image.size)
    if image.makes_choices:
        Wildcards(options.wildcards).check([prompt.text for prompt in image.prompts])


def files_of(image):
    """The pictures and latents on this disk that an image is made of, a list of paths."""
    prompts = [*image.conditions, *(image.source or [])]
    named = [image.init, image.mask, image.latent, *(p.text for p in image.images)]
    named += [prompt.mask for prompt in prompts]
    named += [image.variation.other] if image.variation else []
    return [name for name in named if isinstance(name, str | os.PathLike) and os.path.isfile(name)]


def photos_told(jobs):
    """What of photos counts for nothing, and what becomes of those of another size, in lines."""
    found = {}
    for job in jobs:
        for source in [job.image.init, *(job.image.photos or [])]:
            if source:
                found[str(source), job.image.photo_size] = None
        if len(found) > remarks.MOST:
            break
    told = []
    for source, size in found:
        told += [f"{printable(source, 200)}: {what}" for what in left_out_of(source, size)]
        told.append(remarks.of_size(source, size_before(source, size), size))
    first = [job.image for job in jobs[: remarks.MOST]]
    masks = [line for image in first for line in mask_told(image)]
    kinds = (told, masks, map(task_told, first))
    return [line for lines in kinds for line in remarks.some(lines)]


def mask_told(image):
    """What of a mask is left out, in lines: other programs take transparent for the hole."""
    if image.mask is None:
        return []
    told = left_out_of_mask(image.mask, image.photo_size)
    return [f"--mask {printable(image.mask, 200)}: {line}" for line in told]


def task_told(image):
    """What a task leaves out of its photo, in a line; None: nothing."""
    tasks, (width, height) = image.task or [], image.photo_size
    name = printable(image.init, 200)
    if image.by == "inversion" and len(image.seeds) > 1:
        return "--by inversion has one answer, whatever the seed: these will be alike"
    if "colourise" in tasks and has_colours(fitted(image.init, image.photo_size)):
        return f"{name} has colours: --task colourise looks at their brightness alone"
    before = size_before(image.init, image.photo_size) if tasks else (0, 0)
    share = min(before[0] / width, before[1] / height)  # of a pixel of the scaled photo in its own
    if image.blur and share != 1:
        return (
            f"--blur {image.blur:g} is of {name} as it is scaled, {width} x {height}: of its own "
            f"pixels these are {image.blur * share:.3g}"
        )
    if image.noise and share > 1:
        return f"--noise {image.noise:g} is of {name} as it is scaled, which leaves less noise"
    if "upscale" in tasks and before[0] > width and before[1] > height:
        return (
            f"{name} is made smaller before it is enlarged, {before[0]} x {before[1]} to "
            f"{width} x {height}: a larger --size would keep more of it"
        )
    return None
