"""Images larger than a network was trained on, by what it makes of them reduced to its own size.

Drawn large from the start, they become several things at once: what a network decides first, at
high noise, it decides within the size that it knows. The mean of a noised image over squares of k x
k pixels is a smaller noised image of less noise; the network knows that size and, by matching the
signal-to-noise ratio, that noise. Upsample guidance (Hwang et al., 2024, arXiv 2404.01709) adds
what it says there to what it says of the large image; here it stands alone down to a timestep,
which draws cleaner and costs a fraction, and the large image takes over from there.
"""

import torch
from torch.nn import functional as F

from diffusion.objective import alpha_sigma, like, to_pred_eps


def coarse_t(t, factor):
    """The timestep of the means over squares of `factor` x `factor` pixels of an image at t."""
    alpha, sigma = alpha_sigma(t)
    return torch.atan2(sigma, factor * alpha) * (2 / torch.pi)


def coarse_first(model, factor, until, small=None):
    """A model that draws images `factor` times as wide and high as the model knows.

    At timesteps from 1 down to `until` it sees the means of x over squares of k x k pixels, k being
    the factor: alpha x0' + sigma / k eps'. Scaled, that is a noised image at the timestep t' with
    tan(pi t' / 2) = tan(pi t / 2) / k. The pred there is enlarged, and v = (alpha x - pred) /
    sigma. The noise within the squares stays until the model sees x itself, below `until`.

    Args:
        model: callable (x [N, C, H, W], t [N]) -> v [N, C, H, W].
        factor: how much smaller the model is to see the images, a whole number; H and W are
            multiples of it.
        until: the last timestep at which it sees them smaller, above 0.
        small: the model of the smaller images, where it is another: callable like model, but t
            are the timesteps of the large images, and `coarse_t` is what its network is to be told.
    Returns:
        A model of images [N, C, H, W], like `model`.
    Raises:
        ValueError: for a factor below 1 and a timestep of 0 or less.
    """
    if factor < 1 or int(factor) != factor:
        raise ValueError(f"a factor is a whole number of at least 1, not {factor}")
    if not until > 0:
        raise ValueError(f"the last timestep of the smaller images is above 0, not {until}")

    def larger(x, t):
        is_coarse = (t >= until) & (t > 0)  # a tiny `until` is 0 to float32
        if not is_coarse.any():
            return model(x, t)
        alpha, sigma = alpha_sigma(t)
        t_small = coarse_t(t, factor)
        _, sigma_small = alpha_sigma(t_small)
        x_small = F.avg_pool2d(x, factor) * like(factor * sigma_small / sigma, x)
        v_small = small(x_small, t) if small else model(x_small, t_small)
        pred, _ = to_pred_eps(x_small, v_small, t_small)
        pred = F.interpolate(pred, scale_factor=factor, mode="bilinear")
        v = (like(alpha, x) * x - pred) / like(sigma, x)
        if is_coarse.all():
            return v
        return torch.where(is_coarse[:, None, None, None], v, model(x, t))

    return larger
