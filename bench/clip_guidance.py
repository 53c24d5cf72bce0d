"""What a step of CLIP guidance takes: the plain way against ours, in time and memory.

    python bench/clip_guidance.py [--model NAME] [--size N] [--runs N]

One step of `clip_sample.py` with 16 crops, for one image. The plain way computes in float32, cuts
the crops in a loop, pools each on its own, and keeps everything for one way back. Each measurement
is a process of its own, in turns: its first step is not timed. Peak memory is that of the steps,
everything included: weights, and pages of the mapped checkpoint that the system could take back.
"outside" is a step outside of `--guidance-interval`. The weights are made up, of the published
shapes.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.common import head, machine, made_up_checkpoint, measured, row, write_clip  # noqa: E402
from bench.loading import memory  # noqa: E402

WAYS = ("plain", "ours", "ours, every 2", "ours, outside", "ours, low memory")
CUTN = 16
T = (0.7, 0.69, 0.68)  # one step to warm up, then two


def plain_model(net, reader, target, cond, sources):
    """A guided model as most scripts write it."""
    import torch
    from torch.nn.functional import adaptive_avg_pool2d, interpolate

    import diffusion
    from models.clip_guidance import draw_boxes, spherical_distance

    def model(x, t):
        alpha, sigma = (a.float()[:, None, None, None] for a in diffusion.alpha_sigma(t))
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            v = net(x, t, cond)
            pred = alpha * x - sigma * v
            if min(pred.shape[2:]) < 256:
                pred = interpolate(pred, scale_factor=2, mode="bilinear", align_corners=False)
            size = reader.image_size
            boxes = draw_boxes(sources, CUTN, pred.shape[2:], size)[0].tolist()
            crops = [
                adaptive_avg_pool2d(pred[:, :, top : top + side, left : left + side], size)
                for top, left, side in boxes
            ]
            seen = reader.encode_image(torch.cat(crops))
            loss = 500 * spherical_distance(seen, target).mean()
            (grad,) = torch.autograd.grad(loss, x)
        return v.detach() + grad * sigma / alpha

    return model


def our_model(net, reader, target, cond, sources, way):
    import diffusion
    from models.clip_guidance import clip_gradient
    from models.unet import recompute_gradients
    from runner.steering import CROPS_AT_ONCE

    lean, every = "low" in way, 2 if "every" in way else 1
    interval = (0.9, 1.0) if "outside" in way else (0.0, 1.0)
    if lean:
        recompute_gradients(net)
    gradient = clip_gradient(reader, target, sources, CUTN, scale=500.0, at_once=CROPS_AT_ONCE)
    return diffusion.steered(lambda x, t: net(x, t, cond), gradient, interval, every, lean)


def measure_here(way, name, side, file, clip_file):
    """Takes the steps in this process and prints seconds of one and peak memory in bytes."""
    import torch

    import diffusion
    import models
    from models import clip
    from runner.device import pick_clip_dtype, pick_dtype

    cpu = torch.device("cpu")
    dtype = torch.float32 if way == "plain" else pick_dtype("auto", cpu, gradients=True)
    torch.set_grad_enabled(False)
    reader = clip.load("ViT-B-16", clip_file)
    target = torch.nn.functional.normalize(reader.encode_text(["a lighthouse in a storm"]))
    net = models.load(name, file, dtype=dtype)
    sources = diffusion.generators([0])
    if way == "plain":
        model = plain_model(net, reader, target, target, sources)
    else:
        reader.read_images_in(pick_clip_dtype("auto", cpu))
        model = our_model(net, reader, target, target, sources, way)
    x = diffusion.noise([0], (3, side, side))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    for i, t in enumerate(T):
        if i == 1:
            start = time.perf_counter()
        v = model(x, torch.tensor([t], dtype=torch.float64))
        assert torch.isfinite(v).all()
    seconds = (time.perf_counter() - start) / (len(T) - 1)
    print(json.dumps({"seconds": seconds, "peak": memory("self", "VmHWM")}))


def compare(args, file, clip_file):
    print(machine())
    results = {way: [] for way in WAYS}
    for _ in range(args.runs):
        for way in WAYS:
            command = [__file__, "--model", args.model, "--size", args.size, "--measure", way]
            results[way] += measured(*command, "--files", file, clip_file)
    print(f"{args.model} at {args.size} x {args.size}, {CUTN} crops, median of {args.runs} runs")
    head("one step", "seconds", "", "peak memory", "")
    plain = None
    for way, runs in results.items():
        values = [statistics.median(run[what] for run in runs) for what in ("seconds", "peak")]
        plain = plain or values
        seconds, peak = (value / base for value, base in zip(values, plain, strict=True))
        row(way, f"{values[0]:.1f}", f"{seconds:.0%}", f"{values[1] / 1e9:.1f} GB", f"{peak:.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="cc12m_1", help="a published network")
    parser.add_argument("--size", type=int, default=256, help="of the image, in pixels")
    parser.add_argument("--runs", type=int, default=3, help="measurements of each way")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure_here(args.measure, args.model, args.size, *args.files)
        return
    with made_up_checkpoint(args.model) as file, tempfile.NamedTemporaryFile(suffix=".pt") as clip:
        write_clip(clip.name)
        compare(args, file, clip.name)


if __name__ == "__main__":
    main()
