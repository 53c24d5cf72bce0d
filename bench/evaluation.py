"""What one evaluation of a network takes: the plain way against ours, in time, memory and rate.

    python bench/evaluation.py [--model NAME] [--size N] [--rows N] [--chunk N] [--runs N]
        [--compile] [--dtypes NAME ...]

An image under one prompt is two rows: the prompt and no prompt. The plain way computes as the
published script does: in float32, on contiguous tensors, with attention as two products and a
softmax, in place where that script is; its weights are read by torch.load into a network of random
ones. Ours computes in the dtype that `auto` takes, and in those of --dtypes as well. Each
measurement is a process of its own, in turns; its first evaluation is not timed. Peak memory is
that of the process from its start, and that of the evaluations once the network is there, both with
torch's libraries.
The rate is that of all products and convolutions, beside the machine's own when it multiplies
matrices of 4096 x 4096 in bfloat16. The weights are made up, of the published shapes.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.common import head, machine, made_up_checkpoint, measured, row  # noqa: E402
from bench.loading import memory, plain  # noqa: E402

DTYPES = ("float32", "bfloat16", "float16")
TIMED = 3  # evaluations in a process
SIDE = 4096


def plain_attention(q, k, v):
    scale = q.shape[3] ** -0.25
    return ((q * scale) @ (k.transpose(2, 3) * scale)).softmax(3) @ v


def plain_modulation(self, x, features):
    import torch
    from torch.nn import functional

    scale, shift = self.layer(features)[:, :, None, None].chunk(2, dim=1)
    return torch.addcmul(shift, functional.group_norm(x, 1), scale + 1)


def plain_block(self, x, features):
    from torch.nn import functional

    h = self.main["0"](x)
    if "4" in self.main:
        h = self.main["4"](functional.relu_(self.main["2"](h, features)))
    else:
        h = self.main["2"](functional.relu_(h))
    if "6" in self.main:
        h = self.main["6"](h, features)
    return (functional.relu_(h) if self.relu else h) + self.skip(x)


def plain_forward(self, x, t, clip_embed=None):
    """As `UNet.forward`, but in the order in memory that x has, which is that of the weights."""
    import torch
    from torch.nn import functional

    from diffusion.objective import log_snr

    features = self.map(t, clip_embed) if self.arch.clip_dim else None
    s = log_snr(t.double()).float() if self.arch.timestep == "log_snr" else t
    h = functional.pixel_unshuffle(x, self.arch.patch)
    planes = self.timestep_embed(s)[:, :, None, None].expand(-1, -1, *h.shape[2:])
    h = torch.cat([h, planes], dim=1)
    for layer in self.net:
        h = layer(h, features)
    return functional.pixel_shuffle(h, self.arch.patch)


def go_the_plain_way():
    """In this process networks compute as the published script does."""
    from torch.nn import functional

    from models import unet

    functional.scaled_dot_product_attention = plain_attention
    unet.Modulation.forward, unet.Block.forward = plain_modulation, plain_block
    unet.UNet.forward = plain_forward


def load(way, name, file):
    import torch

    import models
    from runner.device import compiled, pick_dtype

    if way == "plain":
        go_the_plain_way()
        return plain(name, file)
    device = torch.device("cpu")
    packed, dtype = way != "compiled", way if way in DTYPES else "auto"
    net = models.load(name, file, device, pick_dtype(dtype, device), packed)
    return net if packed else compiled(net)


def measure_here(way, args):
    """Evaluates in this process and prints seconds, peak memory in bytes and FLOPs as JSON."""
    import torch

    from diffusion.chunking import in_chunks

    found = {}
    with torch.inference_mode():
        if way == "matmul":
            a, b = (torch.randn(SIDE, SIDE).bfloat16() for _ in range(2))
            found["flops"] = 2 * SIDE**3

            def work():
                return a @ b
        else:
            net = load(way, args.model, args.file)
            call = in_chunks(net, args.chunk or getattr(net, "chunk", None))
            print(f"{way}: {next(net.net.parameters()).dtype}", file=sys.stderr)
            x, cond = torch.randn(args.rows, 3, args.size, args.size), torch.zeros(args.rows, 512)
            t = torch.full([args.rows], 0.7)

            def work():
                return call(x, t, cond)

        loading = memory("self", "VmHWM")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        start = time.perf_counter()
        work()
        found["first"], seconds = time.perf_counter() - start, []
        for _ in range(TIMED):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        evaluating = memory("self", "VmHWM")
        found["seconds"] = statistics.median(seconds)
        found |= {"peak": max(loading, evaluating), "evaluating": evaluating}
    print(json.dumps(found))


def measure(way, args, file):
    command = [__file__, "--model", args.model, "--size", args.size, "--rows", args.rows]
    command += ["--chunk", args.chunk] if args.chunk and way != "plain" else []
    return measured(*command, "--measure", way, "--file", file)[0]


def count_flops(args):
    """FLOPs of the products and convolutions of one evaluation."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import models

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net = models.build(args.model)
        net(
            torch.zeros(args.rows, 3, args.size, args.size),
            torch.zeros(args.rows),
            torch.zeros(args.rows, 512),
        )
    return counter.get_total_flops()


def compare(args, file):
    print(machine())
    ways = ["matmul", "plain", "ours", *(["compiled"] if args.compile else []), *args.dtypes]
    results = {way: [] for way in ways}
    for _ in range(args.runs):
        for way in ways:
            results[way].append(measure(way, args, file))
            print(way, results[way][-1], file=sys.stderr, flush=True)
    middle = {
        way: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for way, runs in results.items()
    }
    matmul, flops = middle.pop("matmul"), count_flops(args)
    best = matmul["flops"] / matmul["seconds"]
    print(
        f"{args.model}, {args.rows} rows of {args.size} x {args.size}: {flops / 1e9:.0f} GFLOP; "
        f"{SIDE} x {SIDE} matrices in bfloat16: {best / 1e9:.0f} GFLOP/s; "
        f"medians of {args.runs} runs"
    )
    columns = ("", "seconds", "times as fast", "peak memory", "", "of evaluations", "")
    head(*columns, "GFLOP/s", "of the matrices'")
    for way, found in middle.items():
        rate, base = flops / found["seconds"], middle["plain"]
        cells = [way, f"{found['seconds']:.2f}", f"{base['seconds'] / found['seconds']:.2f}"]
        for key in ("peak", "evaluating"):
            cells += [f"{found[key] / 1e9:.2f} GB", f"{found[key] / base[key]:.0%}"]
        row(*cells, f"{rate / 1e9:.0f}", f"{rate / best:.0%}")
    if args.compile:
        print(f"The first evaluation takes {middle['compiled']['first']:.1f} s when compiled.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="cc12m_1", help="a published conditional network")
    parser.add_argument("--size", type=int, default=256, help="of the image, in pixels")
    parser.add_argument("--rows", type=int, default=2, help="images times conditions")
    parser.add_argument("--chunk", type=int, help="images in a call of ours (as the scripts do)")
    parser.add_argument("--runs", type=int, default=3, help="measurements of each way")
    parser.add_argument("--compile", action="store_true", help="measure --compile as well")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=[], help="of ours as well")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure_here(args.measure, args)
        return
    if args.file:
        compare(args, args.file)
        return
    with made_up_checkpoint(args.model) as file:
        compare(args, file)


if __name__ == "__main__":
    main()
