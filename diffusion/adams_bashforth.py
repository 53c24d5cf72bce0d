"""Adams and Bashforth's methods, for steps of any length in the angle theta.

The flow is `dx/dtheta = -sin(theta) pred + cos(theta) eps`. Between evaluations pred and eps are
nearly straight in lambda = log(alpha / sigma), also under guidance, where they are straight neither
in t nor in theta. So both go on along a polynomial in lambda, or in something much like it, and x
follows the flow exactly under that, as DDIM does with both held constant.
"""

import math

from diffusion.dpm_solver import half_log_snr
from diffusion.interpolation import lagrange, quadrature
from diffusion.schedules import alpha_sigma
from diffusion.solvers import evaluate, transfer

# Where alpha is below this, lambda runs off to minus infinity though little happens to an image.
LEAST_ALPHA = 0.01


def ab2_step(model, x, t, s, past):
    """Second order, one evaluation; DDIM without a past, or with one in a clean image."""
    now = evaluate(model, x, t)
    return follow(now, s, past, half_log_snr), now


def ab23_step(model, x, t, s, past):
    """The mean of a step along lines and one along parabolas: one evaluation.

    Parabolas alone follow every unevenness of a network, lines alone miss all that is bent: so a
    step errs by half of what a line does. Second order. The variable is
    log((alpha + 0.01) / sigma), in which the first steps of a run are as even as the others.
    """
    now = evaluate(model, x, t)
    x = follow(now, s, past[-1:], levelled)
    # Far out, where a clean image is, a parabola would run away.
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
    import numpy as np

    x = transfer(now, s)
    past = [e for e in past if math.isfinite(variable(e.t))]
    if not past or not math.isfinite(variable(now.t)):
        return x
    nodes, shares = quadrature()
    start, end = now.t * math.pi / 2, s * math.pi / 2
    # Cubes crowd the nodes at the end, where the variable is infinite if that is a clean image.
    theta = end + (start - end) * nodes**3
    shares = 3 * nodes**2 * (end - start) * shares
    places = np.array([variable(angle * 2 / math.pi) for angle in theta])
    knots = [variable(e.t) for e in (now, *past)]
    for j, other in enumerate(past, 1):
        share = shares * lagrange(places, knots, j)
        x = x - float(share @ np.sin(theta)) * (other.pred - now.pred)
        x = x + float(share @ np.cos(theta)) * (other.eps - now.eps)
    return x
