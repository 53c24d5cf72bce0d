"""Drawings twice as wide and high as the bundled model's own: until when to draw them small.

    python bench/larger.py [--until T ...] [--prompts N] [-o PNG]

Draws with the bundled model and default flags at 64 x 64 pixels and, for each T, at 128 x 128 with
`--coarse-until T`. Prints the pixels that the network evaluates, in multiples of those of a drawing
of its own size; the share of drawings, reduced to that size, in which the judge of `train.evaluate`
finds the thing (with its 95% interval); and how clean they are, beside renders of their size
(`train/measures.py`).
"""

import argparse
import functools
import random
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import runner  # noqa: E402, F401  before torch: its threads are to sleep while they wait

# isort: split
import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torchvision.utils import save_image  # noqa: E402

import diffusion  # noqa: E402
import models  # noqa: E402
from bench.common import head, machine, row  # noqa: E402
from bench.pictures import SIDE  # noqa: E402
from cli.options import options_of  # noqa: E402
from cli.scripts import CFG  # noqa: E402
from models import clip  # noqa: E402
from runner.device import pick_dtype  # noqa: E402
from train import judge, render  # noqa: E402
from train.drawing import one_each  # noqa: E402
from train.evaluate import renderer  # noqa: E402
from train.measures import cleanliness, judged  # noqa: E402
from train.vocabulary import GROUNDS  # noqa: E402

UNTIL = (1, 0.6, 0.4, 0.2, 0.15, 0.1)
COLUMNS = ("pixels a side", "until", "evaluated", "right", "RMS to 3 x 3 median, relative")
COLUMNS += ("specks", "of renders", "unevenness of the ground", "nearest render, dB")
AT_ONCE = 8
METHOD = options_of(CFG)["method"].default
SHOWN = 8  # drawings of each row that the picture shows


def draw(net, embeds, factor, until):
    """Images [N, 3, H, W] of a seed each, and the pixels that the network evaluated."""
    pixels, images, method = 0, [], diffusion.METHODS[METHOD]
    timesteps = diffusion.schedule(method.schedule, method.steps)

    def counted(x, t, cond):
        nonlocal pixels
        pixels += x[:, 0].numel()
        return net(x, t, cond)

    for first in range(0, len(embeds), AT_ONCE):
        part = embeds[first : first + AT_ONCE]
        model = diffusion.guided(one_each(counted, part), embeds.new_ones(1, 1), [3.0])
        if until < 1:
            model = diffusion.coarse_first(model, factor, until)
        seeds, shape = range(first, first + len(part)), (3, *(SIDE * factor,) * 2)
        images.append(diffusion.sample(model, diffusion.noise(seeds, shape), timesteps, METHOD))
    return torch.cat(images).clamp(-1, 1).float(), pixels


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--until", type=float, nargs="+", default=UNTIL)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("-o", "--output", type=Path, help="a picture of some drawings, a row each")
    args = parser.parse_args()
    if not judge.JUDGE.exists():
        parser.error(f"{judge.JUDGE} is missing: `python -m train.judge` trains it")
    critic, reader = judge.load(), clip.load("emoji")
    net = models.load("emoji", dtype=pick_dtype("auto", torch.device("cpu")))
    choose = random.Random(5)
    asked = [
        (f"{render.article(thing)} on {render.article(ground)} background", thing, ground)
        for thing in choose.sample(critic[1], args.prompts)
        for ground in [choose.choice(list(GROUNDS))]
    ]
    print(machine(), flush=True)
    head(*COLUMNS)
    shown, least = [], None
    with torch.inference_mode():
        embeds = reader.encode_text([prompt for prompt, _, _ in asked])
        for factor, until in [(1, 1.0), *((2, until) for until in args.until)]:
            images, pixels = draw(net, embeds, factor, until)
            least = least or pixels
            top1 = judged(F.avg_pool2d(images, factor), asked, critic)["top1"]
            found = cleanliness(images, asked, functools.cache(renderer(SIDE * factor)))
            right = f"{top1['share']:.1%} ({top1['low']:.1%} to {top1['high']:.1%})"
            cells = [SIDE * factor, f"{until:g}" if factor > 1 else "", f"{pixels / least:.1f}"]
            cells += [right, f"{found['rms_to_median_relative']:.2f}", f"{found['specks']:.2%}"]
            cells += [f"{found['specks_renders']:.2%}", f"{found['tint']:.1f}"]
            row(*cells, f"{found['nearest_render_psnr']:.1f}")
            shown.append(F.interpolate(images[:SHOWN], scale_factor=2 // factor))
    if args.output:
        how = {"nrow": SHOWN, "normalize": True, "value_range": (-1, 1)}
        save_image(torch.cat(shown), args.output, **how)


if __name__ == "__main__":
    main()
