"""Ways to restore an image of which a part is known, at equal work of the bundled model.

    python bench/restoring.py [--things N] [--others N] [--again N] [--tasks NAME ...]
        [--ways TEXT ...] [--folder DIR] [-o FILE.png]

Renders that neither the model nor the judge has seen (smaller, off their place, and first of all
those of held-out pairs of thing and ground) are degraded by each task and restored under the prompt
that names them, in up to 40 passes through the network, forward or backward (with noise also in the
default 25 steps, which are more): --things of them as restore_sample.py does by default, --others
in other ways, and --again with a second seed. Beside
the ways stand what users have otherwise, and the render itself, which the judge may not find;
opencv.inpaint where opencv-python-headless is installed, which nothing else needs.

Prints two tables, of the first --others renders by every way, and of all: by how many grey levels
what is known is off at the most, once an image is rounded to 8 bits and degraded again; in how many
images a judge that shares nothing with the model finds the thing, and in how many where it sees
nothing else but what was drawn in a hole; the PSNR, with its standard error; how far it is from the
render as CLIP sees both (1 - cosine); and how far two seeds are apart (RMS, in grey levels).

What is drawn is measured once, ten images at a time: results are kept in --folder, and a run that
was stopped goes on there. With -o the first renders are shown, a row a way, a picture a task.
"""

import argparse
import json
import math
import random
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import runner  # noqa: F401  before torch: its threads are to sleep while they wait

# isort: split
import torch
from PIL import Image
from torch.nn.functional import interpolate

import models
from bench.common import head, row
from bench.pictures import in_8_bits
from bench.restoring_ways import (
    LARGE,
    PLACE,
    SHARE,
    SIDE,
    TASKS,
    USUAL,
    WAYS,
    WEIGHT,
    WITHOUT,
    Problem,
    cv2,
)
from media import grids
from media.tensors import to_image, to_tensor
from models import NETWORKS, checkpoints, clip
from models.hashes import hash_file
from runner.device import pick_dtype
from train import judge, render
from train.data import replace_file
from train.vocabulary import GROUNDS

AT_ONCE, SHOWN = 10, 6
FEW = 12  # renders of tasks that take four times as long


def pairs(things):
    """Pairs of the number of a thing and a ground, always in one order; held-out ones first."""
    numbers = {thing.name: number for number, thing in enumerate(things)}
    held_out = [(numbers[name], ground) for name, ground in render.held_out_pairs(things, 0)]
    rest = [(n, g) for n in numbers.values() for g in GROUNDS if (n, g) not in set(held_out)]
    for some in (held_out, rest):
        random.Random("restoring").shuffle(some)
    return held_out + rest


def renders(chosen, things, side):
    """(images [N, 3, side, side], prompts) of pairs of things and grounds."""
    images, prompts = [], []
    for number, ground in chosen:
        width = round(side * SHARE)
        corner = tuple((side - width) // 2 + off * side // SIDE for off in PLACE)
        sprite = render.sprite(things[number].emoji)
        picture = render.placed(sprite, GROUNDS[ground], side, width, [corner])
        images.append(to_tensor(picture))
        prompts.append(
            f"{render.article(things[number].name)} on {render.article(ground)} background"
        )
    return torch.stack(images), prompts


def the_judge(path):
    if not path.exists():
        things = render.read_things()
        names, sprites = [t.name for t in things], [render.sprite(t.emoji) for t in things]
        with torch.enable_grad():
            net, _ = judge.train(names, sprites, log=lambda line: print(line, file=sys.stderr))
        path.parent.mkdir(parents=True, exist_ok=True)
        judge.save(net, names, path)
    return judge.load(path)[0]


class Eyes:
    """What looks at images: the judge and CLIP."""

    def __init__(self, path):
        self.judge, self.clip = the_judge(path), clip.load("emoji")

    def sees(self, images, numbers):
        """Whether the judge finds the thing of that number in each image [N]."""
        images = interpolate(images, size=(SIDE, SIDE), mode="area")
        return judge.ranking(self.judge, images)[:, 0] == numbers

    def apart(self, images, others):
        """1 - the cosine between what CLIP makes of images and of others [N]."""
        size = (self.clip.image_size,) * 2
        found = [
            self.clip.encode_image(interpolate(some, size=size, mode="area")).float()
            for some in (images, others)
        ]
        return 1 - torch.cosine_similarity(*found)


def measures(problem, found, again, numbers, eyes):
    """What is kept of each of the images found [N, 3, H, W]: a list of dicts.

    again: the same of another seed, of the first M alone.
    """
    images, mask = problem.images, problem.mask
    off = problem.measurement.degrade(found) - problem.measurement.of_picture(problem.y)
    columns = {
        "off": None if problem.sigma else off.abs().amax(dim=(1, 2, 3)) * 127.5,
        "right": eyes.sees(found, numbers),
        "alone": None,
        "psnr": 10 * torch.log10(4 / (found - images).square().mean(dim=(1, 2, 3)).clamp(1e-10)),
        "clip": eyes.apart(found, images),
    }
    if mask is not None:  # what is drawn, on the ground alone
        columns["alone"] = eyes.sees(torch.where(mask > 0, images[:, :, :1, :1], found), numbers)
    lines = [
        {name: None if some is None else some[i].item() for name, some in columns.items()}
        for i in range(len(found))
    ]
    for line, image, other in zip(lines, found, again, strict=False):
        line["between"] = float((image - other).square().mean().sqrt() * 127.5)
    return lines


class Cells:
    """What was measured, by task and way; it is kept in files, and looked for there.

    Args:
        args: of the command line.
        weights: the hash of the network's.
    """

    def __init__(self, args, weights):
        self.args, self.things = args, render.read_things()
        self.eyes, self.pairs, self.net = Eyes(args.judge), pairs(self.things), None
        self.settings = {"weights": weights, "guidance": WEIGHT}

    def path(self, task, way):
        return self.args.folder / task / re.sub(r"\W+", "_", way)  # a dot would begin a suffix

    def lines(self, task, way, restore, count):
        """What `measures` says of so many renders; what is not there yet is drawn."""
        file = self.path(task, way).with_suffix(".json")
        again = 0 if way in WITHOUT else self.args.again
        settings = {**self.settings, "again": again}
        kept = []
        if file.exists():
            found = json.loads(file.read_text())
            kept = found["images"] if found["settings"] == settings else []
        while len(kept) < count:
            first, end = len(kept), min(count, (len(kept) // AT_ONCE + 1) * AT_ONCE)
            kept += self._drawn(task, way, restore, first, end, again)
            text = json.dumps({"settings": settings, "images": kept}, indent=1) + "\n"
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(file, lambda part, text=text: part.write_text(text))
            print(f"{task}, {way}: {len(kept)} of {count}", file=sys.stderr, flush=True)
        return kept[:count]

    def _drawn(self, task, way, restore, first, end, again):
        chosen = self.pairs[first:end]
        images, prompts = renders(chosen, self.things, TASKS[task][-1])
        embeds = [embed[None] for embed in self.eyes.clip.encode_text(prompts)]
        if self.net is None:
            dtype = pick_dtype("auto", torch.device("cpu"), False, False)
            self.net = models.load("emoji", dtype=dtype)

        def found(first_seed, many):
            seeds = range(first_seed + first, first_seed + first + many)
            problem = Problem(self.net, task, images[:many], embeds[:many], seeds)
            return problem, in_8_bits(restore(problem))

        problem, drawings = found(0, len(chosen))
        others = ()
        if first < again:
            _, others = found(10_000, min(end, again) - first)
        for i, image in enumerate(drawings[: max(0, SHOWN - first)], first):
            self.path(task, way).mkdir(parents=True, exist_ok=True)
            to_image(image).save(self.path(task, way) / f"{i}.png")
        numbers = torch.tensor([number for number, _ in chosen])
        return measures(problem, drawings, others, numbers, self.eyes)


def summary(lines):
    """The cells of a table of some lines."""

    def mean(name):
        values = [line[name] for line in lines if line.get(name) is not None]
        return sum(values) / len(values) if values else None

    def told(value, form):
        return "" if value is None else format(value, form)

    off = [line["off"] for line in lines if line["off"] is not None]
    psnr = torch.tensor([line["psnr"] for line in lines])
    error = float(psnr.std() / math.sqrt(len(psnr))) if len(psnr) > 1 else 0
    return (
        len(lines),
        told(max(off, default=None), ".2f"),
        told(mean("right"), ".1%"),
        told(mean("alone"), ".1%"),
        f"{psnr.mean():.1f} ± {error:.1f} dB",
        told(mean("clip"), ".3f"),
        told(mean("between"), ".1f"),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--things", type=int, default=200, help="by the usual ways")
    parser.add_argument("--others", type=int, default=30, help="by other ways")
    parser.add_argument("--again", type=int, default=6, help="with a second seed")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--ways", nargs="+", default=[], help="ways with this in their name")
    parser.add_argument("--judge", type=Path, default=judge.JUDGE, help="trained if not there")
    parser.add_argument("--folder", type=Path, default=Path("runs/restoring"))
    parser.add_argument("-o", "--output", type=Path, help="a picture, a row a way, of each task")
    args = parser.parse_args()
    with torch.no_grad():
        measure(args)


def measure(args):
    if cv2 is None:
        print("opencv.inpaint is left out: pip install opencv-python-headless", file=sys.stderr)
    cells = Cells(args, hash_file(checkpoints.find(NETWORKS["emoji"])))
    few, many = [], []
    for task in args.tasks:
        most = FEW if task in LARGE else args.things
        shown = []
        for way, (tasks, restore) in {**WITHOUT, **WAYS}.items():
            named = way in WITHOUT or not args.ways or any(word in way for word in args.ways)
            if task not in tasks or not named:
                continue
            counts = min(most, args.things if way in (*USUAL, *WITHOUT) else args.others)
            lines = cells.lines(task, way, restore, counts)
            few.append((task, way, *summary(lines[: args.others])))
            if counts > args.others:
                many.append((task, way, *summary(lines)))
            shown.append(cells.path(task, way))
        if args.output:
            save_sheet(shown, args.output.with_stem(f"{args.output.stem}_{task}"))
    for table in filter(None, (few, many)):
        head("task", "way", "images", "known off", "judge right", "of the drawn part alone", "PSNR",
             "by CLIP", "between seeds")  # fmt: skip
        for cells_of_row in table:
            row(*cells_of_row)
        print()


def save_sheet(folders, path):
    """Saves a picture of the first images in some folders, a row each."""
    rows = [sorted(folder.glob("*.png"), key=lambda p: int(p.stem)) for folder in folders]
    files = [file for files in rows for file in files[: min(map(len, rows))]]
    images = [Image.open(file) for file in files]
    plan = grids.layout(len(images), images[0].size, min(map(len, rows)))
    grids.draw(plan, images).save(path)


if __name__ == "__main__":
    main()
