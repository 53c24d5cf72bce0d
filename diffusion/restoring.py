"""Images of which a measurement is known: models whose pred agrees with it.

`exactly` replaces in every pred what is known (DDNM; Wang et al., 2022, arXiv 2212.00490).
`nearly` is for data with noise: it moves pred to the posterior mean, by the gradient of the network
(MMPS; Rozet et al., 2024, arXiv 2405.13712). Both are models (x, t) -> v that any method steps.
`sample_again` goes back to more noise now and then (Lugmayr et al., 2022, arXiv 2201.09865).
`sample_towards` moves x behind each step by the gradient of what pred is off (PiGDM; Song et al.,
2023, openreview.net/forum?id=9_gsMA8MRKQ).
"""

import itertools
import math

import torch

from diffusion.methods import METHODS
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
            size, back = _backwards(v, leaf, g)
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


def _backwards(v, leaf, g):
    """(size [N, 1, 1, 1], back): of the network's Jacobian J = dv/dx, size * back is J^T g."""
    # Scaled to 1 for the pass backwards: half precision would round small numbers to 0.
    size = g.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-20)
    (back,) = torch.autograd.grad(v, leaf, g / size, retain_graph=True)
    return size, back


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


def _solved_symmetric(operator, right, steps=100, close=1e-5):
    """What a symmetric positive operator takes to `right` (conjugate gradients)."""
    found, rest = torch.zeros_like(right), right
    way, left = rest, _dot(rest, rest)
    enough = close**2 * left
    for _ in range(steps):
        if (left <= enough).all():
            break
        image = operator(way)
        share = left / _dot(way, image).clamp_min(1e-30)
        found, rest = found + share * way, rest - share * image
        before, left = left, _dot(rest, rest)
        way = rest + left / before.clamp_min(1e-30) * way
    return found


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


def sample_towards(model, x, timesteps, method, measurement, y, deviation, noise=None, **how):
    """`diffusion.sample`, with x moved towards what is known behind each step.

    As if images were independent pixels of variance sigma^2 around pred, a step from t is followed
    by alpha (dpred/dx)^T sigma^2 A^T (sigma^2 A A^T + deviation^2)^-1 (y - A pred).

    Args:
        model: callable (x, t) -> v that gradients flow through, so not in inference mode.
        x, timesteps, noise: as for `sample`.
        method: one whose steps are one evaluation and look at no other, such as ddpm.
        measurement, y: as for `exactly`.
        deviation: the standard deviation of the noise in y; images range from -1 to 1. Above 0.
        how: what else `sample` takes.
    Raises:
        ValueError: for another method.
    """
    if not METHODS[method].stands_alone:
        raise ValueError(f"{method} looks at more than one evaluation: take ddpm or ddim")
    for t, s in itertools.pairwise(map(float, timesteps)):
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            v = model(leaf, torch.full((len(x),), t, dtype=x.dtype, device=x.device))
        towards = _towards_known(leaf, v, t, measurement, y, deviation)
        found = v.detach()
        x = sample(lambda *_, v=found: v, x, [t, s], method, noise=noise, **how) + towards
    return x


def _towards_known(leaf, v, t, measurement, y, deviation):
    """What `sample_towards` moves x by behind its step from t."""
    alpha, sigma = alpha_sigma(t)
    missing = y - measurement.degrade((alpha * leaf - sigma * v).detach())

    def spread(r):
        varied = sigma**2 * measurement.degrade(adjoint(measurement, r, leaf))
        return varied + deviation**2 * r

    g = sigma**2 * adjoint(measurement, _solved_symmetric(spread, missing), leaf)
    size, back = _backwards(v, leaf, g)
    return alpha * (alpha * g - sigma * size * back)


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
