import math

import pytest
import torch

import diffusion
from diffusion.objective import rotate
from diffusion.training import drop_conditions, stratified_timesteps, v_loss
from tests.diffusion.mixture import REFERENCE, gaussian, mixture


def pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 3, 8, 8, generator=generator, dtype=torch.float64).unbind()


def test_the_mixture_is_the_one_of_the_reference():
    v = mixture(REFERENCE["x"], REFERENCE["check_t"])
    assert (v - REFERENCE["check_v"]).abs().max() < 1e-14


@pytest.mark.parametrize("t", [0.0, 1e-9, 0.3, 0.5, 0.9999, 1.0])
def test_pred_and_eps_give_x_and_v_back_at_every_t(t):
    x, v = pair()
    again = diffusion.to_x_v(*diffusion.to_pred_eps(x, v, t), t)
    assert torch.allclose(torch.stack(again), torch.stack([x, v]), atol=1e-14)


@pytest.mark.parametrize("deviation", [0.01, 0.2, 1.0, 5.0])
def test_noise_of_a_deviation_is_that_of_its_timestep(deviation):
    alpha, sigma = diffusion.alpha_sigma(diffusion.noise_to_t(deviation))
    assert sigma / alpha == pytest.approx(deviation)


def test_at_the_ends_x_is_the_image_and_the_noise():
    x, v = pair()
    pred, eps = diffusion.to_pred_eps(x, v, 0.0)
    assert torch.equal(pred, x)
    assert torch.equal(eps, v)
    pred, eps = diffusion.to_pred_eps(x, v, 1.0)
    assert torch.allclose(pred, -v, atol=1e-15)
    assert torch.allclose(eps, x, atol=1e-15)


def test_every_image_may_have_its_own_t():
    x, v = pair()
    ts = torch.tensor([0.0, 0.3, 0.9, 1.0]).double()
    together = diffusion.to_pred_eps(x, v, ts)
    for i, t in enumerate(ts):
        alone = diffusion.to_pred_eps(x[i : i + 1], v[i : i + 1], float(t))
        assert torch.allclose(together[0][i], alone[0][0], atol=1e-15)
        assert torch.allclose(together[1][i], alone[1][0], atol=1e-15)


def test_v_is_the_derivative_of_x_along_theta():
    pred, eps = pair()
    h = 1e-6
    ahead = diffusion.to_x_v(pred, eps, 0.4 + h)[0]
    behind = diffusion.to_x_v(pred, eps, 0.4 - h)[0]
    slope = (ahead - behind) / (2 * h * math.pi / 2)
    assert torch.allclose(slope, diffusion.to_x_v(pred, eps, 0.4)[1], atol=1e-8)


def test_rotation_keeps_image_and_noise():
    x, v = pair()
    pred, eps = diffusion.to_pred_eps(x, v, 0.7)
    x_there, _ = diffusion.to_x_v(pred, eps, 0.2)
    assert torch.allclose(rotate(x, v, (0.2 - 0.7) * math.pi / 2), x_there, atol=1e-14)


def test_stratified_timesteps_fill_every_stratum_once():
    t = stratified_timesteps(64, torch.Generator().manual_seed(0))
    assert sorted((t * 64).int().tolist()) == list(range(64))
    assert t.tolist() != sorted(t.tolist())


def test_dropped_conditions_are_zero_and_as_many_as_asked():
    embeds = drop_conditions(torch.ones(10_000, 2), 0.2, torch.Generator().manual_seed(0))
    assert set(map(tuple, embeds.tolist())) == {(0.0, 0.0), (1.0, 1.0)}
    assert abs((embeds[:, 0] == 0).float().mean() - 0.2) < 0.02


@pytest.mark.parametrize("octaves", [0, 2])
def test_no_model_has_less_loss_than_the_exact_one(octaves):
    generator = torch.Generator().manual_seed(0)
    images = 0.3 + 0.5 * torch.randn(512, 3, 4, 4, generator=generator, dtype=torch.float64)
    eps = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    t = stratified_timesteps(512, generator).double()

    def loss(model):
        return v_loss(model, images, t, eps, octaves).mean()

    exact = loss(gaussian)
    for off in (0.05, -0.05):
        assert loss(lambda x, t, off=off: gaussian(x, t) + off) > exact
        assert loss(lambda x, t, off=off: gaussian(x, t) * (1 + off)) > exact


def test_octaves_count_an_even_error_for_more_than_one_that_averages_out():
    images, eps = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)  # of which v is 0
    t = torch.tensor([0.2, 0.7])
    board = 1 - 2 * (torch.arange(4)[:, None] + torch.arange(4)).remainder(2).float()
    for error, coarse in ((torch.ones(4, 4), 2 + 4), (board, 0)):
        losses = v_loss(lambda x, t, error=error: 0.5 * error.expand_as(x), images, t, eps, 2)
        expected = [0.25 * (1 + math.cos(t * math.pi / 2) * coarse) / 3 for t in (0.2, 0.7)]
        assert losses.tolist() == pytest.approx(expected)
        losses = v_loss(lambda x, t, error=error: 0.5 * error.expand_as(x), images, t, eps, 2, 0.1)
        expected = [0.25 * (1 + 0.1 * math.cos(t * math.pi / 2) * coarse) / 1.2 for t in (0.2, 0.7)]
        assert losses.tolist() == pytest.approx(expected)
