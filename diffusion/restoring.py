"""Images of which a measurement is known: models whose pred agrees with it.

`exactly` replaces in every pred what is known (DDNM; Wang et al., 2022, arXiv 2212.00490).
`nearly` is for data with noise: it moves pred to the posterior mean, by the gradient of the network
(MMPS; Rozet et al., 2024, arXiv 2405.13712). Both are models (x, t) -> v that any method steps.
`sample_again` goes back to more noise now and then (Lugmayr et al., 2022, arXiv 2201.09865).
"""

import math

import torch

from diffusion.objective import alpha_sigma, like
from diffusion.sampling import sample

LEAST_ALPHA = 0.02  # nearer to plain noise the network's gradient is one of rounding alone
SOLVING = 2  # steps of GMRES an evaluation, each a pass backwards


def exactly(model, measurement, y):
    """A model whose pred is the nearest image that is degraded to y.

    Args:
        model: callable (x [N, C, H, W], t [N]) -> v.
        measurement: a `diffusion.measurements.Measurement`.
        y: what is known, on the device of the images.
    Returns:
        A model (x, t) -> v. At t = 0, where v says nothing of the image, v is the model's own.
    """

    def restores(x, t):
        alpha, sigma = alpha_sigma(like(t, x))
        v = model(x, t)
        return _towards(measurement.lift(y - measurement.degrade(alpha * x - sigma * v)), v, sigma)

    return restores


def _towards(change, v, sigma):
    """v of a pred that is changed: pred = alpha x - sigma v."""
    return v - torch.where(sigma > 0, change / sigma.clamp_min(1e-12), 0)


def nearly(model, measurement, y, noise, solving=SOLVING):
    """A model whose pred is the mean of the images that are degraded to y with noise.

    With the covariance V of the image given x, which is (sigma^2 / alpha) dpred/dx, that mean is
    pred + V A^T (A V A^T + noise^2)^-1 (y - A pred), solved by GMRES.

    Args:
        model: callable (x, t) -> v that gradients flow through, so not in inference mode.
        measurement, y: as for `exactly`.
        noise: the standard deviation of the noise in y; images range from -1 to 1. Above 0.
        solving: steps of GMRES.
    Returns:
        A model (x, t) -> v, with 1 pass forward and `solving` + 1 passes backwards.
    """
    if not noise > 0:
        raise ValueError(f"noise is above 0, not {noise:g}: without noise `exactly` is right")

    def restores(x, t):
        alpha, sigma = alpha_sigma(like(t, x))
        if not (sigma > 0).any():
            return model(x, t)
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            v = model(leaf, t)
        # Of plain noise nothing is known but that images have a standard deviation near 1.
        safe = alpha.clamp_min(LEAST_ALPHA)

        def covariance(g):
            # Scaled to 1 for the pass backwards: half precision would round small numbers to 0.
            size = g.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-20)
            (back,) = torch.autograd.grad(v, leaf, g / size, retain_graph=True)
            moved = sigma**2 * (g - sigma / safe * size * back)
            return torch.where(alpha >= LEAST_ALPHA, moved, g)

        pred = (alpha * leaf - sigma * v).detach()
        missing = y - measurement.degrade(pred)

        def spread(r):
            return measurement.degrade(covariance(adjoint(measurement, r, x))) + noise**2 * r

        weights = _solved(spread, missing, solving)
        change = covariance(adjoint(measurement, weights, x))
        return _towards(change, v.detach(), sigma)

    return restores


def adjoint(measurement, y, like_x):
    """A^T y, for images of the shape of another [N, C, H, W]."""
    with torch.enable_grad():
        x = torch.zeros_like(like_x, requires_grad=True)
        (back,) = torch.autograd.grad(measurement.degrade(x), x, y)
    return back


def _solved(operator, right, steps):
    """About what a linear operator takes to `right`: what leaves the smallest rest (GMRES).

    A network's covariance is neither quite symmetric nor positive, which conjugate gradients need:
    these would lead astray. Here the rest never grows.
    """
    ways, images, way = [], [], right
    for _ in range(steps):
        for other in 2 * ways:  # twice, against rounding
            way = way - _dot(way, other) * other
        size = _dot(way, way).sqrt()
        ways.append(way / size.clamp_min(1e-20))
        images.append(way := operator(ways[-1]))
    ways, images = (torch.stack(some, 1).flatten(2) for some in (ways, images))  # [N, steps, D]
    products = (images @ images.mT).double().cpu()
    wanted = (images @ right.flatten(1)[..., None]).double().cpu()
    shares = torch.linalg.pinv(products, rtol=1e-12, hermitian=True) @ wanted
    return (shares.to(right) * ways).sum(1).view_as(right)


def _dot(a, b):
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)


def sample_again(model, x, timesteps, method, noise, times=1, stretch=1, **how):
    """`diffusion.sample`, with each stretch of the way gone several times.

    Behind a stretch, noise takes x back to where it began, and it is gone again: what is drawn has
    time to agree with what is known.

    Args:
        model, x, timesteps, method, noise: as for `sample`; noise is needed where times > 1.
        times: how often a stretch is gone. 1: as `sample` does.
        stretch: its steps.
        how: what else `sample` takes.
    """
    if times == 1:
        return sample(model, x, timesteps, method, noise=noise, **how)
    for first in range(0, len(timesteps) - 1, stretch):
        part = timesteps[first : first + stretch + 1]
        for left in reversed(range(times)):
            x = sample(model, x, part, method, noise=noise, **how)
            if left:
                x = _noisier(x, float(part[-1]), float(part[0]), noise().to(x))
    return x


def _noisier(x, t, s, eps):
    """x at timestep t with so much more noise that it is one at s > t."""
    (alpha, sigma), (alpha_s, sigma_s) = alpha_sigma(t), alpha_sigma(s)
    keeps = alpha_s / alpha
    return keeps * x + math.sqrt(max(0, sigma_s**2 - (keeps * sigma) ** 2)) * eps


def within_range(measurement, x, y, rounds=200, close=1e-4):
    """Images near x with values from -1 to 1 that are degraded to y.

    Clamping and fitting in turns comes to what both allow (projections onto convex sets).
    """
    for _ in range(rounds):
        x = x.clamp(-1, 1)
        missing = y - measurement.degrade(x)
        if missing.abs().max() <= close:
            break
        x = x + measurement.lift(missing)
    return x.clamp(-1, 1)
