import math

import numpy as np
import pytest
import torch

import diffusion
from diffusion import METHODS
from diffusion.adams_bashforth import ab2_step, ab23_step, deis_step
from diffusion.solvers import ADAMS_BASHFORTH, evaluate, linear_multistep
from tests.diffusion.mixture import MEAN, REFERENCE, STD, gaussian, gaussian_flow, mixture

DETERMINISTIC = [name for name, row in METHODS.items() if row.eta_range[0] == 0]
PUBLISHED = [name for name in DETERMINISTIC if f"{name}/5" in REFERENCE]
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


# Of runs down and up. As the PNDM paper says of them, PRK and PLMS are second-order methods with
# small constants; IPLMS, DEIS, 3M and AB23 owe theirs to a start of lower orders.
ORDERS = {
    "ddim": (1, 1),
    "pie": (2, 2),
    "plms2": (2, 2),
    "iplms": (2, 2),
    "prk": (2, 2),
    "plms": (2, 2),
    "ab2": (2, 2),
    "ab23": (2, 2),
    "dpmpp_2m": (2, 2),
    "dpmpp_3m": (2, 2),
    "deis": (2, 2),
    "unipc": (3, 2),
    "exact": (2, 2),
}


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
    order = ORDERS[method][start < end]
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize(("start", "end"), [(0.9, 0.05), (0.05, 0.9)])
def test_prk_and_plms_are_far_closer_than_the_other_methods_of_their_order(start, end):
    steps = (128,)
    pie, plms2 = (errors(m, start, end, steps)[0] for m in ("pie", "plms2"))
    assert errors("prk", start, end, steps)[0] < pie / 4
    if start > end:  # on the way up the starters dominate, where the flow is stiffest
        assert errors("plms", start, end, steps)[0] < plms2 / 4


def change_along(curve, t, s):
    """What a flow adds to x from t to s, by a fine sum, where curve(theta) gives (pred, eps)."""
    edges = np.linspace(t, s, 1_000_001) * math.pi / 2
    middles = (edges[1:] + edges[:-1]) / 2
    pred, eps = curve(middles)
    return float(np.sum(np.cos(middles) * eps - np.sin(middles) * pred) * (edges[1] - edges[0]))


def step_along(curve, step, before, t, s):
    """What a step adds to x where curve(theta) gives the model's (pred, eps)."""

    def model(x, t):
        theta = float(t[0]) * math.pi / 2
        pred, eps = curve(theta)
        return torch.full_like(x, math.cos(theta) * eps - math.sin(theta) * pred)

    def at(t):
        theta = t * math.pi / 2
        pred, eps = curve(theta)
        return torch.full((1, 1, 1, 1), math.cos(theta) * pred + math.sin(theta) * eps).double()

    found, _ = step(model, at(t), t, s, [evaluate(model, at(place), place) for place in before])
    return float(found - at(t))


VARIABLES = {
    ab2_step: lambda theta: -np.log(np.tan(theta)),
    ab23_step: lambda theta: np.log((np.cos(theta) + 0.01) / np.sin(theta)),
}


@pytest.mark.parametrize("step", VARIABLES)
@pytest.mark.parametrize(
    ("before", "t", "s"),
    [([0.9], 0.7, 0.3), ([0.2], 0.1, 0.0), ([0.5], 0.8, 1.0), ([0.2, 0.5], 0.8, 1.0)],
)
def test_ab2_and_ab23_are_exact_where_pred_and_eps_are_straight(step, before, t, s):
    """The ends, where log SNR is infinite, included."""
    if step is ab2_step:
        before = before[-1:]

    def straight(theta):
        place = VARIABLES[step](theta)
        return 0.7 + 0.3 * place, 0.2 - 0.4 * place

    found = step_along(straight, step, before, t, s)
    assert found == pytest.approx(change_along(straight, t, s), abs=1e-6)


@pytest.mark.parametrize(("before", "t", "s"), [((1.0, 0.8), 0.6, 0.3), ((0.2, 0.3), 0.5, 0.7)])
def test_ab23_halves_the_error_of_lines_where_pred_and_eps_are_bent(before, t, s):
    def bent(theta):
        place = VARIABLES[ab23_step](theta)
        return 0.7 + 0.3 * place + 0.1 * place**2, 0.2 - 0.1 * place**2

    exact = change_along(bent, t, s)
    line, half = (step_along(bent, ab23_step, before[-n:], t, s) - exact for n in (1, 2))
    assert half == pytest.approx(line / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("before", "same_as", "t", "s"),
    [((0.3, 0.1), (0.1,), 0.04, 0.0), ((0.0, 0.2), (0.2,), 0.4, 0.6), ((0.0,), (), 0.2, 0.4)],
)
def test_ab23_knows_no_parabola_where_a_clean_image_is_part_of_it(before, same_as, t, s):
    def bent(theta):
        return 0.7 + 0.3 * theta**2, 0.2 - 0.1 * theta**2

    found, expected = (step_along(bent, ab23_step, past, t, s) for past in (before, same_as))
    assert found == expected


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


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_deis_has_the_order_of_its_memory_over_steps_of_any_length(order):
    """From exact history: the error of one step is h^(order + 1)."""
    x = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    steps_errors = []
    for h in (0.02, 0.01):
        ts = [0.5 + k * h for k in (6, 3.5, 2.5, 0, -2)][-order - 1 :]
        past = [evaluate(gaussian, gaussian_flow(x, ts[0], t), t) for t in ts[:-2]]
        there, _ = deis_step(gaussian, gaussian_flow(x, ts[0], ts[-2]), ts[-2], ts[-1], past)
        steps_errors.append((there - gaussian_flow(x, ts[0], ts[-1])).abs().max())
    assert math.log2(steps_errors[0] / steps_errors[1]) == pytest.approx(order + 1, abs=0.35)


@pytest.mark.parametrize("ends", [(1.0, 0.0), (0.0, 1.0), (0.9, 0.5, 0.2)])
def test_adaptive_errors_fall_with_the_tolerance(ends):
    x = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    found, calls = [], []
    for tolerance in (1e-2, 1e-4, 1e-6):
        seen = []
        there = diffusion.sample(
            lambda x, t, seen=seen: seen.append(t) or gaussian(x, t),
            x,
            ends,
            "adaptive",
            tolerance=tolerance,
        )
        found.append(float((there - gaussian_flow(x, ends[0], ends[-1])).square().mean().sqrt()))
        calls.append(len(seen))
    assert all(error < 4 * 10**-k for error, k in zip(found, (2, 4, 6), strict=True)), found
    # Third order: the cube root of a tolerance of a hundredth is 4.6 times as many steps.
    assert 2 < calls[2] / calls[1] < 6


def test_adaptive_image_does_not_depend_on_its_batch():
    x = REFERENCE["x"]
    together = diffusion.sample(mixture, x, [1.0, 0.5, 0.0], "adaptive")
    alone = [diffusion.sample(mixture, one[None], [1.0, 0.5, 0.0], "adaptive") for one in x]
    assert torch.allclose(together, torch.cat(alone), rtol=0, atol=1e-12)


def test_adaptive_steps_are_shorter_where_the_flow_bends():
    ts = []

    def model(x, t):
        ts.append(float(t[0]))
        return gaussian(50 * (x - 0.3) + 0.3, t) if 0.4 < float(t[0]) < 0.5 else gaussian(x, t)

    x = torch.ones(1, 3, 4, 4, dtype=torch.float64)
    diffusion.sample(model, x, [1.0, 0.0], "adaptive", tolerance=1e-3)
    inside = sum(0.35 < t < 0.55 for t in ts)
    assert inside > len(ts) / 2


def test_tolerance_is_checked():
    x = REFERENCE["x"]
    with pytest.raises(ValueError, match="leave out the tolerance"):
        diffusion.sample(mixture, x, [1.0, 0.0], "ddim", tolerance=0.1)
    with pytest.raises(ValueError, match="above 0"):
        diffusion.sample(mixture, x, [1.0, 0.0], "adaptive", tolerance=0.0)


def test_sde_variant_draws_from_the_distribution_of_the_model():
    """In many steps, many pixels end with the mean and the spread of the data."""
    generator = torch.Generator().manual_seed(0)

    def noise():
        return torch.randn(40, 3, 16, 16, generator=generator, dtype=torch.float64)

    x = diffusion.sample(
        gaussian, noise(), diffusion.schedule("log", 60), "dpmpp_2m_sde", noise=noise
    )
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(x.std()) == pytest.approx(STD, abs=0.015)


def test_every_method_has_its_order_measured():
    assert set(ORDERS) == set(DETERMINISTIC) - {"adaptive"}


@pytest.mark.parametrize("method", [m for m, row in METHODS.items() if row.evaluations])
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


@pytest.mark.parametrize("method", DETERMINISTIC)
def test_default_steps_and_schedule_keep_what_the_table_promises(method):
    timesteps = diffusion.schedule(
        diffusion.default_schedule(method), diffusion.default_steps(method)
    )
    x = diffusion.sample(mixture, REFERENCE["x"], timesteps, method)
    exact = diffusion.sample(mixture, REFERENCE["x"], diffusion.schedule("logit", 200), "ab2")
    assert float((x - exact).square().mean().sqrt()) * 127.5 < 2.5


@pytest.mark.parametrize("steps", [8, 20])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("method", [name for name in DETERMINISTIC if METHODS[name].evaluations])
def test_no_method_multiplies_the_unevenness_of_a_network(method, up, steps):
    """Errors of v that differ from evaluation to evaluation, where polynomials may diverge."""
    timesteps = diffusion.schedule(diffusion.default_schedule(method), steps).tolist()
    timesteps = timesteps[::-1] if up else timesteps
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64)

    def uneven(x, t):
        return gaussian(x, t) + 1e-3 * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    even, off = (diffusion.sample(model, x, timesteps, method) for model in (gaussian, uneven))
    assert (off - even).square().mean().sqrt() < 2.5e-3
