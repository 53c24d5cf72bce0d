"""Ways to restore an image of which a part is known, at equal work of the bundled model.

    python bench/restoring.py [--things N] [--seeds N] [--tasks NAME ...] [-o FILE.png]

Renders that no training saw (smaller, and off their place) are degraded by each task and restored
under the prompt that names them. Prints a table: by how many grey levels what is known is off at
the most, once an image is rounded to 8 bits and degraded again; in how many images a judge that
shares nothing with the model finds the thing, and in how many where it sees nothing else but what
was drawn in a hole; the PSNR; and how far two seeds are apart (RMS).
A way takes up to 40 passes through the network, forward or backward. Beside the ways stands what
users have otherwise, and the render itself, which the judge may not find either.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import runner  # noqa: F401  before torch: its threads are to sleep while they wait

# isort: split
import torch
from torch.nn.functional import interpolate

import diffusion
import models
from bench.common import head, row
from bench.pictures import in_8_bits
from diffusion.inversion import inside
from diffusion.measurements import Measurement
from media.tensors import to_image, to_tensor
from models import clip
from train import judge, render
from train.vocabulary import GROUNDS

SIDE, SHARE, PLACE = 64, 0.7, (5, -4)  # of the renders: training's are larger, and in the middle
WEIGHT = 3.0
LEVEL = 25.0  # of noise, in grey levels
HALF = torch.ones(1, SIDE, SIDE)
HALF[:, :, SIDE // 2 + PLACE[0] :] = 0  # the right half of the thing, and all beside it
FRAME = torch.zeros(1, SIDE, SIDE)
FRAME[:, 12:52, 12:52] = 1

TASKS = {  # name: (parameters, the standard deviation of noise in grey levels)
    "inpaint": ((HALF,), 0.0),
    "outpaint": ((FRAME,), 0.0),
    "upscale": ((4,), 0.0),
    "colourise": ((), 0.0),
    "deblur": ((2.0,), 0.0),
    "denoise": ((), LEVEL),
}


def mean_filled(known, measurement, y):
    """The hole in the mean colour of what is known."""
    mask = measurement.parts[0][1][0]
    mean = (y * mask).sum((2, 3), keepdim=True) / mask.sum()
    return torch.where(mask > 0, y, mean)


def bicubic(known, measurement, y):
    return interpolate(y, size=(SIDE, SIDE), mode="bicubic")


def as_given(known, measurement, y):
    return y.expand(-1, 3, -1, -1)


WITHOUT = {
    "inpaint": ("mean colour", mean_filled),
    "outpaint": ("mean colour", mean_filled),
    "upscale": ("bicubic", bicubic),
    "colourise": ("grey", as_given),
    "deblur": ("as given", as_given),
    "denoise": ("as given", as_given),
}


class Problem:
    """What one task asks of a batch: a model under its prompts, and what is known."""

    def __init__(self, model, name, images, sources):
        parameters, level = TASKS[name]
        self.name, self.model, self.sources = name, model, sources
        self.measurement, self.sigma = Measurement({name: parameters}), level / 127.5
        self.y = self.measurement.degrade(images)
        if level:
            self.y = self.y + self.sigma * self.noise(torch.Size(self.y.shape))
        self.y = in_8_bits(self.y)
        self.shape = images.shape

    def noise(self, shape=None):
        return diffusion.noise(self.sources, (shape or self.shape)[1:])

    def drawn(self, model, method, steps, eta=None, times=1, stretch=1):
        timesteps = diffusion.schedule(diffusion.default_schedule(method), steps)
        return diffusion.sample_again(
            model, self.noise(), timesteps, method, self.noise, times, stretch, eta=eta
        )

    def settled(self, images):
        if not self.sigma:
            images = diffusion.within_range(self.measurement, images, self.y)
        return in_8_bits(images)


def ddnm(method, steps, eta=None, times=1, stretch=1):
    def restore(p):
        model = diffusion.exactly(p.model, p.measurement, p.y)
        return p.settled(p.drawn(model, method, steps, eta, times, stretch))

    return restore


def mmps(method, steps, solving, eta=None):
    """1 pass forward and `solving` + 1 backward, which of the input alone takes about as long."""

    def restore(p):
        sigma = math.hypot(p.sigma, 0.29 / 127.5)
        model = diffusion.nearly(p.model, p.measurement, p.y, sigma, solving)
        return p.settled(p.drawn(model, method, steps, eta))

    return restore


def pasted(method, steps):
    """The plain way: in each step the known pixels, with the noise of the step, are put in."""

    def restore(p):
        mask, eps = p.measurement.parts[0][1][0], p.noise()

        def outside(t):
            return diffusion.add_noise(p.y, eps, t)

        model = inside(p.model, 1 - mask, outside)
        images = p.drawn(model, method, steps)
        return in_8_bits(torch.where(mask > 0, p.y, images))

    return restore


def from_its_level(method, steps):
    """Noise is what the model removes: the picture is a state of the flow, and starts it."""

    def restore(p):
        t = diffusion.noise_to_t(p.sigma)
        timesteps = diffusion.timesteps(diffusion.default_schedule(method), steps, t)
        alpha, _ = diffusion.alpha_sigma(t)
        return in_8_bits(diffusion.sample(p.model, alpha * p.y, timesteps, method, noise=p.noise))

    return restore


HOLES, NOISY = ("inpaint", "outpaint"), ("denoise",)
EXACT = tuple(name for name, (_, level) in TASKS.items() if not level)
WAYS = {  # name: (tasks, function (Problem) -> images)
    "pasted, ddim": (HOLES, pasted("ddim", 40)),
    "ddnm, ab23": (EXACT, ddnm("ab23", 40)),
    "ddnm, ddim": (EXACT, ddnm("ddim", 40)),
    "ddnm, ddpm": (EXACT, ddnm("ddpm", 40)),
    "ddnm, ddpm, each 2 steps twice": (EXACT, ddnm("ddpm", 20, None, 2, 2)),
    "ddnm, ddpm, each 2 steps 4 times": (EXACT, ddnm("ddpm", 10, None, 4, 2)),
    "mmps, ddim": (tuple(TASKS), mmps("ddim", 10, 2)),
    "mmps, ddpm": (tuple(TASKS), mmps("ddpm", 10, 2)),
    "from its level, ab23": (NOISY, from_its_level("ab23", 18)),
    "from its level, ddpm": (NOISY, from_its_level("ddpm", 40)),
}


def renders(count):
    """(images [N, 3, 64, 64], prompts, numbers of the things) of some things, evenly picked."""
    things = render.read_things()
    images, prompts, numbers = [], [], []
    grounds = itertools.cycle(GROUNDS.items())
    for i in range(0, len(things), max(1, len(things) // count)):
        name, colour = next(grounds)
        side = round(SIDE * SHARE)
        corner = tuple((SIDE - side) // 2 + off for off in PLACE)
        picture = render.placed(render.sprite(things[i].emoji), colour, SIDE, side, [corner])
        images.append(to_tensor(picture))
        prompts.append(f"{render.article(things[i].name)} on {render.article(name)} background")
        numbers.append(i)
    return torch.stack(images[:count]), prompts[:count], torch.tensor(numbers[:count])


def the_judge(path):
    if path.exists():
        return judge.load(path)[0]
    things = render.read_things()
    sprites = [render.sprite(thing.emoji) for thing in things]
    net, _ = judge.train(
        [t.name for t in things], sprites, log=lambda line: print(line, file=sys.stderr)
    )
    judge.save(net, [t.name for t in things], path)
    return net


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--things", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--ways", nargs="+", default=[], help="ways with this in their name")
    parser.add_argument("--judge", type=Path, default=judge.JUDGE, help="trained if not there")
    parser.add_argument("-o", "--output", type=Path, help="a picture, a row a way, of each task")
    args = parser.parse_args()
    with torch.no_grad():
        measure(args)


def measure(args):
    net, reader = models.load("emoji", dtype=torch.float32), clip.load("emoji")
    looks = the_judge(args.judge)
    images, prompts, numbers = renders(args.things)
    embeds = [embed[None] for embed in reader.encode_text(prompts)]
    model = diffusion.guided(net, embeds, [[WEIGHT]] * len(embeds))
    head(
        "task",
        "way",
        "known off",
        "judge right",
        "of the drawn part alone",
        "PSNR",
        "between seeds",
    )
    for task in args.tasks:
        name, without = WITHOUT[task]
        ways = {
            "the render": lambda p: images,
            name: lambda p, w=without: w(images, p.measurement, p.y),
        }
        ways |= {
            n: w
            for n, (of, w) in WAYS.items()
            if task in of and (not args.ways or any(word in n for word in args.ways))
        }
        shown = []
        for way, restore in ways.items():
            found = []
            for seed in range(args.seeds if way in WAYS else 1):
                sources = diffusion.generators(range(1000 * seed, 1000 * seed + len(images)))
                problem = Problem(model, task, images, sources)
                found.append(in_8_bits(restore(problem)))
            row(task, way, *figures(problem, images, numbers, looks, torch.stack(found)))
            shown.append([to_image(image) for image in found[0]])
        if args.output:
            save_sheet(shown, args.output.with_stem(f"{args.output.stem}_{task}"))


def figures(problem, images, numbers, looks, found):
    """What the table says of images [seeds, N, 3, H, W]."""
    off = "" if problem.sigma else f"{known_off(problem, found):.2f}"
    right = [judged(looks, some, numbers) for some in found]
    if problem.name in HOLES:  # what is drawn, on the ground alone
        mask, ground = problem.measurement.parts[0][1][0], images[:, :, :1, :1]
        alone = [judged(looks, torch.where(mask > 0, ground, some), numbers) for some in found]
        alone = f"{sum(alone) / len(alone):.0%}"
    else:
        alone = ""
    error = (found - images).square().mean(dim=(0, 2, 3, 4))
    psnr = 10 * torch.log10(4 / error.clamp_min(1e-10)).mean()
    apart = (found[0] - found[-1]).square().mean().sqrt() * 127.5 if len(found) > 1 else 0
    return off, f"{sum(right) / len(right):.0%}", alone, f"{psnr:.1f} dB", f"{apart:.1f}"


def judged(looks, images, numbers):
    """The share of images in which the judge finds the thing of that number."""
    return float((judge.ranking(looks, images)[:, 0] == numbers).float().mean())


def known_off(problem, found):
    again = [
        problem.measurement.degrade(some) - problem.measurement.of_picture(problem.y)
        for some in found
    ]
    return float(torch.stack(again).abs().max() * 127.5)


def save_sheet(rows, path):
    from media import grids

    plan = grids.layout(sum(map(len, rows)), (SIDE, SIDE), len(rows[0]))
    grids.draw(plan, [image for line in rows for image in line]).save(path)


if __name__ == "__main__":
    main()
