"""A mixture of Gaussians, whose v is known in closed form: what samplers are tested on."""

from pathlib import Path

import numpy as np
import torch

import diffusion

DATA = Path(__file__).parent.parent / "data"


def load(file):
    """The arrays of a reference file as float64 tensors."""
    with np.load(DATA / file) as arrays:
        return {key: torch.from_numpy(arrays[key]).double() for key in arrays}


REFERENCE = load("samplers.npz")


def mixture(x, t):
    """v of the reference mixture at x [N, 3, 4, 4], t [N]; exact."""
    means, std, weights = (REFERENCE[k] for k in ("means", "std", "weights"))
    alpha, sigma = (a[:, None] for a in diffusion.alpha_sigma(t))  # [N, 1]
    variance = (alpha * std) ** 2 + sigma**2  # of x under each component [N, K]
    away = x[:, None] - alpha[..., None, None, None] * means  # [N, K, 3, 4, 4]
    dims = away[0, 0].numel()
    log_p = weights.log() - dims / 2 * variance.log()
    log_p -= away.square().sum((2, 3, 4)) / (2 * variance)
    responsibility = log_p.softmax(1)

    def blend(factors, images):
        return (factors[..., None, None, None] * images).sum(1)

    pred = blend(responsibility * alpha * std**2 / variance, away) + blend(responsibility, means)
    eps = blend(responsibility * sigma / variance, away)
    return alpha[..., None, None] * eps - sigma[..., None, None] * pred


MEAN, STD = 0.3, 0.5


def gaussian(x, t):
    """v where every pixel of the images is drawn from N(MEAN, STD^2)."""
    alpha, sigma = (a[:, None, None, None] for a in diffusion.alpha_sigma(t))
    variance = alpha**2 * STD**2 + sigma**2
    pred = MEAN + alpha * STD**2 / variance * (x - alpha * MEAN)
    eps = sigma / variance * (x - alpha * MEAN)
    return alpha * eps - sigma * pred


def gaussian_flow(x, t, s):
    """Where the flow of `gaussian` takes x from t to s, in closed form: quantiles are kept."""
    (a, b), (c, d) = diffusion.alpha_sigma(t), diffusion.alpha_sigma(s)
    before, after = (a**2 * STD**2 + b**2) ** 0.5, (c**2 * STD**2 + d**2) ** 0.5
    return c * MEAN + after * (x - a * MEAN) / before
