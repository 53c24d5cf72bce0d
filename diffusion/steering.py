"""Steering: a model that follows the gradient of a loss down.

Dhariwal and Nichol, 2021, arXiv 2105.05233.
"""

import torch

from diffusion.objective import alpha_sigma, like

NO_IMAGE = 1e-6  # an alpha below this is 0 but for rounding


def steered(model, gradient, interval=(0.0, 1.0), every=1, recompute=False):
    """A model that lowers a loss of pred: v + dloss/dx sigma / alpha.

    The gradient is taken through the model: pred = alpha x - sigma v gives
    dloss/dx = alpha g - sigma (dv/dx)^T g with g = dloss/dpred. Where there is no noise or
    nothing else (t = 0 and t = 1), v is the model's own.

    Args:
        model: callable (x [N, C, H, W], t [N]) -> v [N, C, H, W] that gradients flow through, so
            not in inference mode.
        gradient: callable pred [N, C, H, W] -> dloss/dpred [N, C, H, W].
        interval: the lowest and highest t at which to steer.
        every: take the gradient at every so many evaluations within the interval and keep it in
            between.
        recompute: evaluate the model again for the gradient, so that its activations and those of
            the loss are not in memory at the same time.
    Returns:
        A model (x, t) -> v. With `every` above 1 it remembers the last gradient: one for each run.
    Raises:
        ValueError: for an empty interval or every < 1.
    """
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"an interval lies between 0 and 1, not from {low:g} to {high:g}")
    if every < 1:
        raise ValueError(f"every is at least 1, not {every}")
    asked, kept = 0, None

    def steers(x, t):
        nonlocal asked, kept
        alpha, sigma = alpha_sigma(like(t, x))
        # A timestep that rounds to 1 has no image left to compare.
        here = (alpha > NO_IMAGE) & (sigma > 0) & (like(t, x) >= low) & (like(t, x) <= high)
        if not here.any():
            return model(x, t)
        if asked % every == 0:
            v, kept = v_and_slope(model, gradient, x, t, recompute)
        else:
            v = model(x, t)
        asked += 1
        return v + torch.where(here, sigma / alpha, 0) * kept

    return steers


def v_and_slope(model, gradient, x, t, recompute=False):
    """v and dloss/dx, for a loss whose gradient at pred is `gradient(pred)`; as for `steered`."""
    alpha, sigma = alpha_sigma(like(t, x))
    leaf = x.detach().requires_grad_()
    with torch.set_grad_enabled(not recompute):
        v = model(leaf, t)
    g = gradient(alpha * x - sigma * v.detach())
    with torch.enable_grad():
        again = model(leaf, t) if recompute else v
    # Scaled to 1 for the backward pass: a network in half precision would round it to 0.
    size = g.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    (back,) = torch.autograd.grad(again, leaf, g / size)
    return v.detach(), alpha * g - sigma * size * back
