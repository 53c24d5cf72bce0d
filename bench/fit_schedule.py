"""Fits the schedule `fitted`: where the steps of a run lower its error most.

    python bench/fit_schedule.py [--method NAME] [--steps N] [--weight W] [--seeds N]
        [--start SLOPE ...]

The schedule is `logit` of u plus a few sines, whose slopes are searched for: each in turn is moved
up, or else down, where that lowers the error; where no move does, the moves are halved. The error
is the mean logarithm of the RMS distance from the exact drawings of the bundled model, over the
half of the seeds whose distances are in the middle. The seeds are others than those of
bench/solvers.py, which says how good the schedule is. Starts at the slopes that are in use, or
anew with `--start 0 0 0 0`; prints each improvement; Ctrl-C at any time.
"""

import argparse
import math
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import runner  # noqa: E402, F401  before torch: its threads are to sleep while they wait

# isort: split
import torch  # noqa: E402

import diffusion  # noqa: E402
from bench.solvers import Drawer, load_critic  # noqa: E402
from diffusion import schedules  # noqa: E402

FIRST_SEED = 100
FIRST_MOVE, LAST_MOVE = 0.04, 0.005


def search(error, slopes):
    """Compass search; yields (error, slopes) at the start and at each improvement."""
    best, move = error(slopes), FIRST_MOVE
    yield best, slopes
    while move >= LAST_MOVE:
        before = best
        for i in range(len(slopes)):
            for change in (move, -move):
                there = [slope + change * (i == j) for j, slope in enumerate(slopes)]
                if (found := error(there)) < best:
                    best, slopes = found, there
                    yield best, slopes
                    break
        if best == before:
            move /= 2


def main():
    rows = diffusion.METHODS.items()
    usual = [name for name, row in rows if row.eta_range[0] == 0 and row.evaluations is not None]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--method", default="ab23", choices=usual)
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--weight", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=48)
    parser.add_argument("--start", type=float, nargs="+", default=list(schedules.SLOPES))
    args = parser.parse_args()
    drawer = Drawer(args.seeds, load_critic(), first_seed=FIRST_SEED)
    u = torch.linspace(1, 0, args.steps + 1, dtype=torch.float64)

    def error(slopes):
        timesteps = schedules.fitted(u, slopes)
        if not (timesteps[:-1] > timesteps[1:]).all():
            return math.inf
        images, _ = drawer.draw(args.weight, timesteps, args.method)
        rms = drawer.errors(args.weight, images).sort().values
        quarter = len(rms) // 4
        return float(rms[quarter : len(rms) - quarter].log().mean())

    with torch.inference_mode():
        for found, slopes in search(error, args.start):
            print(f"{math.exp(found):.5f}  " + " ".join(f"{s:.3f}" for s in slopes), flush=True)


if __name__ == "__main__":
    main()
