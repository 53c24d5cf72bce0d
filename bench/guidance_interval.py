"""What guidance is worth at which timesteps: accuracy, diversity and cost of drawings.

    python bench/guidance_interval.py [--weights W ...] [--prompts N] [--seeds N]

Draws with the bundled model and default flags, guided between two timesteps alone
(`--guidance-interval`), and prints the rows that the network evaluates, the share of drawings in
which the judge of `train.evaluate` finds the thing (with its 95% interval), CLIP's similarity to
the prompt, the distance between drawings of one prompt, in grey levels and in CLIP's embeddings,
and that from the same drawing guided at all timesteps, in grey levels (median).
"""

import argparse
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import runner  # noqa: E402, F401  before torch: its threads are to sleep while they wait

# isort: split
import torch  # noqa: E402

import diffusion  # noqa: E402
import models  # noqa: E402
from bench.common import head, row  # noqa: E402
from bench.pictures import SHAPE  # noqa: E402
from cli.options import options_of  # noqa: E402
from cli.scripts import CFG  # noqa: E402
from models import clip  # noqa: E402
from runner.device import pick_dtype  # noqa: E402
from train import judge, render  # noqa: E402
from train.drawing import one_each  # noqa: E402
from train.measures import diversity, judged  # noqa: E402

INTERVALS = [(0, 1), (0.1, 1), (0.17, 1), (0.4, 1), (0.17, 0.8)]
COLUMNS = ("weight", "guided at t", "rows", "seconds", "right", "similarity", "pixels")
AT_ONCE = 32
METHOD = options_of(CFG)["method"].default


def draw(net, embeds, seeds, weight, interval):
    """Images [N, 3, H, W], and the rows that the network evaluated for each."""
    rows, images = 0, []
    method = diffusion.METHODS[METHOD]
    timesteps = diffusion.schedule(method.schedule, method.steps)

    def counted(x, t, cond):
        nonlocal rows
        rows += len(x)
        return net(x, t, cond)

    for first in range(0, len(embeds), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        under = one_each(counted, embeds[part])
        model = diffusion.guided(under, embeds.new_ones(1, 1), [weight], interval=interval)
        x = diffusion.noise(seeds[part], SHAPE)
        images.append(diffusion.sample(model, x, timesteps, METHOD))
    return torch.cat(images).clamp(-1, 1), rows / len(embeds)


def measure(args, net, reader, critic, weight, interval, whole=None):
    """Prints a row of the table; returns the images. `whole` are those guided everywhere."""
    things = random.Random(0).sample(critic[1], args.prompts)
    asked = [(render.article(thing), thing, None) for thing in things for _ in range(args.seeds)]
    embeds = reader.encode_text([prompt for prompt, _, _ in asked])
    start = time.perf_counter()
    seeds = list(range(args.seeds)) * args.prompts
    images, rows = draw(net, embeds, seeds, weight, interval)
    seconds = time.perf_counter() - start
    seen = reader.encode_image(images)
    similar = (seen * torch.nn.functional.normalize(embeds)).sum(1).mean()
    top1 = judged(images, asked, critic)["top1"]
    shape = (args.prompts, args.seeds, -1)
    levels = images.reshape(shape) * 127.5 / images[0].numel() ** 0.5
    moved = (images - (images if whole is None else whole)).square().mean((1, 2, 3)).sqrt()
    right = f"{top1['share']:.1%} ({top1['low']:.1%} to {top1['high']:.1%})"
    cells = [f"{weight:g}", "{:g} to {:g}".format(*interval), f"{rows:g}", f"{seconds:.0f}", right]
    cells += [f"{similar:.3f}", f"{diversity(levels):.1f}"]
    row(*cells, f"{diversity(seen.reshape(shape)):.3f}", f"{moved.median() * 127.5:.1f}")
    return images


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=float, nargs="+", default=[3.0, 6.0])
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=8, help="for each prompt")
    args = parser.parse_args()
    if not judge.JUDGE.exists():
        parser.error(f"{judge.JUDGE} is missing: `python -m train.judge` trains it")
    critic, reader = judge.load(), clip.load("emoji")
    net = models.load("emoji", dtype=pick_dtype("auto", torch.device("cpu")))
    head(*COLUMNS, "embeddings", "moved")
    with torch.inference_mode():
        for weight in args.weights:
            whole = None
            for interval in INTERVALS:
                images = measure(args, net, reader, critic, weight, interval, whole)
                whole = images if whole is None else whole


if __name__ == "__main__":
    main()
