"""Multistep methods in the half log SNR: steps along a pred blended from several evaluations.

DPM-Solver++ (Lu et al., 2022, arXiv 2211.01095) and UniPC (Zhao et al., 2023, arXiv 2302.04867).
`lambda = log(alpha / sigma)` is infinite in a clean image: a step that starts or ends there cannot
extrapolate and keeps its own pred, which is a DDIM step.
"""

import itertools
import math

from diffusion.interpolation import lagrange, quadrature
from diffusion.objective import alpha_sigma, half_log_snr
from diffusion.solvers import evaluate, transfer


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
    # Rounding may leave less than 0 of a very short step.
    return x + sigma * math.sqrt(max(0.0, 1 - kept**2)) * noise(), now


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


def unipc_step(model, x, t, s, past, order=2):
    """UniPC with `B(h) = exp(h) - 1`: a predictor and a corrector, one evaluation.

    The pred that a step evaluates at its start also corrects the step before, which did not have
    it: the corrector costs no evaluation of its own.

    Args:
        order: 2, which its paper recommends for guided models: parabolas swing where steps are
            long. Or 3, for `looks_back` of 3.
    """
    now = evaluate(model, x, t)
    # Towards the noise a change of pred moves x by up to sigma_s / sigma_t times as much: what the
    # corrector adds there is an error.
    if past and s < t:
        now = correct(now, past)
    return transfer(now, s, pred=blend(now, s, past[1 - order :])), now


def correct(now, past):
    """`now` with the x that the last step would have reached had it known the pred it led to."""
    *earlier, base = past
    alpha, sigma = alpha_sigma(now.t)
    x = transfer(base, now.t, pred=blend(base, now.t, [*earlier, now]))
    return now._replace(x=x, v=(alpha * x - now.pred) / sigma, eps=(x - alpha * now.pred) / sigma)


def blend(base, s, others):
    """The pred for a step from `base` to s, given evaluations at other timesteps, s included.

    The mean of the polynomial in the half log SNR through all of them, weighted as the flow weighs
    pred over the step.
    """
    start, end = half_log_snr(base.t), half_log_snr(s)
    known = [e for e in others if math.isfinite(half_log_snr(e.t))]
    if not known or not math.isfinite(start) or not math.isfinite(end):
        return base.pred
    h = end - start
    knots = [0.0, *((half_log_snr(e.t) - start) / h for e in known)]
    if len(known) == 1 and h > 0:
        weights = [0.5 / knots[1]]  # as published: the limit for small h
    else:
        flow = [(u, w * h * math.exp(h * (u - 1))) for u, w in zip(*quadrature(), strict=True)]
        whole = -math.expm1(-h)
        weights = [
            sum(w * lagrange(u, knots, j) for u, w in flow) / whole for j in range(1, len(knots))
        ]
    differences = (w * (e.pred - base.pred) for w, e in zip(weights, known, strict=True))
    return base.pred + sum(differences)
