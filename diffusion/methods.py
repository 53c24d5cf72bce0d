"""The table of sampling methods, and the rules for what is not asked for; imports no torch.

A new method is a step function, a row of METHODS and a row of ORDERS in
tests/diffusion/test_solvers.py.
"""

from collections.abc import Callable
from typing import NamedTuple

from diffusion.adams_bashforth import ab2_step, ab23_step, deis_step
from diffusion.adaptive import adaptive_step
from diffusion.dpm_solver import dpmpp_2m_step, dpmpp_3m_step, unipc_step
from diffusion.solvers import (
    ddim_step,
    exact_step,
    iplms_step,
    pie_step,
    plms2_step,
    plms_step,
    prk_step,
)

WHOLE = (0.0, 1.0)  # the timesteps at which guidance is the whole weighted sum by default: all

# Sums of decimal weights miss 1 by rounding; a weight below this is 0 but for that.
NEGLIGIBLE = 1e-9


def _one_a_step(steps):
    return steps


class Method(NamedTuple):
    """A row of METHODS.

    Args:
        step: the step function, as `diffusion.solvers` describes it.
        looks_back: how many past evaluations it uses.
        eta: the share of fresh noise it adds by default.
        eta_range: the lowest and highest eta it takes.
        evaluations: of the model, in a run of n steps; None: as many as the tolerance takes.
        reversible: whether a run back from its last two states undoes it exactly.
        schedule: the schedule it is best on; None: the one that the network was trained on.
        steps: by default: with the default schedule enough for an RMS error below 2.5 of 255 grey
            levels on the mixture that tests draw from (test_solvers.py measures it: take the
            smallest round number that passes); of an adaptive method, at least.
    """

    step: Callable
    looks_back: int = 0
    eta: float = 0.0
    eta_range: tuple[float, float] = (0.0, 0.0)
    evaluations: Callable[[int], int] | None = _one_a_step
    reversible: bool = False
    schedule: str | None = None
    steps: int = 50

    @property
    def stands_alone(self):
        """Whether each step is one evaluation, and none looks at another's."""
        return self.evaluations is _one_a_step and not self.looks_back


DEFAULT = "ab23"  # of those below, where none is asked for

METHODS = {
    "ddpm": Method(ddim_step, eta=1.0, eta_range=(1.0, 1.0)),
    "ddim": Method(ddim_step, eta_range=(0.0, 1.0)),
    "prk": Method(prk_step, evaluations=lambda n: 4 * n),
    "plms": Method(plms_step, 3, evaluations=lambda n: n + 3 * min(n, 3)),
    "pie": Method(pie_step, evaluations=lambda n: 2 * n),
    "plms2": Method(plms2_step, 1, evaluations=lambda n: n + 1),
    "iplms": Method(iplms_step, 3),
    "exact": Method(exact_step, 1, reversible=True),
    "ab2": Method(ab2_step, 1, schedule="logit", steps=20),
    "ab23": Method(ab23_step, 2, schedule="fitted", steps=18),
    "dpmpp_2m": Method(dpmpp_2m_step, 1, eta_range=(0.0, 1.0), schedule="logit", steps=20),
    "dpmpp_2m_sde": Method(
        dpmpp_2m_step, 1, eta=1.0, eta_range=(1.0, 1.0), schedule="logit", steps=20
    ),
    "dpmpp_3m": Method(dpmpp_3m_step, 2, schedule="log", steps=20),
    "unipc": Method(unipc_step, 2, schedule="logit", steps=20),
    "deis": Method(deis_step, 3, schedule="logit", steps=20),
    "adaptive": Method(adaptive_step, 1, evaluations=None, schedule="logit", steps=5),
}


def default_schedule(method, min_t=0.0):
    """The schedule of a method, unless told otherwise.

    Args:
        method: one of METHODS.
        min_t: the lowest timestep that the network was trained on. Above 0 it is one of the
            networks that were trained on `ddpm`.
    """
    return METHODS[method].schedule or ("ddpm" if min_t > 0 else "spliced")


def default_steps(method, usual=None):
    """How many steps a run takes, unless told otherwise.

    Args:
        method: one of METHODS.
        usual: the steps that a script takes by default; None: the method's own. An adaptive method
            always has its own.
    """
    row = METHODS[method]
    return row.steps if usual is None or row.evaluations is None else usual


def resolve_eta(method, eta=None):
    """The share of fresh noise in a run: the given one, or by default that of the method.

    Raises:
        ValueError: for an eta that the method does not take; says which methods do.
    """
    row = METHODS[method]
    low, high = row.eta_range
    eta = row.eta if eta is None else eta
    if low <= eta <= high:
        return eta
    free = [name for name, other in METHODS.items() if other.eta_range[0] < other.eta_range[1]]
    if low < high:
        raise ValueError(f"{method} takes eta from {low:g} to {high:g}, not {eta:g}")
    if low > 0:
        same = next(name for name in free if METHODS[name].step is row.step)
        raise ValueError(f"{method} is {same} with eta {low:g}: for eta {eta:g} use {same}")
    raise ValueError(f"{method} adds no noise: for eta {eta:g} use {' or '.join(free)}")
