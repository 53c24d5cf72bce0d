"""DEIS (tAB): Adams and Bashforth's methods for steps of any length, along a blend of eps.

Zhang and Chen, 2022, arXiv 2204.13902. With `rho = sigma / alpha` the flow is
`d (x / alpha) / d rho = eps`. A polynomial in t goes through this eps and earlier ones; the blend
is its mean over the step, in rho.
"""

import math

from diffusion.interpolation import lagrange, quadrature
from diffusion.schedules import alpha_sigma
from diffusion.solvers import evaluate, transfer


def deis_step(model, x, t, s, past, variable=lambda t: t):
    """DEIS of three earlier evaluations and this one: one evaluation.

    Second order, by its lower-order start; fourth where that is not to blame.

    Args:
        variable: of t, in which eps is taken for a polynomial.
    """
    now = evaluate(model, x, t)
    known = [*past, now]
    weights = blend_weights([e.t for e in known], t, s, variable)
    eps = sum(w * e.eps for w, e in zip(weights, known, strict=True)) if past else None
    return transfer(now, s, eps=eps), now


def blend_weights(known, t, s, variable):
    """The weights by which eps at known timesteps make up their mean between t and s."""
    import numpy as np

    nodes, shares = quadrature()
    start, end = noise_ratio(t), noise_ratio(s)
    ratios = start + (end - start) * nodes
    places = np.array([variable(2 / math.pi * math.atan(ratio)) for ratio in ratios])
    knots = [variable(t) for t in known]
    return [float(np.sum(shares * lagrange(places, knots, j))) for j in range(len(knots))]


def noise_ratio(t):
    """sigma / alpha at t."""
    alpha, sigma = alpha_sigma(t)
    return sigma / alpha
