"""UniPC: a predictor, and a corrector that costs no evaluation of its own.

Zhao et al., 2023, arXiv 2302.04867, with `B(h) = exp(h) - 1` and predictions of the image. The pred
that a step asks for at its start also corrects the step before, which had to do without it.
"""

import math

from diffusion.dpm_solver import half_log_snr
from diffusion.schedules import alpha_sigma
from diffusion.solvers import evaluate, transfer


def unipc_step(model, x, t, s, past):
    """UniPC of up to order 3: one evaluation."""
    now = evaluate(model, x, t)
    if past:
        now = correct(now, past)
    return transfer(now, s, pred=blend(now, s, past[-2:])), now


def correct(now, past):
    """`now` with the x that the last step would have reached had it known the pred it led to."""
    *earlier, base = past
    alpha, sigma = alpha_sigma(now.t)
    x = transfer(base, now.t, pred=blend(base, now.t, [*earlier, now]))
    return now._replace(x=x, v=(alpha * x - now.pred) / sigma, eps=(x - alpha * now.pred) / sigma)


def blend(base, s, others):
    """The pred to go along from `base` to s, given evaluations at other timesteps, s included."""
    import torch

    start, end = half_log_snr(base.t), half_log_snr(s)
    at = [(half_log_snr(other.t), other.pred) for other in others]
    at = [(place, pred) for place, pred in at if math.isfinite(place)]
    if not at or not math.isfinite(start) or not math.isfinite(end):
        return base.pred
    h = end - start
    where = torch.tensor([(place - start) / h for place, _ in at], dtype=torch.float64)
    if len(at) == 1:
        weights = [0.5]  # as published: what the equations below come to for small h
    else:
        powers = where ** torch.arange(len(at))[:, None]
        weights = torch.linalg.solve(powers, where.new_tensor(_moments(h, len(at)))).tolist()
    pairs = zip(weights, where.tolist(), at, strict=True)
    return base.pred + sum(w / r * (pred - base.pred) for w, r, (_, pred) in pairs)


def _moments(h, count):
    """What the weighted powers of the places are to add up to, for x to be right to that order."""
    phi, factorial, moments = math.expm1(-h) / -h - 1, 1, []
    for i in range(1, count + 1):
        factorial *= i
        moments.append(phi * factorial / math.expm1(-h))
        phi = phi / -h - 1 / (factorial * (i + 1))
    return moments
