"""What a run would do, told without doing it (`--dry-run`)."""

import sys

from diffusion.guidance_rules import PLAIN
from values.errors import counted, printable
from values.extents import number
from values.prompts import format_prompt

COLUMNS = ("batch", "file", "seed", "steps", "method", "prompts", "from", "by")


def tell(plan):
    """Prints a table of the images of a `runner.plan.Plan` on stdout, and their number on stderr.

    Of the processes that share a run the first tells it all.
    """
    if plan.worker.rank:
        return
    print(*COLUMNS, sep="\t")
    for place, batch in enumerate(plan.worker.own(plan.batches())):
        for item in batch:
            name = plan.files.template.path(item.fields)
            there = " (exists)" if plan.files.is_taken(name) else ""
            prompts = "  ".join(printable(format_prompt(p), 90) for p in item.conditions)
            image, start = item.image, item.photo or item.image.latent or ""
            start = f"{start} {image.variation or ''}".strip()
            told = [place, printable(name, 500) + there, item.seed, image.steps, image.method]
            print(*told, prompts, printable(start, 200), how(item), sep="\t")
    who = "this process"
    if plan.worker.shared:
        who = f"{plan.worker.size} processes, each batch by the first that is free"
    print(
        f"{counted(plan.found.images, 'image')}, {plan.found.existing:,} there already, by "
        f"{who}; nothing is drawn",
        file=sys.stderr,
    )


def how(item):
    """The task, the rule of guidance and what is swept of an image, as flags."""
    image = item.image
    flags = {"task": " ".join(image.task), "by": image.by} if image.task else {}
    if image.guidance and image.guidance != PLAIN:
        flags["guidance"] = image.guidance
    for name, value in item.job.swept.items():
        if name not in COLUMNS and name != "prompt":
            words = value if isinstance(value, list) else [value]
            flags.setdefault(name, " ".join(v if isinstance(v, str) else number(v) for v in words))
    return " ".join(f"--{name} {printable(value, 90)}" for name, value in flags.items())
