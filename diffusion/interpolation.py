"""Polynomials through evaluations, and their integrals: the weights of multistep methods.

In plain Python, since the table of methods is read where neither torch nor NumPy is wanted.
"""

import functools
import math


@functools.cache
def quadrature(count=48):
    """The nodes and weights of Gauss-Legendre quadrature for integrals from 0 to 1.

    Newton's method on the Legendre polynomial, from the usual estimate of its roots.

    Returns:
        (nodes, weights), lists of `count` floats each, the nodes ascending.
    """
    nodes, weights = [], []
    for i in range(count):
        x = -math.cos(math.pi * (i + 0.75) / (count + 0.5))
        for _ in range(5):
            before, value = 1.0, x
            for k in range(2, count + 1):
                before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
            slope = count * (x * value - before) / (x * x - 1)
            x -= value / slope
        nodes.append((1 + x) / 2)
        weights.append(1 / ((1 - x * x) * slope**2))
    return nodes, weights


def lagrange(place, knots, j):
    """At a place, the polynomial that is 1 at knots[j] and 0 at the other knots."""
    others = [knot for i, knot in enumerate(knots) if i != j]
    return math.prod((place - knot) / (knots[j] - knot) for knot in others)
