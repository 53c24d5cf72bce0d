"""DPM-Solver++: steps in the half log SNR, along a pred blended from this one and earlier ones.

Lu et al., 2022, arXiv 2211.01095. `lambda = log(alpha / sigma)` is infinite in a clean image: a
step that starts or ends there has nothing to extrapolate along and keeps its own pred, which is a
DDIM step.
"""

import itertools
import math

from diffusion.schedules import alpha_sigma
from diffusion.solvers import evaluate, transfer


def half_log_snr(t):
    """log(alpha / sigma) at t, a float; infinite at t = 0."""
    alpha, sigma = alpha_sigma(t)
    return math.log(alpha / sigma) if sigma else math.inf


def rises(s, now, past):
    """How far the half log SNR rises: to s, and from each evaluation to the next, newest first."""
    at = [half_log_snr(t) for t in (s, now.t, *(e.t for e in reversed(past)))]
    return [b - a for b, a in itertools.pairwise(at)]


def dpmpp_2m_step(model, x, t, s, past, eta=0.0, noise=None):
    """DPM-Solver++ (2M): second order, one evaluation.

    Args:
        eta: 0 is deterministic, 1 is the SDE variant, whose noise is partly replaced in each step.
        noise: a function that draws the fresh noise [N, C, H, W]; called only where eta is not 0.
    """
    now = evaluate(model, x, t)
    pred, (h, *before) = now.pred, rises(s, now, past)
    if past and math.isfinite(h) and math.isfinite(before[0]):
        pred = pred + h / before[0] / 2 * (pred - past[-1].pred)
    if not eta:
        return transfer(now, s, pred=pred), now
    (_, sigma_t), (alpha, sigma) = alpha_sigma(t), alpha_sigma(s)
    kept = math.exp(-eta * h)
    own = sigma / sigma_t * kept
    x = own * x + alpha * (1 - math.exp(-h) * kept) * pred
    return x + sigma * math.sqrt(1 - kept**2) * noise(), now


def dpmpp_3m_step(model, x, t, s, past):
    """DPM-Solver++ (3M): one evaluation.

    As published and as all implement it, with a second difference that is half of what a third
    order asks for: second order, with a small constant.
    """
    if len(past) < 2:
        return dpmpp_2m_step(model, x, t, s, past)
    now = evaluate(model, x, t)
    h, before, earlier = rises(s, now, past)
    if not (math.isfinite(h) and math.isfinite(before) and math.isfinite(earlier)):
        return transfer(now, s), now
    newer = h / before * (now.pred - past[-1].pred)
    older = h / earlier * (past[-1].pred - past[-2].pred)
    first = newer + before / (before + earlier) * (newer - older)
    second = h / (before + earlier) * (newer - older)
    whole = -math.expm1(-h)
    pred = now.pred + (1 / whole - 1 / h) * first + (1 / h**2 * (h - whole) - 0.5) / -whole * second
    return transfer(now, s, pred=pred), now
