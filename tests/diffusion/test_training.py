import math

import pytest
import torch

import diffusion
from diffusion.training import grid_timesteps, two_steps_in_one
from tests.diffusion.mixture import MEAN, STD, gaussian


@pytest.mark.parametrize("length", [0.25, 0.5, 1.0])
def test_step_of_a_student_ends_where_two_of_a_gaussian_teacher_end(length):
    """DDIM keeps the mean and scales what is away from it, by a factor in closed form."""
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([1.0, (1 + length) / 2], dtype=torch.float64)
    v = two_steps_in_one(gaussian, x, t, length)
    half = length / 2 * math.pi / 2
    for image, start, direction in zip(x, t.tolist(), v, strict=True):
        factor = 1.0
        for at in (start, start - length / 2):
            alpha, sigma = diffusion.alpha_sigma(at)
            variance = (alpha * STD) ** 2 + sigma**2
            factor *= math.cos(half) - math.sin(half) * alpha * sigma * (1 - STD**2) / variance
        (before, _), (after, _) = (diffusion.alpha_sigma(at) for at in (start, start - length))
        expected = after * MEAN + factor * (image - before * MEAN)
        end = math.cos(2 * half) * image - math.sin(2 * half) * direction
        assert torch.allclose(end, expected, atol=1e-12)


def test_timesteps_of_a_grid_are_those_that_a_linear_run_asks_at():
    t = grid_timesteps(64, 4, torch.Generator().manual_seed(0))
    asked = diffusion.schedule("linear", 4)[:-1]
    assert sorted(t.tolist()) == sorted(asked.tolist() * 16)
