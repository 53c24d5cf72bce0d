import math

import pytest
import torch

import diffusion
from diffusion import schedules
from tests.diffusion.mixture import load

REFERENCE = load("schedules.npz")


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


def test_alpha_and_sigma_lie_on_the_unit_circle_and_reach_both_ends():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha, sigma = diffusion.alpha_sigma(t)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones_like(t), atol=1e-15)
    assert (alpha[0], sigma[0]) == (1, 0)
    assert abs(alpha[-1]) < 1e-15
    assert sigma[-1] == 1
    assert diffusion.alpha_sigma(0.5) == pytest.approx((math.sqrt(0.5), math.sqrt(0.5)))


def test_log_snr_and_back():
    t = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    assert torch.allclose(diffusion.log_snr_to_t(diffusion.log_snr(t)), t, atol=1e-14, rtol=0)
    assert diffusion.log_snr(torch.tensor([0.5]).double()).abs() < 1e-15  # as much image as noise


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
@pytest.mark.parametrize("start", [1.0, 0.9, 0.5, 0.01, 1e-9])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_a_run_from_any_start_begins_at_or_below_it_and_takes_a_step(name, start, steps):
    timesteps = diffusion.schedule(name, steps, start)
    assert len(timesteps) >= 2
    assert timesteps[0] <= start
    whole = diffusion.schedule(name, steps)
    below = whole[(whole < start) & (whole > 0)]
    assert timesteps[:-1].tolist() == (below.tolist() or [start])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("cosine", 5), "spliced"), (("linear", 0), "at least 1"), (("linear", 5, 1.5), "1.5")],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        diffusion.schedule(*arguments)


def test_fitted_is_logit_but_for_its_slopes():
    u = torch.linspace(1, 0, 19, dtype=torch.float64)
    assert torch.equal(schedules.fitted(u, [0.0] * 4), schedules.logit(u))
    moved = schedules.fitted(u, [0.1])
    shift = (moved.logit() - schedules.logit(u).logit())[1:-1] / 2  # of logit(u)
    expected = (u + 0.1 * (math.pi * u).sin() / math.pi).logit()[1:-1] - u.logit()[1:-1]
    assert (shift - expected).abs().max() <= 1e-12
