"""What each dtype costs in precision on a CPU, and what it gives in speed.

    python bench/dtypes.py networks [--model NAME ...]                 errors of v
    python bench/dtypes.py drawings                                    what becomes of pictures
    python bench/dtypes.py speed [--model NAME ...] [--runs N]         one evaluation

`networks`: the published networks with made-up weights, on the inputs of tests/data/networks.npz,
against float32: RMS of the difference by RMS of v; and of the inputs of int8 convolutions the
largest value by the RMS, of the median layer and of the worst. `drawings`: `emoji`, two prompts at
weight 3, eight seeds, methods with their default steps, in grey levels against float32; a picture
taken up to its latent by `exact` and down again; and the largest value by the RMS in layers of
int8. `speed`: one row at the network's own size, each dtype in turns in processes of their own, the
quickest of all evaluations: it is the one least disturbed. The environment's
ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI makes a CPU forget its bfloat16.
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.common import head, made_up_checkpoint, measured, row  # noqa: E402

DTYPES = ("float32", "bfloat16", "int8")
METHODS = ("ab23", "dpmpp_2m", "ddim", "plms", "exact", "iplms")
PROMPTS = ("a red apple on a blue background", "a cat on a green background")
TIMED = 3  # evaluations in a process


def ways_of(name):
    """{dtype: a network with made-up weights}, one after the other; all share their weights."""
    import torch

    import models
    from models import int8
    from models.networks import convert
    from tests.weights import deterministic_state_dict

    with torch.device("meta"):
        shapes = {key: tuple(w.shape) for key, w in models.build(name).state_dict().items()}
    weights = deterministic_state_dict(shapes)
    for dtype in DTYPES:
        with torch.device("meta"):
            net = models.build(name)
        net.load_state_dict(weights, strict=True, assign=True)
        net = net.eval().requires_grad_(False)
        if dtype == "int8":
            net = int8.quantise(net)
        else:
            net = convert(net, torch.device("cpu"), getattr(torch, dtype))
        yield dtype, net


def ranges(net, inputs):
    """Largest value by RMS of what each int8 convolution is given in one evaluation, sorted."""
    from models.int8 import Int8Conv2d

    found = []

    def look(layer, given):
        x = given[0].relu() if layer.follows_relu else given[0]
        found.append(float(x.abs().max() / x.square().mean().sqrt()))

    layers = [layer for layer in net.modules() if isinstance(layer, Int8Conv2d)]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    net(*inputs)
    for hook in hooks:
        hook.remove()
    return sorted(found)


def networks(args):
    import numpy as np
    import torch

    from models import NETWORKS

    with np.load(ROOT / "tests" / "data" / "networks.npz") as arrays:
        known = {key: torch.from_numpy(arrays[key]) for key in arrays}
    head("network", "bfloat16", "int8", "largest by RMS, median layer", "worst layer")
    for name in args.model or [name for name in NETWORKS if f"{name}/x" in known]:
        inputs = [known[k] for k in (f"{name}/{i}" for i in ("x", "t", "clip_embed")) if k in known]
        off, spread, exact = {}, None, None
        for dtype, net in ways_of(name):
            v = net(*inputs)
            exact = v if exact is None else exact
            off[dtype] = f"{float((v - exact).norm() / exact.norm()):.2%}"
            if dtype == "int8":
                spread = ranges(net, inputs)
        row(
            *(name, off["bfloat16"], off["int8"]),
            *(f"{spread[len(spread) // 2]:.0f}", f"{spread[-1]:.0f}"),
        )


def drawings(_):
    import torch

    import diffusion
    import models
    from bench.pictures import psnr
    from models import clip

    embeds = clip.load("emoji").encode_text(list(PROMPTS))
    noise = diffusion.noise(range(8), (3, 64, 64))
    up, trips = diffusion.ascending("spliced", 25), {}
    nets = {d: models.load("emoji", dtype=getattr(torch, d), packed=True) for d in DTYPES}
    head("method", "steps", *(f"{dtype}: RMS, worst drawing, largest" for dtype in DTYPES[1:]))
    for method in METHODS:
        default, exact, cells = diffusion.METHODS[method], None, []
        schedule = diffusion.default_schedule(method, models.NETWORKS["emoji"].min_t)
        timesteps = diffusion.schedule(schedule, default.steps)
        for net in nets.values():
            model = diffusion.guided(net, [embeds[:1]] * 4 + [embeds[1:]] * 4, [[3.0]] * 8)
            drawn = diffusion.sample(model, noise, timesteps, method).float().clamp(-1, 1)
            exact = drawn if exact is None else exact
            levels = (drawn - exact).double() * 127.5
            each = levels.square().mean((1, 2, 3)).sqrt()
            rms, largest = levels.square().mean().sqrt(), levels.abs().max()
            cells.append(f"{float(rms):.2f}, {float(each.max()):.2f}, {float(largest):.0f}")
        row(method, default.steps, *cells[1:])
    picture = exact[:1].double()
    for dtype, net in nets.items():
        empty = diffusion.guided(net, torch.zeros(0, 256), [])
        empty = diffusion.in_doubles(empty, torch.device("cpu"))
        latents = diffusion.to_latents(empty, picture, up, "exact")
        trips[dtype] = psnr(picture, diffusion.from_latents(empty, latents, up[::-1], "exact"))
    print("a round trip by `exact`:", ", ".join(f"{d} {trip:.0f} dB" for d, trip in trips.items()))
    half = (exact + noise) / 2**0.5  # drawings at t = 0.5
    spread = ranges(nets["int8"], (half, torch.full([8], 0.5), embeds.repeat_interleave(4, 0)))
    print(f"largest by RMS in layers of int8: {spread[0]:.0f} to {spread[-1]:.0f}")


def evaluate_here(dtype, name, file):
    """Prints the seconds of loading and of evaluations in a dtype, and peak memory, as JSON."""
    import torch

    import models
    from bench.loading import memory
    from runner.memory import give_back_freed_memory, keep_freed_memory

    began = time.perf_counter()
    net = models.load(name, file, dtype=getattr(torch, dtype), packed=True)
    found = {"loading": time.perf_counter() - began}
    inputs = [torch.randn(1, *models.NETWORKS[name].shape), torch.tensor([0.7])]
    if net.arch.clip_dim:
        inputs.append(torch.zeros(1, net.arch.clip_dim))
    give_back_freed_memory()
    net(*inputs)
    give_back_freed_memory()  # as runs do
    keep_freed_memory()
    net(*inputs)
    seconds = []
    for _ in range(TIMED):
        began = time.perf_counter()
        net(*inputs)
        seconds.append(time.perf_counter() - began)
    print(json.dumps(found | {"seconds": min(seconds), "peak": memory("self", "VmHWM")}))


def speed(args):
    head("network", "dtype", "one row, seconds", "float32 by it", "loading", "peak memory")
    for name in args.model or ["cc12m_1"]:
        with made_up_checkpoint(name) as file:
            ways, found = DTYPES, {}
            for _ in range(args.runs):
                for dtype in ways:
                    run = measured(__file__, "evaluate", "--model", name, "--of", dtype, file)[0]
                    found.setdefault(dtype, []).append(run)
        least = {d: {k: min(run[k] for run in runs) for k in runs[0]} for d, runs in found.items()}
        for dtype, run in least.items():
            row(
                *(name, dtype, f"{run['seconds']:.2f}"),
                f"{least['float32']['seconds'] / run['seconds']:.2f}",
                *(f"{run['loading']:.1f}", f"{run['peak'] / 1e9:.2f} GB"),
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["networks", "drawings", "speed", "evaluate"])
    parser.add_argument("--model", nargs="+", help="networks (networks: all; speed: cc12m_1)")
    parser.add_argument("--runs", type=int, default=2, help="processes of each dtype (speed)")
    parser.add_argument("--of", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    import torch

    with torch.inference_mode():
        if args.what == "evaluate":
            evaluate_here(args.of[0], args.model[0], args.of[1])
        else:
            {"networks": networks, "drawings": drawings, "speed": speed}[args.what](args)


if __name__ == "__main__":
    main()
