"""What is good to know of jobs before they are drawn: a line of each kind for each text or size."""

import math

from cli.scripts import RESTORE
from diffusion.guidance_rules import PLAIN, choose
from diffusion.methods import NEGLIGIBLE
from models.vocabulary import vocabulary
from models.zoo import STUDENTS_METHOD, STUDENTS_SCHEDULE
from values.errors import counted, printable
from values.prompts import doubt
from values.sums import totals

MOST = 5  # lines of a kind; a job file has many prompts


def of_images(run, images):
    """The remarks on images, as lines; all of them safe to print.

    Args:
        run: the RunOptions.
        images: the ImageOptions of each job.
    """
    row = run.network
    texts = dict.fromkeys(p.text for i in images for p in [*i.prompts, *(i.source or [])])
    lines = some(doubt(text) for text in texts) + some(_loose(i.prompts) for i in images)
    lines += some(_idle(image, run.guide) for image in images)
    if run.script is RESTORE and run.output and run.output.ending.lower() in (".jpg", ".jpeg"):
        lines.append("a JPEG changes what is known by some grey levels: a PNG or WebP keeps it")
    if run.checkpoint:  # weights that were trained on other things
        return lines
    if known := vocabulary(row):
        lines += some(_unknown(row, known, text) for text in texts)
    lines += some(_unlearnt(row, image.prompts) for image in images)
    lines += some(_other_steps(row, image) for image in images)
    return lines + some(_untrained(row, image) for image in images)


def _loose(prompts):
    """What to say of prompts that look like one without its quotes; None: they do not."""
    texts = [prompt.text for prompt in prompts if prompt.is_plain]
    if len(texts) < 3 or any(" " in text for text in texts):
        return None
    return f"{counted(len(texts), 'prompt')} of one word each: put quotes around one of several"


def _idle(image, guide):
    """What to say where a rule of guidance, or a guide, has nothing to do; None: it has."""
    sums = [total for _, total, _ in totals(image.conditions)]
    if any(total > NEGLIGIBLE and abs(total - 1) > NEGLIGIBLE for total in sums):
        return None
    named = [] if (image.guidance or PLAIN) == PLAIN else [f"--guidance {image.guidance}"]
    if named and not choose(image.guidance).rule.contrasts:
        named = []
    named += ["--guide"] if guide else []
    if not named:
        return None
    return f"{' and '.join(named)}: nothing to do where weights add up to {sums[0]:g}"


def of_size(name, before, after):
    """What becomes of a photo of another size; None: nothing."""
    (w, h), (width, height) = before, after
    if before == after:
        return None
    cropped = "" if w * height == h * width else ", and what sticks out is cut off"
    return f"{printable(name, 200)}: {w} x {h} pixels are scaled to {width} x {height}{cropped}"


def _unknown(row, known, text):
    words = known.unknown(text)
    if not words:
        return None
    shown = ", ".join(f'"{printable(word, 40)}"' for word in words[:5]) + ", ..." * (len(words) > 5)
    return f"{row.name} never learnt {shown}: --list-prompts {row.name} shows what it knows"


def _unlearnt(row, prompts):
    low, high = row.weights or (-math.inf, math.inf)
    if all(low <= prompt.weight <= high for prompt in prompts):
        return None
    return (
        f"{row.name} has learnt weights from {low:g} to {high:g}: at {prompts[0].weight:g} its "
        f"teacher, --model {row.teacher}, knows better"
    )


def _other_steps(row, image):
    usual = (STUDENTS_METHOD, row.evaluations, STUDENTS_SCHEDULE)
    if not row.evaluations or (image.method, image.steps, image.schedule) == usual:
        return None
    return (
        f"{row.name} was trained for {row.evaluations} steps of {usual[0]} on {usual[2]}, not for "
        f"{image.steps} of {image.method} on {image.schedule}"
    )


def _untrained(row, image):
    (w, h), (width, height) = row.shape[:0:-1], image.size
    times, known = row.times(image.size), {(w, h), *row.other_sizes}
    reduced = (width // times, height // times)
    seen = reduced if (image.coarse_until or 1) < 1 else (width, height)
    if seen in known:
        return None
    advice = ""
    from_photo = image.init if image.by is None else image.by not in ("ddnm", "mmps")
    if reduced in known and row.coarse_until < 1 and not (image.latent or from_photo):
        advice = f": --coarse-until {row.coarse_until:g} may draw one thing"
    return (
        f"{row.name} was trained on {w} x {h} pixels: at {seen[0]} x {seen[1]} it may draw "
        f"nothing that one knows{advice}"
    )


def some(lines):
    """Those of some lines that are not None: the first of them, and how many more there are."""
    lines = [line for line in dict.fromkeys(lines) if line]
    more = len(lines) - MOST
    return [*lines[:MOST], *([f"the same of {more} more"] if more > 0 else [])]
