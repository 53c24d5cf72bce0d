"""One step of the published sampling methods, from timestep t to timestep s, up or down alike.

A step is a pure function `(model, x, t, s, past) -> (x at s, now)`. `now` is the evaluation that
the step keeps for later steps, `past` holds those that earlier steps kept, the newest last. A
method chooses a direction, an eps or a pred blended from several; `transfer` then takes the step.

Steps use the methods of tensors alone: the table of methods is read where torch is not wanted.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

from diffusion.objective import alpha_sigma, rotate, to_pred_eps

if TYPE_CHECKING:
    from torch import Tensor

# A blend moves x by sin(angle) / alpha times the change it makes to eps. Where a run leaves nearly
# pure noise in one or two big steps that factor is a hundred, and at t = 1 infinite: such a step
# goes along its own v instead, which is DDIM. So does a step out of a clean image along a blend of
# pred.
MOST_GAIN = 25

# The standard deviation of image details that `exact` assumes, of a range from -1 to 1. Any of 0.2
# to 0.5 is good.
SPREAD = 0.3


class Evaluation(NamedTuple):
    """What a model says of x at one timestep; all its fields belong to that one instant.

    `step` is kept by the adaptive method alone: how long its next step may be, for each image.
    """

    t: float
    x: "Tensor"
    v: "Tensor"
    pred: "Tensor"
    eps: "Tensor"
    step: "Tensor | None" = None


def evaluate(model, x, t):
    """Asks the model for v at timestep t (a float) for every image of x [N, C, H, W]."""
    v = model(x, x.new_full([len(x)], t))
    return Evaluation(t, x, v, *to_pred_eps(x, v, t))


def transfer(now, s, eps=None, pred=None):
    """The step from `now` to timestep s: along its own v, or along a blended eps or pred.

    Whichever of eps and pred is given is kept; the other one is what it implies for x.
    """
    angle = (s - now.t) * (math.pi / 2)
    x, turn = rotate(now.x, now.v, angle), math.sin(angle)
    alpha, sigma = alpha_sigma(now.t)
    if eps is not None and abs(turn) <= MOST_GAIN * alpha:
        x = x + turn / alpha * (eps - now.eps)
    if pred is not None and abs(turn) <= MOST_GAIN * sigma:
        x = x - turn / sigma * (pred - now.pred)
    return x


def ddim_step(model, x, t, s, past, eta=0.0, noise=None):
    """DDIM (Song et al., 2020, arXiv 2010.02502): first order, one evaluation.

    Args:
        eta: 0 is deterministic, 1 is DDPM (Ho et al., 2020, arXiv 2006.11239).
        noise: a function that draws the fresh noise [N, C, H, W]; called only where eta is not 0.
    """
    now = evaluate(model, x, t)
    if not eta:
        return transfer(now, s), now
    (alpha_t, sigma_t), (alpha_s, sigma_s) = alpha_sigma(t), alpha_sigma(s)
    # Of very short steps, and of one from plain noise, rounding may leave less than 0.
    fresh = eta * sigma_s / sigma_t * math.sqrt(max(0.0, 1 - (alpha_t / alpha_s) ** 2))
    kept = math.sqrt(max(0.0, sigma_s**2 - fresh**2))
    return alpha_s * now.pred + kept * now.eps + fresh * noise(), now


def pie_step(model, x, t, s, past):
    """Pseudo improved Euler: second order, two evaluations (Liu et al., 2022, arXiv 2202.09778)."""
    now = evaluate(model, x, t)
    ahead = evaluate(model, transfer(now, s), s)
    eps = (now.eps + ahead.eps) / 2
    return transfer(now, s, eps), now._replace(eps=eps)  # the steps to come use its blend


def prk_step(model, x, t, s, past):
    """Pseudo Runge-Kutta: four evaluations (Liu et al., 2022, arXiv 2202.09778).

    Second order, with a small constant: the middle is the mean of the timesteps, which is not the
    mean of the noise-to-image ratios that the weights of Runge and Kutta ask for.
    """
    middle = (t + s) / 2
    now = evaluate(model, x, t)
    second = evaluate(model, transfer(now, middle), middle)
    third = evaluate(model, transfer(now, middle, second.eps), middle)
    fourth = evaluate(model, transfer(now, s, third.eps), s)
    eps = (now.eps + 2 * second.eps + 2 * third.eps + fourth.eps) / 6
    return transfer(now, s, eps), now._replace(eps=eps)


# Adams-Bashforth weights by order, the newest evaluation first.
ADAMS_BASHFORTH = {
    1: (1,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def linear_multistep(model, x, t, s, past):
    """A step along the Adams-Bashforth blend of this evaluation and all those of the past."""
    now = evaluate(model, x, t)
    newest_first = [now.eps, *(e.eps for e in reversed(past))]
    weights = ADAMS_BASHFORTH[len(newest_first)]
    eps = sum(w * e for w, e in zip(weights, newest_first, strict=True)) if past else None
    return transfer(now, s, eps), now


def plms_step(model, x, t, s, past):
    """Pseudo linear multistep with four evaluations' memory, started by three PRK steps.

    Liu et al., 2022, arXiv 2202.09778. Fourth-order weights, yet second-order convergence: they ask
    for steps of equal noise-to-image ratio, and the starters leave blends behind.
    """
    return (linear_multistep if len(past) == 3 else prk_step)(model, x, t, s, past)


def plms2_step(model, x, t, s, past):
    """Pseudo linear multistep, second order, started by one PIE step."""
    return (linear_multistep if past else pie_step)(model, x, t, s, past)


def iplms_step(model, x, t, s, past):
    """Improved PLMS: starts with lower orders (Zhang and Chen, 2022, arXiv 2204.13902)."""
    return linear_multistep(model, x, t, s, past)


def exact_step(model, x, t, s, past):
    """Leapfrog between two states, its own inverse: second order, one evaluation.

    The step of BDIA (Zhang et al., 2023, arXiv 2307.10829) with gamma = 1, in theta and for
    y = x / g with g^2 = (alpha SPREAD)^2 + sigma^2: `y(s) = y(p) + (theta_s - theta_p) dy/dtheta`,
    p the timestep before t. Exchanging s and p leaves this as it is, so that the same loop run the
    other way, from both of the last states, undoes a run, for any model and steps of any length.
    BDIA's own x swings about the flow, ever more where the flow contracts: towards the image, where
    the standard deviation falls to SPREAD. That of y does not fall. Without a past, the step is
    DDIM.
    """
    now = evaluate(model, x, t)
    if not past:
        return transfer(now, s), now
    before = past[-1]
    g_before, g, g_next = (_spread(u) for u in (before.t, t, s))
    alpha, sigma = alpha_sigma(t)
    slope = alpha * sigma * (1 - SPREAD**2) / g**2  # of log g
    y_change = (s - before.t) * (math.pi / 2) * (now.v - slope * x) / g
    return g_next * (before.x / g_before + y_change), now


def _spread(t):
    """The standard deviation of noised details at t."""
    alpha, sigma = alpha_sigma(t)
    return math.hypot(alpha * SPREAD, sigma)
