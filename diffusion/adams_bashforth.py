"""Adams and Bashforth's second-order method, for steps of any length in the angle theta.

The flow is `dx/dtheta = -sin(theta) pred + cos(theta) eps`. Between two evaluations pred and eps
are nearly straight in lambda = log(alpha / sigma), also under guidance, where they are straight
neither in t nor in theta. So both go on along lines in lambda, and x follows the flow exactly under
that, as DDIM does with both held constant.
"""

import math

from diffusion.dpm_solver import half_log_snr
from diffusion.solvers import evaluate, transfer


def ab2_step(model, x, t, s, past):
    """Second order, one evaluation; DDIM without a past, or with one in a clean image."""
    now = evaluate(model, x, t)
    x = transfer(now, s)
    start = half_log_snr(t)
    if past and math.isfinite(rise := start - half_log_snr(past[-1].t)):
        (pred_s, eps_s), (pred_t, eps_t) = _along(s, start), _along(t, start)
        x = x + (pred_s - pred_t) / rise * (now.pred - past[-1].pred)
        x = x + (eps_s - eps_t) / rise * (now.eps - past[-1].eps)
    return x, now


def _along(s, start):
    """Antiderivatives of -sin(theta) (lambda - start) and cos(theta) (lambda - start), at s."""
    if s == 0:
        return -start - math.log(2), 0.0
    theta, rise = s * math.pi / 2, half_log_snr(s) - start
    return (
        math.cos(theta) * rise + math.log(math.tan(theta / 2)),
        math.sin(theta) * rise + math.asinh(math.tan(theta)),
    )
