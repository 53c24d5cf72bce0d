"""Noise between noises is noise: the statistics stay, and the ends are the ends."""

import math

import numpy as np
import pytest
import torch

import diffusion

SHAPE = (3, 64, 64)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.8])
def test_turned_noise_is_standard_normal_as_noise_of_a_seed_is(share):
    one, other = diffusion.noise([3, 4], SHAPE)
    turned = diffusion.turned(one, other, share)
    assert diffusion.noise_report(turned).is_noise
    assert not diffusion.noise_report((1 - share) * one + share * other).is_noise

    # Of many pixels the variance is 1 within four standard deviations of its estimate.
    many = diffusion.noise([5, 6], (3, 512, 512)).double()
    x = diffusion.turned(*many, share)
    assert abs(float(x.var()) - 1) < 4 * math.sqrt(2 / x.numel())
    assert abs(float((x**4).mean()) - 3) < 4 * math.sqrt(96 / x.numel())
    angle = math.acos(float((x * many[0]).mean()))
    assert angle == pytest.approx(share * math.pi / 2, abs=0.01)


def test_ends_are_the_noises_themselves_to_the_bit():
    one, other = diffusion.noise([3, 4], SHAPE)
    assert diffusion.turned(one, other, 0) is one
    assert diffusion.turned(one, other, 1) is other
    assert diffusion.between(one, other, 0) == (1, 0)
    assert diffusion.between(one, other, 1) == (0, 1)


def test_noise_turned_towards_itself_stays():
    one = diffusion.noise([3], SHAPE)
    assert torch.equal(diffusion.turned(one, one.clone(), 0.5), one)


def test_weights_between_tensors_keep_the_norm_and_divide_the_angle_evenly():
    rng = np.random.default_rng(0)
    a, b = 1.3 * rng.normal(size=500) + 0.4, 0.8 * rng.normal(size=500) + 0.3
    norms = np.linalg.norm(a), np.linalg.norm(b)
    whole = math.acos(a @ b / math.prod(norms))
    for share in (0.1, 0.5, 0.7):
        wa, wb = diffusion.between(torch.tensor(a), torch.tensor(b), share)
        x = wa * a + wb * b
        norm = np.linalg.norm(x)
        assert norm == pytest.approx((1 - share) * norms[0] + share * norms[1])
        assert math.acos(x @ a / (norm * norms[0])) == pytest.approx(share * whole)


def test_weights_between_parallel_tensors_are_a_line_and_opposite_ones_are_refused():
    a = diffusion.noise([3], SHAPE).double()
    wa, wb = diffusion.between(a, 2 * a, 0.25)
    assert wa + 2 * wb == pytest.approx(1.25)
    for wrong in (-a, 0 * a):
        with pytest.raises(ValueError, match=r"opposite|no direction"):
            diffusion.between(a, wrong, 0.25)
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="from 0 to 1"):
            diffusion.turned(a, a, share)
