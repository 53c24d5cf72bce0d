"""Ways to edit an image, at equal evaluations of the bundled model: by its latents, or directly.

    python bench/editing.py [--steps N] [--ways NAME ...] [-o docs/editing.png]

Edits drawings of the model and painted pictures it never saw: another colour, another thing,
another ground. Prints a table by kind of edit: how similar CLIP finds the edits to the target
prompt, and their PSNR where nothing should change (the ground, or the thing for another ground).
The picture shows the first of each pair, each way in a column. "DDS" (Hertz et al., 2023, arXiv
2304.07090), the other way to edit directly, is here alone.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1]))

import diffusion
import models
from bench.pictures import SHAPE, paint
from diffusion.solvers import evaluate
from media.tensors import to_image
from models import clip

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
    def edit(source, target, images, n, strength, weight):
        up = diffusion.ascending("spliced", n, strength)
        return diffusion.edit_by_latents(source, target, images, up, method)

    return edit


def directly(method, fresh):
    """FlowEdit, with noise drawn anew at every evaluation or once for all."""

    def edit(source, target, images, n, strength, weight):
        up = diffusion.ascending("spliced", n, strength)
        sources = diffusion.generators(range(100, 100 + len(images)))
        kept = diffusion.noise(range(100, 100 + len(images)), images.shape[1:])
        noise = (lambda: diffusion.noise(sources, images.shape[1:])) if fresh else (lambda: kept)
        return diffusion.edit_directly(source, target, images, up, method, noise)

    return edit


def delta_denoising(rate):
    """DDS: at timesteps from high to low, the image moves by the difference of the noise found."""

    def edit(source, target, images, n, strength, weight):
        sources = diffusion.generators(range(100, 100 + len(images)))
        z = images
        for t in np.linspace(strength * 0.95, 0.05, n):
            eps = diffusion.noise(sources, images.shape[1:])
            seen = [diffusion.add_noise(x, eps, float(t)) for x in (z, images)]
            found = [
                evaluate(m, x, float(t)).eps for m, x in zip((target, source), seen, strict=True)
            ]
            z = z - rate * (found[0] - found[1])
        return z

    return edit


WAYS = {
    "latents, plms": (by_latents("plms"), (0.6, 0.8, 1.0)),
    "latents, exact": (by_latents("exact"), (0.6, 0.8, 1.0)),
    "direct, ddim": (directly("ddim", True), (0.6, 0.8, 1.0)),
    "direct, plms2": (directly("plms2", True), (0.8, 1.0)),
    "direct, one noise": (directly("plms2", False), (0.6, 0.8, 1.0)),
    "DDS, rate 0.1": (delta_denoising(0.1), (1.0,)),
    "DDS, rate 0.3": (delta_denoising(0.3), (1.0,)),
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
    net, reader = models.load("emoji", dtype=torch.bfloat16), clip.load("emoji")
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
            images = ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        aim = torch.nn.functional.normalize(embeds[1:])
        row = [to_image(images[0])]
        for name, (edit, strengths) in ways.items():
            for strength in args.strengths or strengths:
                edited = edit(source, target, images, args.steps, strength, TARGET_WEIGHT)
                similar = (reader.encode_image(edited.clamp(-1, 1)) @ aim.T).mean()
                fidelity = []
                for before, after in zip(images, edited, strict=True):
                    ground, thing = ground_of(before)
                    fidelity.append(psnr(after, before, thing if kind == "ground" else ground))
                found = results.setdefault((name, strength), {}).setdefault(kind, [])
                found.append((float(similar), float(np.mean(fidelity))))
                row.append(to_image(edited[0]))
        rows.append((target_text, [], row))
        print(target_text, file=sys.stderr, flush=True)
    print_table(results)
    if args.output:
        from train.pictures import sheet

        sheet(rows, args.output, left=290)


def print_table(results):
    kinds = list(dict.fromkeys(kind for kind, _, _ in EDITS))
    print("| way | strength |", " | ".join(kinds), "|")
    print("| --- | --- |", " | ".join("---" for _ in kinds), "|")
    for (name, strength), found in results.items():
        cells = ["{:.3f}, {:.1f} dB".format(*np.mean(found[kind], axis=0)) for kind in kinds]
        print(f"| {name} | {strength:g} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
