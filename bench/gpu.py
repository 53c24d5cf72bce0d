"""Images a second on a GPU: the plain way in float16 autocast against ours.

    python bench/gpu.py [--model NAME] [--size N] [--batches N ...] [--ways NAME ...]
        [--device NAME] > bench/results/CARD.md

Draws images under one prompt: the plain way with 50 steps of `plms` and both conditions in every
evaluation, ours with default flags, and ours with CUDA graphs by torch.compile's "reduce-overhead",
which no flag of the scripts asks for. Each way is a process of its own. For every batch it draws
once to warm up and once for the clock; an evaluation of twice as many rows as the batch has images
is timed besides, and its rate set beside the card's own when it multiplies matrices of 8192 x 8192
in float16. Peak memory is what torch had allocated. The weights are made up, of the published
shapes. With `--device cpu` it runs in bfloat16, to see that it runs.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.common import head, made_up_checkpoint, measured, row  # noqa: E402
from bench.loading import plain  # noqa: E402
from models import NETWORKS  # noqa: E402
from runner.device import pick_device  # noqa: E402
from values.errors import UserError  # noqa: E402

WAYS = ("plain", "ours", "ours, CUDA graphs")
WEIGHT = 3.0
TIMED = 5  # evaluations


def load(way, args, device, dtype):
    """A network as a way has it: a callable (x, t, embed) -> v."""
    import torch

    import models
    from bench.evaluation import go_the_plain_way

    if way != "plain":
        net = models.load(args.model, args.file, device, dtype)
        return net if way == "ours" else torch.compile(net, mode="reduce-overhead")
    go_the_plain_way()
    net = plain(args.model, args.file).to(device)

    def call(x, t, embed):
        with torch.autocast(device.type, dtype):
            return net(x, t, embed).float()

    return call


def draw(way, net, x, embed):
    import diffusion
    from cli.options import options_of
    from cli.scripts import CFG

    name = "plms" if way == "plain" else options_of(CFG)["method"].default
    model = diffusion.guided(net, embed, [WEIGHT])
    timesteps = diffusion.schedule(diffusion.default_schedule(name), diffusion.default_steps(name))
    return diffusion.sample(model, x, timesteps, name)


def measure_here(way, args):
    """Prints what a way takes for each batch as JSON, a line each."""
    import torch

    device = pick_device(args.device)
    cuda = device.type == "cuda"
    dtype = torch.float16 if cuda else torch.bfloat16
    wait = torch.cuda.synchronize if cuda else lambda: None

    def seconds(work):
        wait()
        start = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - start

    if way == "matmul":
        side = 8192 if cuda else 1024
        a, b = torch.randn(2, side, side, device=device).to(dtype)
        taken = min(seconds(lambda: a @ b) for _ in range(TIMED * 4))
        card = torch.cuda.get_device_name(device) if cuda else "a CPU"
        print(json.dumps({"rate": 2 * side**3 / taken, "card": card}))
        return
    net = load(way, args, device, dtype)
    row = NETWORKS[args.model].architecture
    for batch in args.batches:
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        x = torch.randn(batch, 3, args.size, args.size, device=device)
        embed = torch.randn(1, row.clip_dim, device=device)
        rows, t = x.repeat(2, 1, 1, 1), torch.full([batch * 2], 0.7, device=device)
        conds = embed.repeat(batch * 2, 1)
        draw(way, net, x, embed)
        found = {
            "batch": batch,
            "drawing": seconds(lambda x=x, embed=embed: draw(way, net, x, embed)),
            "evaluation": statistics.median(
                seconds(lambda rows=rows, t=t, conds=conds: net(rows, t, conds))
                for _ in range(TIMED)
            ),
            "peak": torch.cuda.max_memory_allocated() if cuda else 0,
        }
        print(json.dumps(found), flush=True)


def measure(way, args):
    command = [__file__, "--model", args.model, "--size", args.size, "--device", args.device]
    found = measured(*command, "--measure", way, "--file", args.file, "--batches", *args.batches)
    print(way, *found, sep="\n", file=sys.stderr, flush=True)
    return found


def compare(args):
    from bench.evaluation import count_flops

    args.rows = 2
    flops, (machine,) = count_flops(args), measure("matmul", args)
    results = {way: measure(way, args) for way in args.ways}
    print(
        f"{args.model} at {args.size} x {args.size} on {machine['card']}, whose matrices take "
        f"{machine['rate'] / 1e12:.3g} TFLOP/s; a row of the network: {flops / 2e9:.0f} GFLOP\n"
    )
    columns = ("batch", "way", "images a second", "times as fast", "ms an evaluation", "TFLOP/s")
    head(*columns, "of the matrices'", "peak memory")
    for i, batch in enumerate(args.batches):
        base = results[args.ways[0]][i]["drawing"]
        for way in args.ways:
            found = results[way][i]
            rate = flops * batch / found["evaluation"]
            cells = [batch, way, f"{batch / found['drawing']:.3g}"]
            cells += [f"{base / found['drawing']:.1f}", f"{found['evaluation'] * 1e3:.1f}"]
            cells += [f"{rate / 1e12:.3g}", f"{rate / machine['rate']:.0%}"]
            row(*cells, f"{found['peak'] / 1e9:.1f} GB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    published = [name for name, row in NETWORKS.items() if row.clip and row.url]
    parser.add_argument("--model", default="cc12m_1", choices=published)
    parser.add_argument("--size", type=int, default=256, help="of the image, in pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="images at once")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        import torch

        with torch.inference_mode():
            measure_here(args.measure, args)
        return
    try:
        pick_device(args.device)
    except UserError as error:
        parser.error(str(error))
    with made_up_checkpoint(args.model) as args.file:
        compare(args)


if __name__ == "__main__":
    main()
