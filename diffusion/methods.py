"""The table of sampling methods."""

from collections.abc import Callable
from typing import NamedTuple

from diffusion.adams_bashforth import ab2_step, ab23_step
from diffusion.adaptive import adaptive_step
from diffusion.deis import deis_step
from diffusion.dpm_solver import dpmpp_2m_step, dpmpp_3m_step
from diffusion.solvers import (
    ddim_step,
    exact_step,
    iplms_step,
    pie_step,
    plms2_step,
    plms_step,
    prk_step,
)
from diffusion.unipc import unipc_step

WHOLE = (0.0, 1.0)

# From a noise of 0.27 times the image on. Below 0.28, Kynkaanniemi et al. found guidance of
# photographs unnecessary (2024, arXiv 2404.07724), and so it is for the bundled model
# (bench/README.md): what it makes there of the conditions differs unevenly, and the weight makes
# that more.
NOISY = (0.17, 1.0)

# Sums of decimal weights miss 1 by rounding; a condition this light is no condition.
NEGLIGIBLE = 1e-9


class Method(NamedTuple):
    """A row of METHODS.

    Args:
        step: the step function.
        looks_back: how many past evaluations it uses.
        eta: the share of fresh noise it adds by default; None: it never adds any.
        eta_range: the lowest and highest eta it takes.
        evaluations: of the model, in a run of n steps; None: as many as the tolerance takes.
        reversible: whether a run back from its last two states undoes it exactly.
        schedule: the timesteps it is best on; None: those that the network was trained on.
        steps: of a run whose errors are invisible; of an adaptive method, at least.
        interval: the timesteps to guide at where the zero embedding pushes away, as `guided` takes
            them.
    """

    step: Callable
    looks_back: int
    eta: float | None
    eta_range: tuple[float, float]
    evaluations: Callable[[int], int] | None
    reversible: bool = False
    schedule: str | None = None
    steps: int = 50
    interval: tuple[float, float] = WHOLE


def _newer(*row, schedule="logit", steps=20):
    return Method(*row, schedule=schedule, steps=steps, interval=NOISY)


METHODS = {
    "ddpm": Method(ddim_step, 0, 1.0, (1.0, 1.0), lambda n: n),
    "ddim": Method(ddim_step, 0, 0.0, (0.0, 1.0), lambda n: n),
    "prk": Method(prk_step, 0, None, (0.0, 0.0), lambda n: 4 * n),
    "plms": Method(plms_step, 3, None, (0.0, 0.0), lambda n: n + 3 * min(n, 3)),
    "pie": Method(pie_step, 0, None, (0.0, 0.0), lambda n: 2 * n),
    "plms2": Method(plms2_step, 1, None, (0.0, 0.0), lambda n: n + 1),
    "iplms": Method(iplms_step, 3, None, (0.0, 0.0), lambda n: n),
    "exact": Method(exact_step, 1, None, (0.0, 0.0), lambda n: n, reversible=True),
    "ab2": _newer(ab2_step, 1, None, (0.0, 0.0), lambda n: n),
    "ab23": _newer(ab23_step, 2, None, (0.0, 0.0), lambda n: n, schedule="fitted", steps=17),
    "dpmpp_2m": _newer(dpmpp_2m_step, 1, 0.0, (0.0, 1.0), lambda n: n),
    "dpmpp_2m_sde": _newer(dpmpp_2m_step, 1, 1.0, (1.0, 1.0), lambda n: n),
    "dpmpp_3m": _newer(dpmpp_3m_step, 2, None, (0.0, 0.0), lambda n: n, schedule="log"),
    "unipc": _newer(unipc_step, 3, None, (0.0, 0.0), lambda n: n, schedule="log"),
    "deis": _newer(deis_step, 3, None, (0.0, 0.0), lambda n: n),
    # Guided everywhere: it would take many steps to get over the jump where guidance ends.
    "adaptive": Method(adaptive_step, 1, None, (0.0, 0.0), None, schedule="logit", steps=5),
}


def usual_interval(method, weights):
    """The timesteps to guide at under prompts of these weights, unless told otherwise.

    Those of the method, where the zero embedding's weight is negative. Elsewhere weights divided by
    their sum would be larger than they are, and there is less to save.
    """
    return METHODS[method].interval if sum(weights) > 1 + NEGLIGIBLE else WHOLE
