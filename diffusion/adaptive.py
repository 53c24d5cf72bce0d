"""Steps as long as a tolerance allows, for every image of a batch on its own.

Bogacki and Shampine's pair (1989, Applied Mathematics Letters 2(4)) on `dx / dtheta = v`, theta =
pi t / 2: a third-order step, and a second-order one from the same evaluations for its error.
"""

import math

from diffusion.objective import like
from diffusion.solvers import evaluate

TOLERANCE = 0.01
FIRST = 0.05  # the first step tried, in t
LEAST = 0.0005  # a step this short is always accepted: errors of rounding do not shrink with it
# The next step is a little shorter than what the last error suggests, and not too different.
CAUTION, SHORTEST, LONGEST = 0.9, 0.2, 4.0


def adaptive_step(model, x, t, s, past, tolerance=TOLERANCE):
    """As many steps as it takes from t to s, of three evaluations each: third order.

    What an image gets does not depend on the others of its batch, which wait for the slowest.

    Args:
        tolerance: the RMS error of an image that a step may make, of a range from -1 to 1.
    """
    now = evaluate(model, x, t)
    # Timesteps and step lengths are float64 on the CPU, one an image.
    zeros = x.new_zeros(len(x)).double().cpu()
    v, here = now.v, zeros + t
    step = past[-1].step if past else zeros + math.copysign(FIRST, s - t)
    while (here != s).any():
        last = step.abs() >= (s - here).abs()
        taken = (s - here).where(last, step)
        ahead, v_ahead, error = bogacki_shampine(model, x, v, here, taken)
        accepted = (error <= tolerance) | (taken.abs() <= LEAST)
        here = (zeros + s).where(last, here + taken).where(accepted, here)
        moves = like(accepted, x).bool()
        x, v = ahead.where(moves, x), v_ahead.where(moves, v)
        fit = CAUTION * (tolerance / error.clamp(min=1e-12)) ** (1 / 3)
        fit = taken.abs() * fit.clamp(SHORTEST, LONGEST)
        # One cut short by the end says little about how long the next one may be.
        fit = fit.maximum(step.abs()).where(last & accepted, fit)
        step = fit.clamp(min=LEAST).copysign(step)
    return x, now._replace(step=step)


def bogacki_shampine(model, x, v, t, step):
    """(x and v at t + step, the RMS error of each image [N]), for steps [N] of their own."""
    h = like(step * (math.pi / 2), x)

    def ask(x, share):
        return model(x, (t + share * step).to(x))

    second = ask(x + h / 2 * v, 1 / 2)
    third = ask(x + 3 / 4 * h * second, 3 / 4)
    ahead = x + h * (2 / 9 * v + 1 / 3 * second + 4 / 9 * third)
    v_ahead = ask(ahead, 1)
    wrong = h * (-5 / 72 * v + 1 / 12 * second + 1 / 9 * third - 1 / 8 * v_ahead)
    return ahead, v_ahead, wrong.square().mean(dim=(1, 2, 3)).sqrt().double().cpu()
