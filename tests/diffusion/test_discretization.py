"""The timesteps of runs: from noise, from an image with noise, from latents and up to them."""

import functools
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import diffusion
from diffusion import METHODS, discretization
from tests.diffusion.mixture import gaussian, gaussian_flow, load

REFERENCE = load("schedules.npz")
DETERMINISTIC = [name for name, row in METHODS.items() if row.eta_range[0] == 0]
WHOLE, DDPM_RANGE = (0.0, 1.0), (0.006366145797073841, 0.9957106709480286)


@pytest.mark.parametrize("key", REFERENCE)
def test_schedule_is_the_published_one(key):
    name, steps = key.split("/")
    timesteps = diffusion.schedule(name, int(steps))
    assert len(timesteps) == int(steps) + 1
    assert timesteps[-1] == 0
    assert (timesteps[:-1] - REFERENCE[key]).abs().max() <= 1e-12


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 50])
def test_timesteps_descend_from_at_most_1_to_0(name, steps):
    timesteps = diffusion.schedule(name, steps)
    assert timesteps.dtype == torch.float64
    assert (timesteps.diff() < 0).all()
    assert 0 < timesteps[0] <= 1


@pytest.mark.parametrize(("low", "high"), [WHOLE, DDPM_RANGE])
@pytest.mark.parametrize("name", diffusion.SCHEDULES)
def test_first_and_last_step_are_never_short_beside_those_of_the_schedule(
    name, low, high, monkeypatch
):
    """Up to 100 steps from all starts of two decimals: a start is a timestep, or is near to one."""
    schedule = functools.cache(diffusion.schedule)
    monkeypatch.setattr(discretization, "schedule", schedule)
    for steps in range(1, 101):
        top, *below_top = schedule(name, steps).tolist()
        for percent in range(1, 101):
            start = min(percent / 100, high)
            grid = [max(top, start), *below_top]
            ts = diffusion.timesteps(name, steps, percent / 100, low, high)
            assert (ts[0], ts[-1]) == (start, low)
            assert set(ts[1:-1]) <= set(grid)
            if len(ts) > 2:
                i = sum(t >= start for t in grid)  # grid[i] is the first below the start
                j = sum(t > low for t in grid)
                first_steps = grid[i - 1] - grid[i], grid[i] - max(grid[i + 1], low)
                last_steps = grid[j - 1] - grid[j], min(grid[j - 2], start) - grid[j - 1]
                assert ts[0] - ts[1] > 0.33 * min(first_steps)
                assert ts[-2] - ts[-1] > 0.33 * min(last_steps)
            # No other timestep is left out: at most one at either end.
            assert len(ts) - 2 >= sum(low < t < start for t in grid) - 1 - (low > 0)


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
def test_a_run_from_plain_noise_takes_the_steps_that_are_asked_for(name, steps):
    ts = diffusion.timesteps(name, steps)
    assert len(ts) == steps + 1
    assert ts[1:] == diffusion.schedule(name, steps).tolist()[1:]
    assert diffusion.ascending(name, steps) == ts[::-1]


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
@pytest.mark.parametrize("start", [1.0, 0.9, 0.88, 0.86, 0.5, 0.01, 1e-9])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_a_run_starts_at_its_start_and_takes_a_step(name, start, steps):
    ts = diffusion.timesteps(name, steps, start)
    assert len(ts) >= 2
    assert ts[0] == start


def test_a_start_that_is_no_noise_for_the_model_leaves_no_step():
    assert diffusion.timesteps("ddpm", 50, 0.005, *DDPM_RANGE) == [DDPM_RANGE[0]]


@pytest.mark.parametrize("method", METHODS)
def test_of_a_run_from_plain_noise_nothing_of_the_image_is_left(method):
    eps, runs = diffusion.noise([0], (3, 4, 4)), []
    ts = diffusion.timesteps(diffusion.default_schedule(method), 8, 1.0)
    for shade in (-1.0, 1.0):
        x = diffusion.add_noise(torch.full((1, 3, 4, 4), shade), eps, ts[0])
        runs.append(diffusion.sample(gaussian, x, ts, method, noise=lambda: eps))
    assert torch.equal(*runs)


# Where a start is within rounding of a timestep, or was nearly so: schedule, steps, start.
NEAR_A_TIMESTEP = [
    ("logit", 15, 80),
    ("logit", 30, 80),
    ("logit", 21, 64),
    ("linear", 20, 55),
    ("linear", 50, 70),
    ("spliced", 50, 100),
    ("log", 50, 100),
    ("karras", 50, 100),
]


def check_beside_ddim(method, timesteps):
    """Against the closed form, with a float32 model as networks are; ddim has no history."""
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(1, 3, 2, 2)
    exact = gaussian_flow(x, timesteps[0], timesteps[-1])
    error, usual = (
        float((diffusion.sample(gaussian, x.float(), timesteps, m) - exact).abs().max())
        for m in (method, "ddim")
    )
    assert error < 3 * usual + 1e-3


@pytest.mark.parametrize("method", DETERMINISTIC)
def test_no_method_is_thrown_off_by_a_start_beside_a_timestep(method):
    for name, steps, percent in NEAR_A_TIMESTEP:
        for ends in (WHOLE, DDPM_RANGE):
            down = diffusion.timesteps(name, steps, percent / 100, *ends)
            check_beside_ddim(method, down)
            check_beside_ddim(method, down[::-1])


@settings(deadline=None, max_examples=120, derandomize=True)
@given(
    st.sampled_from(DETERMINISTIC),
    st.sampled_from(list(diffusion.SCHEDULES)),
    st.integers(1, 40),
    st.integers(1, 100),
    st.sampled_from([WHOLE, DDPM_RANGE]),
    st.booleans(),
)
def test_no_method_is_thrown_off_by_any_start(method, name, steps, percent, ends, ascending):
    timesteps = diffusion.timesteps(name, steps, percent / 100, *ends)
    if len(timesteps) > 1:
        check_beside_ddim(method, timesteps[::-1] if ascending else timesteps)


@pytest.mark.parametrize("method", DETERMINISTIC)
def test_no_method_is_thrown_off_by_timesteps_within_rounding_of_each_other(method):
    """Files of earlier versions hold such."""
    x = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    for gap in (1e-16, 1e-9, 1e-7):
        ts = [0.8, 0.8 - gap, 0.7, 0.6, 0.5, 0.5 - gap, 0.4, 0.3, 0.2, 0.2 - gap]
        for way in (ts, ts[::-1]):
            exact = gaussian_flow(x, way[0], way[-1])
            error, usual = (
                (diffusion.sample(gaussian, x.float(), way, m) - exact).abs().max()
                for m in (method, "ddim")
            )
            assert error < 1.5 * usual


@pytest.mark.parametrize(
    ("arguments", "message"), [(("cosine", 5), "spliced"), (("linear", 0), "at least 1")]
)
def test_mistakes_are_named(arguments, message):
    for function in (diffusion.schedule, diffusion.timesteps, diffusion.ascending):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


@pytest.mark.parametrize("start", [0.0, -0.5, 1.5, float("nan")])
def test_a_start_is_a_timestep(start):
    with pytest.raises(ValueError, match=str(start)):
        diffusion.timesteps("linear", 5, start)


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
def test_fresh_noise_of_very_short_steps_is_no_root_of_a_rounding_error(name):
    ts = diffusion.schedule(name, 20_000).tolist()
    pairs = list(itertools.pairwise(ts))
    short = [*pairs[:50], *pairs[-50:], (1e-5, 1e-5 - 1e-20), (0.5, 0.5 - 1e-16), (1.0, 1 - 1e-16)]
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for method in ("ddpm", "dpmpp_2m_sde"):
        step = METHODS[method].step
        for t, s in short:
            there, _ = step(lambda x, t: -x, x, t, s, [], eta=1.0, noise=lambda: x)
            assert torch.isfinite(there).all()
