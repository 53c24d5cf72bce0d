"""What keeping the features of a U-Net's deep levels over evaluations would save, and cost.

    python bench/feature_reuse.py [--seeds N]

What comes up from a level is computed in every K-th evaluation and kept in between (DeepCache: Ma
et al., 2023, arXiv 2312.00858). Draws with the bundled model at weight 3, in float32, and prints
the time beside that without, the RMS distance from the exact drawings (median over the seeds; 2/255
is one grey level), what the judge of `train.evaluate` finds right, and the products and
convolutions that would be saved in cc12m_1; then the same of fewer steps, which save as well.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import diffusion  # noqa: E402
import models  # noqa: E402
from bench.solvers import Drawer, load_critic  # noqa: E402
from cli.options import options_of  # noqa: E402
from cli.scripts import CFG  # noqa: E402
from models.unet import Level  # noqa: E402

WEIGHT = 3.0
LARGE = "cc12m_1"
KEPT = [(1, 2), (1, 3), (2, 2), (2, 3), (2, 6)]  # (depth of the level from which, K)
STEPS = 18  # of the default method, to be less than a grey level off if guided everywhere
FEWER = (15, 12, 10, 9, 6)


def levels_of(net):
    """The levels below the full resolution, from the top down."""
    return [module for module in net.modules() if isinstance(module, Level)]


def keep(net, depth, every):
    """Makes a network keep what comes up from a level; returns a function that undoes it."""
    level = levels_of(net)[depth - 1]
    count, last, kept = -1, 0.0, None

    def begin(_, arguments):
        nonlocal count, last
        t = float(arguments[1].flatten()[0]) if not arguments[1].is_meta else last
        count, last = (0 if t > last else count + 1), t  # a run begins at the highest t

    def forward(x, features):
        nonlocal kept
        own = x.shape[1]
        if count % every == 0:
            both = Level.forward(level, x, features)
            kept = both[:, own:] if level.skip_first else both[:, :-own]
            return both
        return torch.cat([x, kept] if level.skip_first else [kept, x], dim=1)

    hook, level.forward = net.register_forward_pre_hook(begin), forward

    def undo():
        hook.remove()
        del level.forward

    return undo


def saved(depth, every):
    """The share of the FLOPs of cc12m_1 that is saved, whose levels are as many halvings apart."""
    with torch.device("meta"):
        net, side = models.build(LARGE), models.NETWORKS[LARGE].shape[1]
        inputs = torch.zeros(2, 3, side, side), torch.ones(2), torch.zeros(2, 512)

        def flops(evaluations):
            with FlopCounterMode(display=False) as counter:
                for _ in range(evaluations):
                    net(*inputs)
            return counter.get_total_flops() / evaluations

        whole = flops(1)
        keep(net, depth, every)
        return 1 - flops(every) / whole


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=32)
    args = parser.parse_args()
    drawer, method = Drawer(args.seeds, load_critic()), options_of(CFG)["method"].default
    row = diffusion.METHODS[method]

    def draw(steps):
        """Images, and the seconds they took."""
        start = time.perf_counter()
        images, _ = drawer.draw(WEIGHT, diffusion.schedule(row.schedule, steps), method)
        return images, time.perf_counter() - start

    def show(steps, depth=None, every=None):
        kept, flops = "nothing", 1 - steps / STEPS
        usual = draw(STEPS)[1]
        if depth:
            kept, flops = f"from level {depth} down, in {every - 1} of {every}", saved(depth, every)
            undo = keep(drawer.net, depth, every)
        images, seconds = draw(steps)
        if depth:
            undo()
        error = statistics.median(drawer.errors(WEIGHT, images).tolist())
        right = drawer.right(images)
        right = "" if right is None else f"{right / args.seeds:.0%}"
        cells = [f"{steps} | {kept}", f"{flops:.0%}", f"{seconds / usual:.0%}", f"{error:.4f}"]
        print("|", " | ".join([*cells, right]), "|", flush=True)

    with torch.inference_mode():
        drawer.solution(WEIGHT)
        print("| steps | kept | FLOPs saved in cc12m_1 | time | RMS error | right |")
        print("| --- | --- | --- | --- | --- | --- |")
        show(STEPS)
        for depth, every in KEPT:
            show(STEPS, depth, every)
        for steps in FEWER:
            show(steps)


if __name__ == "__main__":
    main()
