"""Ways to edit an image with the bundled model, in as many steps: by its latents, or directly.

    python bench/editing.py [--steps N] [--ways NAME ...] [-o docs/editing.png]

Edits drawings of the model and painted pictures it never saw: another colour, another thing,
another ground. Prints a table by kind of edit: how similar CLIP finds the edits to the target
prompt, and their PSNR where nothing should change (the ground, or the thing for another ground).
The picture shows the first of each pair, each way in a column.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1]))

import runner  # noqa: F401  before torch: its threads are to sleep while they wait

# isort: split
import torch

import diffusion
import models
from bench.common import head, row
from bench.pictures import SHAPE, in_8_bits, paint
from media.tensors import to_image
from models import clip
from runner.device import pick_dtype

SEEDS = (0, 1)
SOURCE_WEIGHT, TARGET_WEIGHT = 1.0, 3.0
# (kind, source, target); a painter's name stands for a painted picture of the source.
EDITS = [
    ("colour", "a red heart on a white background", "a blue heart on a white background"),
    ("colour", "a green heart on a gray background", "a yellow heart on a gray background"),
    ("colour", "a red apple on a blue background", "a green apple on a blue background"),
    ("thing", "a cat on a blue background", "a fox on a blue background"),
    ("thing", "a dog on a green background", "a panda on a green background"),
    ("thing", "a doughnut on a yellow background", "a pizza on a yellow background"),
    ("ground", "a banana on a blue background", "a banana on a pink background"),
    ("ground", "a penguin on a white background", "a penguin on an orange background"),
    ("painted", "a red heart on a gray background", "a blue heart on a gray background"),
    ("painted", "a tomato on a white background", "a lemon on a white background"),
    ("painted", "a star on a blue background", "a red heart on a blue background"),
]


def by_latents(method):
    def edit(source, target, images, n, strength):
        up = diffusion.ascending("spliced", n, strength)
        return diffusion.edit_by_latents(source, target, images, up, method)

    return edit


def directly(method):
    """FlowEdit, with noise drawn anew at every evaluation."""

    def edit(source, target, images, n, strength):
        up = diffusion.ascending("spliced", n, strength)
        sources = diffusion.generators(range(100, 100 + len(images)))
        return diffusion.edit_directly(
            source, target, images, up, method, lambda: diffusion.noise(sources, images.shape[1:])
        )

    return edit


WAYS = {
    "latents, plms": (by_latents("plms"), (0.6, 0.8, 1.0)),
    "latents, exact": (by_latents("exact"), (0.8, 1.0)),
    "direct, plms2": (directly("plms2"), (0.8, 1.0)),
}


def ground_of(image):
    """Where the ground of [3, H, W] is, away from the thing, and where the thing is."""
    border = torch.cat([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], dim=1)
    far = (image - border.median(dim=1).values[:, None, None]).abs().amax(0) > 0.4
    far = Image.fromarray((far * 255).numpy().astype(np.uint8)).filter(ImageFilter.MedianFilter(3))
    spread = np.asarray(far.filter(ImageFilter.MaxFilter(7)))
    core = np.asarray(far.filter(ImageFilter.MinFilter(3)))
    return torch.from_numpy(spread == 0), torch.from_numpy(core > 0)


def psnr(a, b, where):
    mse = float((a.clamp(-1, 1) - b)[:, where].square().mean())
    return 10 * math.log10(4 / max(mse, 1e-12))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--ways", nargs="+", default=[], help="ways with this in their name")
    parser.add_argument("--strengths", nargs="+", type=float)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    with torch.inference_mode():
        measure(args)


def measure(args):
    dtype = pick_dtype("auto", torch.device("cpu"))  # bfloat16 is slow where it is imitated
    net, reader = models.load("emoji", dtype=dtype), clip.load("emoji")
    ways = {n: w for n, w in WAYS.items() if not args.ways or any(word in n for word in args.ways)}
    results, rows = {}, []
    for kind, source_text, target_text in EDITS:
        embeds = reader.encode_text([source_text, target_text])

        def model(i, weight, embeds=embeds):
            return diffusion.guided(net, embeds[i : i + 1], [weight])

        source, target = model(0, SOURCE_WEIGHT), model(1, TARGET_WEIGHT)
        if kind == "painted":
            images = paint(source_text)
        else:
            noise = diffusion.noise(SEEDS, SHAPE)
            images = diffusion.sample(
                model(0, 3.0), noise, diffusion.schedule("spliced", 25), "plms"
            )
            images = in_8_bits(images)
        aim = torch.nn.functional.normalize(embeds[1:])
        shown = [to_image(images[0])]
        for name, (edit, strengths) in ways.items():
            for strength in args.strengths or strengths:
                edited = edit(source, target, images, args.steps, strength)
                similar = (reader.encode_image(edited.clamp(-1, 1)) @ aim.T).mean()
                fidelity = []
                for before, after in zip(images, edited, strict=True):
                    ground, thing = ground_of(before)
                    fidelity.append(psnr(after, before, thing if kind == "ground" else ground))
                found = results.setdefault((name, strength), {}).setdefault(kind, [])
                found.append((float(similar), float(np.mean(fidelity))))
                shown.append(to_image(edited[0]))
        rows.append((target_text, [], shown))
        print(target_text, file=sys.stderr, flush=True)
    print_table(results)
    if args.output:
        from train.pictures import sheet

        sheet(rows, args.output, left=290)


def print_table(results):
    kinds = list(dict.fromkeys(kind for kind, _, _ in EDITS))
    head("way", "strength", *kinds)
    for (name, strength), found in results.items():
        cells = ["{:.3f}, {:.1f} dB".format(*np.mean(found[kind], axis=0)) for kind in kinds]
        row(name, f"{strength:g}", *cells)


if __name__ == "__main__":
    main()
