"""Multistep methods for steps of any length: polynomials through this evaluation and earlier ones.

`ab2` and `ab23` are Adams and Bashforth's methods in the angle theta. The flow is
`dx/dtheta = -sin(theta) pred + cos(theta) eps`. Between evaluations pred and eps are nearly
straight in lambda = log(alpha / sigma), also under guidance, where they are straight neither in t
nor in theta. So both are extrapolated by a polynomial in lambda or a similar variable, and x
follows the flow exactly under that, as DDIM does with both held constant. `deis` extrapolates eps
alone.
"""

import math

from diffusion.interpolation import lagrange, quadrature
from diffusion.objective import alpha_sigma, half_log_snr
from diffusion.solvers import evaluate, transfer

# Where alpha is below this, lambda falls to minus infinity though little happens to an image.
LEAST_ALPHA = 0.01
# Limits the noise-to-image ratio of `deis` in plain noise. Of 0.01, 0.03 and 0.1 this is nearest to
# the exact drawings of the bundled model in 20 steps; 0.1 is in 10.
LEAST_RATIO = 0.03


def ab2_step(model, x, t, s, past):
    """Second order, one evaluation; DDIM without a past, or with one in a clean image."""
    now = evaluate(model, x, t)
    return follow(now, s, past, half_log_snr), now


def ab23_step(model, x, t, s, past):
    """The mean of a step along lines and one along parabolas: one evaluation.

    Parabolas alone follow every unevenness of a network, and lines alone miss all curvature; the
    error of their mean is half of that of lines. Second order. The variable is
    log((alpha + 0.01) / sigma), in which the first steps of a run are as even as the others.
    """
    now = evaluate(model, x, t)
    x = follow(now, s, past[-1:], levelled)
    # To a clean image, where the variable is infinite, a parabola would diverge.
    if len(past) == 2 and math.isfinite(levelled(s)):
        x = (x + follow(now, s, past, levelled)) / 2
    return x, now


def levelled(t):
    """log((alpha + 0.01) / sigma) at t, a float; infinite at t = 0."""
    alpha, sigma = alpha_sigma(t)
    return math.log((alpha + LEAST_ALPHA) / sigma) if sigma else math.inf


def follow(now, s, past, variable):
    """x at s, with pred and eps on the polynomials in a variable of t through all evaluations.

    Those in a clean image, where the variable is infinite, are left out.
    """
    x = transfer(now, s)
    past = [e for e in past if math.isfinite(variable(e.t))]
    if not past or not math.isfinite(variable(now.t)):
        return x
    knots = [variable(e.t) for e in (now, *past)]
    start, end = now.t * math.pi / 2, s * math.pi / 2
    # Cubes crowd the nodes at the end, where the variable is infinite if that is a clean image.
    nodes = [
        (end + (start - end) * node**3, 3 * node**2 * (end - start) * weight)
        for node, weight in zip(*quadrature(), strict=True)
    ]
    for j, other in enumerate(past, 1):
        by_pred = by_eps = 0.0
        for theta, weight in nodes:
            share = weight * lagrange(variable(theta * 2 / math.pi), knots, j)
            by_pred -= share * math.sin(theta)
            by_eps += share * math.cos(theta)
        x = x + by_pred * (other.pred - now.pred)
        x = x + by_eps * (other.eps - now.eps)
    return x


def deis_step(model, x, t, s, past, variable=None):
    """DEIS (tAB) of three earlier evaluations and this one: one evaluation.

    Zhang and Chen, 2022, arXiv 2204.13902. With `rho = sigma / alpha` the flow is
    `d (x / alpha) / d rho = eps`. A polynomial goes through this eps and earlier ones; the step
    goes along its mean, in rho. Second order, since it starts with lower orders; with a full
    history fourth.

    Args:
        variable: the function of t in which eps is taken for a polynomial. None: rho towards the
            image and 1 / rho towards the noise, with a limit. These fall towards 0, so that
            extrapolation is never far: in t, whose steps are short near 1, weights reach 149.
    """
    now = evaluate(model, x, t)
    known = [*past, now]
    if variable is None:
        variable = limited_ratio if s < t else lambda t: limited_ratio(1 - t)
    weights = blend_weights([e.t for e in known], t, s, variable)
    eps = sum(w * e.eps for w, e in zip(weights, known, strict=True)) if past else None
    return transfer(now, s, eps=eps), now


def blend_weights(known, t, s, variable):
    """The weights of eps at known timesteps in the mean, over rho, of eps between t and s."""
    start, end = noise_ratio(t), noise_ratio(s)
    knots, sums = [variable(t) for t in known], [0.0] * len(known)
    for node, weight in zip(*quadrature(), strict=True):
        place = variable(2 / math.pi * math.atan(start + (end - start) * node))
        for j in range(len(known)):
            sums[j] += weight * lagrange(place, knots, j)
    return sums


def noise_ratio(t):
    """rho = sigma / alpha at t, a float; finite at t = 1, where alpha is 0 but for rounding."""
    alpha, sigma = alpha_sigma(t)
    return sigma / alpha


def limited_ratio(t):
    """Nearly rho at t, but 1 / LEAST_RATIO in plain noise; at 1 - t the same of 1 / rho."""
    alpha, sigma = alpha_sigma(t)
    return sigma / (alpha + LEAST_RATIO * sigma)
