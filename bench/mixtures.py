"""How near methods come to the exact image of mixtures of Gaussians with the spectrum of photos.

    python bench/mixtures.py [--methods NAME ...] [--schedules NAME ...] [--evaluations N ...]

The network is a formula: v of a mixture of six Gaussians, the first of which is the prompt. Their
means and what varies around them have the spectrum of photos, variances that fall as 1 / f^2 (van
der Schaaf and van Hateren, 1996), or a flatter or steeper one. Nothing was trained, and no
schedule was fitted to it. Prints the RMS distance from 400 steps of `ab2` in grey levels, for each
method and schedule: the geometric mean over the mixtures, and the worst of them.
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
from bench.common import head, row  # noqa: E402

SIDE, MODES, SEEDS, STEPS = 32, 6, 2, 400
LEVELS = 127.5
# (the power of 1 / f that variances fall with, the share of the variance within a mode)
MIXTURES = ((1, 0.5), (2, 0.1), (2, 0.5), (2, 0.9), (3, 0.5))


def spread(power):
    """The standard deviation of each frequency [SIDE * SIDE]; 0.5 for the image as a whole."""
    f = torch.fft.fftfreq(SIDE, dtype=torch.float64) * SIDE
    f = (f[:, None] ** 2 + f[None] ** 2).sqrt().clamp(min=1).flatten()
    falls = f ** (-power / 2)
    return 0.5 * falls / falls.square().mean().sqrt()


class Mixture:
    """v of a mixture of Gaussians, in coordinates in which their covariance is diagonal."""

    def __init__(self, power, within):
        generator = torch.Generator().manual_seed(0)
        std = spread(power)
        drawn = torch.randn(MODES, len(std), generator=generator, dtype=torch.float64)
        self.means, self.std = drawn * std * math.sqrt(1 - within), std * math.sqrt(within)

    def v(self, x, t, means):
        alpha, sigma = (a[:, None] for a in diffusion.alpha_sigma(t))
        variance = alpha**2 * self.std**2 + sigma**2
        apart = x[:, None] - alpha[:, None] * means  # [N, modes, D]
        share = (-apart.square() / variance[:, None] / 2).sum(2).softmax(1)[:, :, None]
        gain = (alpha * self.std**2 / variance)[:, None]
        pred = (share * (means + gain * apart)).sum(1)
        eps = (share * apart * (sigma / variance)[:, None]).sum(1)
        return alpha * eps - sigma * pred

    def guided(self, weight):
        """The model (x, t) -> v under a prompt for the first Gaussian."""

        def model(x, t):
            flat = x.flatten(1)
            v0, v1 = self.v(flat, t, self.means), self.v(flat, t, self.means[:1])
            return (v0 + weight * (v1 - v0)).view_as(x)

        return model


def main(argv=None):
    p = argparse.ArgumentParser(usage="python bench/mixtures.py [flags]", description=__doc__)
    steady = [name for name, of in diffusion.METHODS.items() if of.eta != 1 and of.evaluations]
    steady = [name for name in steady if diffusion.METHODS[name].evaluations(9) == 9]
    p.add_argument("--methods", nargs="+", choices=steady, default=["ab23", "ab2", "unipc"])
    p.add_argument(
        "--schedules", nargs="+", choices=diffusion.SCHEDULES, default=["logit", "fitted", "log"]
    )
    p.add_argument("--weights", nargs="+", type=float, default=[1.0, 3.0, 6.0])
    p.add_argument("--evaluations", nargs="+", type=int, default=[8, 10, 12, 15, 18, 25])
    args = p.parse_args(argv)
    x = diffusion.noise(range(SEEDS), (1, SIDE, SIDE)).double()
    head("weight", "method", "schedule", *(f"{n} evaluations" for n in args.evaluations))
    for weight in args.weights:
        models = [Mixture(*of).guided(weight) for of in MIXTURES]
        long = diffusion.schedule("logit", STEPS)
        exact = [diffusion.sample(model, x, long, "ab2") for model in models]
        for method in args.methods:
            for schedule in args.schedules:
                cells = []
                for evaluations in args.evaluations:
                    timesteps = diffusion.schedule(schedule, evaluations)
                    off = [
                        diffusion.sample(model, x, timesteps, method) - image
                        for model, image in zip(models, exact, strict=True)
                    ]
                    levels = torch.stack(off).square().mean((1, 2, 3, 4)).sqrt() * LEVELS
                    cells.append(f"{levels.log().mean().exp():.2f} ({levels.max():.2f})")
                row(f"{weight:g}", f"`{method}`", f"`{schedule}`", *cells)


if __name__ == "__main__":
    main()
