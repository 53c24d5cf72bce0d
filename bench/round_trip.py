"""How near a way up to the latent and down again comes to the image it began with.

    python bench/round_trip.py [--steps N ...] [-o docs/round_trip.png]

Takes three pictures and an image of plain noise up through the bundled model, without a prompt,
by the published methods and the exact one, and back over the same timesteps. Prints PSNR by steps,
of the pictures and of the noise, and plots it. The network computes in float32.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import runner  # noqa: F401  before torch: its threads are to sleep while they wait

# isort: split
import torch

import diffusion
import models
from bench.common import head, row
from bench.pictures import SHAPE, pictures, psnr
from models import clip

STEPS = (10, 25, 50, 100)
METHODS = ("ddim", "plms", "plms2", "iplms", "exact")


def trip(model, images, method, steps):
    """Images gone up and down again."""
    up = diffusion.ascending("spliced", steps)
    latents = diffusion.to_latents(model, images, up, method)
    return diffusion.from_latents(model, latents, up[::-1], method)


def measure(steps):
    """{method: [(steps, PSNR of the pictures, of the noise)]}, printed row by row."""
    net = models.load("emoji")
    empty = diffusion.guided(net, torch.zeros(0, 256), [])

    def model(x, t):
        return empty(x.float(), t.float()).double()

    apple = clip.load("emoji").encode_text(["a red apple"])
    noise = diffusion.noise([7], SHAPE)
    drawn = diffusion.guided(net, apple, [3.0])
    drawn = diffusion.sample(drawn, noise, diffusion.schedule("spliced", 50), "plms")
    images = pictures(drawn.double())
    is_noise = torch.tensor([False, False, True, False])
    found = {}
    head("method", *(f"{n} steps" for n in steps))
    for method in METHODS:
        for n in steps:
            back = trip(model, images, method, n)
            pair = [psnr(images[these], back[these]) for these in (~is_noise, is_noise)]
            found.setdefault(method, []).append((n, *pair))
            print(f"{method} {n}: {pair[0]:.1f} {pair[1]:.1f}", file=sys.stderr, flush=True)
        row(method, *(f"{pair[0]:.0f}, {pair[1]:.0f}" for _, *pair in found[method]))
    return found


def plot(found, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    titles = ("the worst of three pictures", "an image of plain noise")
    for column, (ax, title) in enumerate(zip(axes, titles, strict=True), 1):
        for method, rows in found.items():
            steps, decibels = [each[0] for each in rows], [min(each[column], 160) for each in rows]
            ax.plot(steps, decibels, "o-", label=method)
        ax.set(xscale="log", xlabel="steps", title=title)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("PSNR of the round trip, dB (cut at 160)")
    axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    with torch.inference_mode():
        found = measure(args.steps)
    if args.output:
        plot(found, args.output)


if __name__ == "__main__":
    main()
