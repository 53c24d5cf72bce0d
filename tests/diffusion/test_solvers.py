import math

import pytest
import torch

import diffusion
from diffusion import METHODS
from diffusion.solvers import ADAMS_BASHFORTH, evaluate, linear_multistep
from tests.diffusion.mixture import REFERENCE, gaussian, gaussian_flow, mixture

DETERMINISTIC = [name for name, row in METHODS.items() if row.eta_range[0] == 0]
PUBLISHED = [name for name in DETERMINISTIC if name != "exact"]  # which is not of that family
STEPS = (5, 10, 25)


@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize("method", PUBLISHED)
def test_forward_run_is_the_published_one(method, n):
    timesteps = [*REFERENCE[f"steps/{n}"], 0.0]
    x = diffusion.sample(mixture, REFERENCE["x"], timesteps, method)
    assert (x - REFERENCE[f"{method}/{n}"]).abs().max() <= 1e-12


@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize("method", PUBLISHED)
def test_reverse_run_is_the_published_one(method, n):
    x = diffusion.sample(mixture, REFERENCE["image"], REFERENCE[f"reverse_steps/{n}"], method)
    assert (x - REFERENCE[f"reverse/{method}/{n}"]).abs().max() <= 1e-12


@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize(("method", "eta"), [("ddim", 0.5), ("ddim", 1.0), ("ddpm", 1.0)])
def test_run_with_fresh_noise_is_the_published_one(method, eta, n):
    noises = iter(REFERENCE[f"eta{eta}/{n}/noises"])
    timesteps = [*REFERENCE[f"steps/{n}"], 0.0]
    x = diffusion.sample(
        mixture, REFERENCE["x"], timesteps, method, eta=eta, noise=lambda: next(noises)
    )
    assert (x - REFERENCE[f"eta{eta}/{n}"]).abs().max() <= 1e-12


# As the PNDM paper says of them, PRK and PLMS are second-order methods with small constants.
ORDERS = {"ddim": 1, "pie": 2, "plms2": 2, "iplms": 2, "prk": 2, "plms": 2, "exact": 2}


def errors(method, start, end, steps):
    """The largest error of runs of `steps` steps each, against the closed form."""
    x = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    exact = gaussian_flow(x, start, end)
    runs = [torch.linspace(start, end, n + 1, dtype=torch.float64) for n in steps]
    return [float((diffusion.sample(gaussian, x, ts, method) - exact).abs().max()) for ts in runs]


@pytest.mark.parametrize(("start", "end"), [(0.9, 0.05), (0.05, 0.9)])
@pytest.mark.parametrize("method", ORDERS)
def test_order_of_convergence(method, start, end):
    """Halving the steps divides the error by 2^order."""
    coarse, fine = errors(method, start, end, (256, 512))
    assert math.log2(coarse / fine) >= ORDERS[method] - 0.1
    assert math.log2(coarse / fine) <= ORDERS[method] + 0.2


@pytest.mark.parametrize(("start", "end"), [(0.9, 0.05), (0.05, 0.9)])
def test_prk_and_plms_are_far_closer_than_the_other_methods_of_their_order(start, end):
    steps = (128,)
    pie, plms2 = (errors(m, start, end, steps)[0] for m in ("pie", "plms2"))
    assert errors("prk", start, end, steps)[0] < pie / 4
    if start > end:  # on the way up the starters dominate, where the flow is stiffest
        assert errors("plms", start, end, steps)[0] < plms2 / 4


@pytest.mark.parametrize("order", ADAMS_BASHFORTH)
def test_multistep_has_the_order_of_its_weights_where_steps_are_equal_in_noise_ratio(order):
    """From exact history, over steps uniform in sigma / alpha: the error is h^(order + 1)."""
    x = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    steps_errors = []
    for h in (0.04, 0.02):
        ts = [math.atan(1 - k * h) * 2 / math.pi for k in range(-order + 1, 2)]
        past = [evaluate(gaussian, gaussian_flow(x, ts[0], t), t) for t in ts[:-2]]
        there, _ = linear_multistep(gaussian, gaussian_flow(x, ts[0], ts[-2]), ts[-2], ts[-1], past)
        steps_errors.append((there - gaussian_flow(x, ts[0], ts[-1])).abs().max())
    assert math.log2(steps_errors[0] / steps_errors[1]) == pytest.approx(order + 1, abs=0.3)


def test_every_method_has_its_order_measured():
    assert set(ORDERS) == set(DETERMINISTIC)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_evaluations_are_as_many_as_the_table_says(method, n):
    calls = []

    def counted(x, t):
        calls.append(t)
        return gaussian(x, t)

    x = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    diffusion.sample(
        counted, x, diffusion.schedule("spliced", n), method, noise=lambda: torch.zeros_like(x)
    )
    assert len(calls) == METHODS[method].evaluations(n)
