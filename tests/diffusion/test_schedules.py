import math

import pytest
import torch

import diffusion
from diffusion import schedules


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


def test_fitted_is_logit_but_for_its_slopes():
    u = torch.linspace(1, 0, 19, dtype=torch.float64)
    assert torch.equal(schedules.fitted(u, [0.0] * 4), schedules.logit(u))
    moved = schedules.fitted(u, [0.1])
    shift = (moved.logit() - schedules.logit(u).logit())[1:-1] / 2  # of logit(u)
    expected = (u + 0.1 * (math.pi * u).sin() / math.pi).logit()[1:-1] - u.logit()[1:-1]
    assert (shift - expected).abs().max() <= 1e-12
