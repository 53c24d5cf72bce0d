"""Families of invertible sampling methods, measured against each other on the bundled model.

    python bench/inversion_families.py [--quick] [--only NAME ...]

Prints a markdown table. A family is a pair of functions: `there` takes x over timesteps, either
way, and returns the states it ends with, the first of which is what it drew; `back` takes these to
where they came from. Images go to noise and back; the table has the PSNR of the worst of them.
Noise goes to images; the table has their RMS distance from a solution in 1,000 steps. `exact` is
the one that won and lives in diffusion/solvers.py; what lost is here alone. Everything is in
float64 but the network, which is in float32.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import diffusion
import models
from bench.pictures import SHAPE, pictures, psnr
from diffusion.objective import alpha_sigma, rotate
from diffusion.solvers import evaluate
from models import clip

PROMPT = "a red apple"
QUARTER = math.pi / 2  # of the circle: theta at t = 1


def velocity(model, x, t):
    return evaluate(model, x, t).v


def turn(x, v, t, s):
    """A DDIM step."""
    return rotate(x, v, (s - t) * QUARTER)


def along_two_states(onwards, inverse=None):
    """A family of two-step methods, started by DDIM.

    Args:
        onwards: (x, v at t, x at p, p, t, s) -> x at s.
        inverse: (x, v at t, x at s, p, t, s) -> x at p; None: onwards with p and s exchanged.
    """

    def swapped(x, v, after, p, t, s):
        return onwards(x, v, after, s, t, p)

    def there(model, x, ts):
        before, x = x, turn(x, velocity(model, x, ts[0]), ts[0], ts[1])
        for p, t, s in zip(ts, ts[1:], ts[2:], strict=False):
            before, x = x, onwards(x, velocity(model, x, t), before, p, t, s)
        return x, before

    def back(model, states, ts):
        after, x = states
        for s, t, p in zip(ts[::-1], ts[-2::-1], ts[-3::-1], strict=False):
            after, x = x, (inverse or swapped)(x, velocity(model, x, t), after, p, t, s)
        return x

    return there, back


def leapfrog(spread=1.0):
    """Leapfrog in y = x / g, g^2 = (alpha spread)^2 + sigma^2; spread 1: plainly in theta."""

    def onwards(x, v, before, p, t, s):
        g_before, g, g_next = (scale(u) for u in (p, t, s))
        alpha, sigma = alpha_sigma(t)
        change = (v - alpha * sigma * (1 - spread**2) / g**2 * x) / g
        return g_next * (before / g_before + (s - p) * QUARTER * change)

    def scale(t):
        alpha, sigma = alpha_sigma(t)
        return math.hypot(alpha * spread, sigma)

    return along_two_states(onwards)


def bdia(gamma):
    """BDIA (Zhang et al., 2023, arXiv 2307.10829): leapfrog in DDIM steps.

    A gamma below 1 damps on the way there, whichever way that is, and grows as much on the way
    back; the paper damps what draws.
    """

    def onwards(x, v, before, p, t, s):
        return gamma * before + turn(x, v, t, s) - gamma * turn(x, v, t, p)

    def inverse(x, v, after, p, t, s):
        return (after - turn(x, v, t, s)) / gamma + turn(x, v, t, p)

    return along_two_states(onwards, inverse)


def o_belm():
    """O-BELM (Wang et al., 2024, arXiv 2410.07273): second order in sigma / alpha, uneven steps."""

    def onwards(x, v, before, p, t, s):
        alpha, sigma = alpha_sigma(t)
        ratios = [math.tan(u * QUARTER) for u in (p, t, s)]
        h_before, h = (b - a for a, b in itertools.pairwise(ratios))
        q = h / h_before
        y = q**2 * before / alpha_sigma(p)[0] + (1 - q**2) * x / alpha
        return alpha_sigma(s)[0] * (y + h * (1 + q) * (sigma * x + alpha * v))

    return along_two_states(onwards)


def reversible_heun():
    """Reversible Heun (Kidger et al., 2021, arXiv 2105.13493); the states are x and z at one t."""

    def go(model, x, z, ts):
        v = velocity(model, z, ts[0])
        for t, s in itertools.pairwise(ts):
            z_next = move(z, v, t, s) + 2 * (x - z)
            v = velocity(model, z_next, s)
            x, z = z_next + (z - move(z_next, v, s, t)) / 2, z_next
        return x, z

    def move(z, v, t, s):
        return z + (s - t) * QUARTER * v

    def there(model, x, ts):
        return go(model, x, x, ts)

    def back(model, states, ts):
        return go(model, *states, ts[::-1])[0]

    return there, back


def edict(p=0.93):
    """EDICT (Wallace et al., 2022, arXiv 2211.12446): two coupled states, two evaluations a step.

    p mixes them on the way towards the image; upwards is the inverse of that.
    """

    def step(model, x, t, s, of):
        """Scales x and adds the noise that the model sees in `of`."""
        (alpha, sigma), (alpha_s, sigma_s) = alpha_sigma(t), alpha_sigma(s)
        a = alpha_s / alpha
        return a, (sigma_s - a * sigma) * evaluate(model, of, t).eps

    def down(model, x, y, ts):
        for t, s in itertools.pairwise(ts):
            a, change = step(model, x, t, s, y)
            x = a * x + change
            a, change = step(model, y, t, s, x)
            y = a * y + change
            x = p * x + (1 - p) * y
            y = p * y + (1 - p) * x
        return x, y

    def up(model, x, y, ts):
        for s, t in itertools.pairwise(ts):
            y = (y - (1 - p) * x) / p
            x = (x - (1 - p) * y) / p
            a, change = step(model, y, t, s, x)
            y = (y - change) / a
            a, change = step(model, x, t, s, y)
            x = (x - change) / a
        return x, y

    def there(model, x, ts):
        return (up if ts[0] < ts[-1] else down)(model, x, x, ts)

    def back(model, states, ts):
        return (down if ts[0] < ts[-1] else up)(model, *states, ts[::-1])[0]

    return there, back


def fixed_point(evaluations):
    """DDIM towards the image; upwards the equation of its step is solved for x by iteration.

    With one evaluation that is plain DDIM, up as down.
    """

    def go(model, x, ts):
        for t, s in itertools.pairwise(ts):
            if s < t or evaluations == 1:
                x = turn(x, velocity(model, x, t), t, s)
                continue
            angle = (t - s) * QUARTER
            there = turn(x, velocity(model, x, s), t, s)
            for _ in range(evaluations - 1):
                there = (x - math.sin(angle) * velocity(model, there, s)) / math.cos(angle)
            x = there
        return x

    return (
        lambda model, x, ts: (go(model, x, ts),),
        lambda model, states, ts: go(model, states[0], ts[::-1]),
    )


def mccallum_foster(damping):
    """McCallum and Foster (2024, arXiv 2410.11648) around DDIM: two evaluations, twice the step."""

    def change(model, x, t, s):
        return turn(x, velocity(model, x, t), t, s) - x

    def twice(ts):
        return [*ts[:-1:2], ts[-1]]

    def there(model, x, ts):
        z = x
        for t, s in itertools.pairwise(twice(ts)):
            x = damping * x + (1 - damping) * z + change(model, z, t, s)
            z = z - change(model, x, s, t)
        return x, z

    def back(model, states, ts):
        x, z = states
        for s, t in itertools.pairwise(twice(ts)[::-1]):
            z = z + change(model, x, s, t)
            x = (x - (1 - damping) * z - change(model, z, t, s)) / damping
        return x

    return there, back


def exact():
    """The method of diffusion/solvers.py, through `diffusion.sample`."""

    def there(model, x, ts):
        seen = []
        x = diffusion.sample(model, x, ts, "exact", callback=seen.append)
        return x, seen[-1].x

    def back(model, states, ts):
        last, x = states
        return diffusion.sample(model, x, ts[-2::-1], "exact", before=(ts[-1], last))

    return there, back


# What it is -> (there, back), whether it is exactly reversible.
FAMILIES = {
    "exact (leapfrog, spread 0.3)": (exact(), True),
    "leapfrog in theta": (leapfrog(), True),
    "leapfrog, spread 0.5": (leapfrog(0.5), True),
    "leapfrog, spread 0.2": (leapfrog(0.2), True),
    "leapfrog, spread 0.1": (leapfrog(0.1), True),
    "BDIA, gamma 1": (bdia(1.0), True),
    "BDIA, gamma 0.5": (bdia(0.5), True),
    "O-BELM": (o_belm(), True),
    "reversible Heun": (reversible_heun(), True),
    "EDICT, p 0.93": (edict(), True),
    "McCallum-Foster, 0.99": (mccallum_foster(0.99), True),
    "DDIM by fixed point, 4": (fixed_point(4), False),
    "DDIM": (fixed_point(1), False),
}


class Watched:
    """A model in float64 around a float32 network, which counts calls and sees the largest |x|."""

    def __init__(self, net, embeds, weight):
        some = weight != 0
        self.model = diffusion.guided(net, embeds[: int(some)], [weight] if some else [])
        self.calls, self.largest = 0, 0.0

    def __call__(self, x, t):
        self.calls += 1
        self.largest = max(self.largest, float(x.abs().max()))
        return self.model(x.float(), t.float()).double()


def rms(x):
    return float(x.square().mean().sqrt())


def table(only, steps, weights, seeds, reference_steps):
    """Measures the families and prints the table row by row, as they come."""
    net = models.load("emoji")
    embeds = clip.load("emoji").encode_text([PROMPT])
    noise = diffusion.noise(seeds, SHAPE).double()

    def solution(weight, method, n, x):
        model = Watched(net, embeds, weight)
        return diffusion.sample(model, x, diffusion.schedule("spliced", n), method)

    images = pictures(solution(3, "plms", 50, diffusion.noise([7], SHAPE).double()))
    drawn = [w for w in (0, 3) if w in weights]
    references = {w: solution(w, "plms2", reference_steps, noise) for w in drawn}

    trips = list(itertools.product(steps, weights))
    columns = ["", "evaluations a step", "exactly reversible"]
    columns += [f"PSNR, {n} steps, weight {w}" for n, w in trips]
    columns += [f"RMS error of samples, weight {w}" for w in drawn]
    columns += ["largest abs x of round trips", "of samples"]
    print("|", " | ".join(columns), "|")
    print("|", " | ".join(["---"] * len(columns)), "|", flush=True)
    for name, ((there, back), reversible) in FAMILIES.items():
        if only and not any(word in name for word in only):
            continue
        cells, reached, counts = [], 0.0, []
        for n, w in trips:
            model = Watched(net, embeds, w)
            ts = diffusion.schedule("spliced", n).flip(0).tolist()
            states = there(model, images, ts)
            counts.append(model.calls / n)
            cells.append(f"{psnr(back(model, states, ts), images):.0f}")
            reached = max(reached, model.largest)
        largest = 0.0
        for w in drawn:
            model = Watched(net, embeds, w)
            samples = there(model, noise, diffusion.schedule("spliced", 50).tolist())[0]
            cells.append(f"{rms(samples - references[w]):.4f}")
            largest = max(largest, model.largest)
        cells = [name, f"{max(counts):.2g}", "yes" if reversible else "no", *cells]
        print("|", " | ".join([*cells, f"{reached:.1f}", f"{largest:.1f}"]), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="25 steps, few samples and weights")
    parser.add_argument("--only", nargs="+", default=[], help="families with this in their name")
    args = parser.parse_args()
    with torch.no_grad():
        if args.quick:
            table(args.only, (25,), (0, 3), range(1), 200)
        else:
            table(args.only, (25, 50), (0, 3, 5), range(4), 1000)


if __name__ == "__main__":
    main()
