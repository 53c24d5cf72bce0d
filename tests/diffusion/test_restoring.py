"""Restoring models against closed forms: of Gaussian images everything is known."""

import math

import pytest
import torch

import diffusion
from diffusion.measurements import Measurement
from diffusion.restoring import (
    adjoint,
    exactly,
    nearly,
    sample_again,
    sample_towards,
    within_range,
)
from tests.diffusion.test_measurements import matrix

SHAPE = (3, 4, 4)
SIZE = math.prod(SHAPE)
HOLE = torch.ones(1, 4, 4, dtype=torch.float64)
HOLE[:, 1:3, 1:4] = 0
TASKS = {
    "upscale": (2,),
    "colourise": (),
    "inpaint": (HOLE,),
    "deblur": (0.8,),
    "denoise": (),
}


@pytest.fixture
def covariance():
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(SIZE, SIZE, dtype=torch.float64, generator=generator) / math.sqrt(SIZE)
    return 0.5 * root @ root.T + 0.02 * torch.eye(SIZE, dtype=torch.float64)


def gaussian(covariance):
    """The model of images of this covariance, and mean 0: pred is linear in x."""

    def model(x, t):
        alpha, sigma = diffusion.alpha_sigma(float(t[0]))
        eye = torch.eye(SIZE, dtype=torch.float64)
        to_pred = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * eye)
        pred = (x.flatten(1) @ to_pred.T).view_as(x)
        return (alpha * x - pred) / sigma

    return model


def pred_of(model, x, t):
    v = model(x, torch.full((len(x),), t, dtype=torch.float64))
    alpha, sigma = diffusion.alpha_sigma(t)
    return alpha * x - sigma * v


def images(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *SHAPE, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("t", [0.15, 0.5, 0.85])
@pytest.mark.parametrize("task", TASKS)
def test_nearly_is_the_posterior_mean_of_gaussian_images(covariance, task, t):
    measured, noise = Measurement({task: TASKS[task]}), 0.1
    x, y = images(2), measured.degrade(images(2, seed=3))
    model = nearly(gaussian(covariance), measured, y, noise, solving=60)
    alpha, sigma = diffusion.alpha_sigma(t)
    a = matrix(measured.degrade, SHAPE)
    # Precisions of what is known add up, as those of x, of y and of the images before.
    eye = torch.eye(SIZE, dtype=torch.float64)
    precision = torch.linalg.inv(covariance) + alpha**2 / sigma**2 * eye + a.T @ a / noise**2
    known = alpha / sigma**2 * x.flatten(1) + y.flatten(1) @ a / noise**2
    wanted = torch.linalg.solve(precision, known.T).T
    assert torch.allclose(pred_of(model, x, t).flatten(1), wanted, atol=1e-5)


def test_few_steps_of_solving_come_near(covariance):
    measured = Measurement({"upscale": (2,)})
    x, y = images(1), measured.degrade(images(1, seed=3))
    preds = [pred_of(nearly(gaussian(covariance), measured, y, 0.1, n), x, 0.5) for n in (60, 3, 1)]
    plain = pred_of(gaussian(covariance), x, 0.5)
    off = [float((pred - preds[0]).norm()) for pred in (*preds[1:], plain)]
    assert off[0] < off[1] < off[2] / 2


def test_nearly_needs_noise():
    with pytest.raises(ValueError, match="noise is above 0"):
        nearly(None, None, None, 0.0)


@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("task", TASKS)
def test_exactly_moves_pred_to_the_nearest_image_that_fits(covariance, task, t):
    measured = Measurement({task: TASKS[task]})
    x, y = images(2), measured.degrade(images(2, seed=3))
    model = gaussian(covariance)
    wanted = measured.fitted(pred_of(model, x, t), y)
    assert torch.allclose(pred_of(exactly(model, measured, y), x, t), wanted, atol=1e-9)


@pytest.mark.parametrize("way", [exactly, lambda *known: nearly(*known, 0.1)])
def test_without_noise_v_is_the_model_s_own(way):
    measured = Measurement({"upscale": (2,)})
    x, y = images(2), measured.degrade(images(2, seed=3))
    model = way(lambda x, t: 2 * x, measured, y)
    assert torch.equal(model(x, torch.zeros(2, dtype=torch.float64)), 2 * x)


@pytest.mark.parametrize("method", ["ddim", "ddpm", "ab23", "plms", "dpmpp_2m_sde", "unipc"])
@pytest.mark.parametrize("task", TASKS)
def test_every_method_draws_what_looks_like_it(covariance, method, task):
    measured = Measurement({task: TASKS[task]})
    y = measured.degrade(images(2, seed=3))
    model = exactly(gaussian(covariance), measured, y)
    generators = diffusion.generators([0, 1])
    timesteps = diffusion.schedule(diffusion.default_schedule(method), 12)
    drawn = diffusion.sample(
        model,
        images(2),
        timesteps,
        method,
        noise=lambda: diffusion.noise(generators, SHAPE).double(),
    )
    assert (measured.degrade(drawn) - y).abs().max() < 0.02


def test_a_hole_is_drawn_as_its_surroundings_say(covariance):
    """Many drawings have the mean and spread that images have whose known pixels are these."""
    measured, n = Measurement({"inpaint": (HOLE,)}), 400
    y = measured.degrade(images(1, seed=3)).expand(n, -1, -1, -1)
    eps = torch.Generator().manual_seed(5)

    def noise():
        return torch.randn(n, *SHAPE, dtype=torch.float64, generator=eps)

    known = HOLE.expand(SHAPE).flatten() > 0
    cross = covariance[~known][:, known] @ torch.linalg.inv(covariance[known][:, known])
    mean = cross @ y[0].flatten()[known]
    deviation = (covariance[~known][:, ~known] - cross @ covariance[known][:, ~known]).diag().sqrt()

    def off(model, times):
        timesteps = diffusion.schedule("logit", 40)
        drawn = sample_again(model, noise(), timesteps, "ddpm", noise, times)
        hole = drawn.flatten(1)[:, ~known]
        spread = float((hole.std(0) / deviation).log().abs().mean())
        return float((hole.mean(0) - mean).abs().mean() / deviation.mean()), spread

    once, thrice = (off(exactly(gaussian(covariance), measured, y), n) for n in (1, 4))
    assert thrice[0] < once[0]
    assert off(nearly(gaussian(covariance), measured, y, 0.01, 40), 1)[0] < 0.15


@pytest.mark.parametrize("task", TASKS)
def test_drawings_have_the_very_distribution_of_images_that_fit(covariance, task):
    """The flow of Gaussian images is affine: where it takes noise tells all that it draws."""
    measured, noise = Measurement({task: TASKS[task]}), 0.1
    y, a = measured.degrade(images(1, seed=3)), matrix(measured.degrade, SHAPE)
    eye = torch.eye(SIZE, dtype=torch.float64)
    starts = torch.cat([torch.zeros(1, *SHAPE, dtype=torch.float64), eye.view(SIZE, *SHAPE)])
    known = y.expand(len(starts), *y.shape[1:])
    model = nearly(gaussian(covariance), measured, known, noise, solving=SIZE)
    ends = diffusion.sample(model, starts, diffusion.schedule("logit", 40), "ab23").flatten(1)
    mean, root = ends[0], ends[1:] - ends[0]
    gain = (
        covariance
        @ a.T
        @ torch.linalg.inv(a @ covariance @ a.T + noise**2 * eye[: len(a), : len(a)])
    )
    wanted = covariance - gain @ a @ covariance
    assert (mean - gain @ y.flatten()).norm() < 0.02 * (gain @ y.flatten()).norm()
    assert (root.T @ root - wanted).norm() < 0.02 * wanted.norm()
    # Without what is known the mean is 0 and the spread is wider: the test would see that.
    assert (covariance - wanted).norm() > 0.1 * wanted.norm()


@pytest.mark.parametrize("noise", [0.01, 0.5])
@pytest.mark.parametrize("task", TASKS)
def test_a_step_towards_what_is_known_is_that_of_the_paper(covariance, task, noise):
    """Against PiGDM's own step, of matrices that are written out and inverted."""
    measured = Measurement({task: TASKS[task]})
    a = matrix(measured.degrade, SHAPE)
    x, y = images(2), measured.degrade(images(2, seed=3))
    (alpha, sigma), (alpha_s, sigma_s) = diffusion.alpha_sigma(0.6), diffusion.alpha_sigma(0.5)
    eye = torch.eye(SIZE, dtype=torch.float64)
    to_pred = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * eye)
    flat, inverse = (
        x.flatten(1),
        torch.linalg.inv(sigma**2 * a @ a.T + noise**2 * eye[: len(a), : len(a)]),
    )
    pred = flat @ to_pred
    eps = (flat - alpha * pred) / sigma
    g = sigma**2 * (y.flatten(1) - pred @ a.T) @ inverse @ a @ to_pred
    wanted = alpha_s * pred + sigma_s * eps + alpha * g
    found = sample_towards(gaussian(covariance), x, [0.6, 0.5], "ddim", measured, y, noise)
    assert torch.allclose(found.flatten(1), wanted, atol=1e-4)


@pytest.mark.parametrize("task", ["upscale", "colourise", "inpaint"])
def test_white_images_are_drawn_from_their_very_distribution_towards_what_is_known(task):
    """What is known is A+ y in all of them, and the rest is independent, with variance 1."""
    measured = Measurement({task: TASKS[task]})
    y, eye = measured.degrade(images(1, seed=3)), torch.eye(SIZE, dtype=torch.float64)
    starts = torch.cat([torch.zeros(1, *SHAPE, dtype=torch.float64), eye.view(SIZE, *SHAPE)])
    known = y.expand(len(starts), *y.shape[1:])
    way = diffusion.schedule("linear", 100)
    ends = sample_towards(gaussian(eye), starts, way, "ddim", measured, known, 1e-3).flatten(1)
    mean, root = ends[0], ends[1:] - ends[0]
    a = matrix(measured.degrade, SHAPE)
    plus = torch.linalg.pinv(a)
    assert torch.allclose(mean, plus @ y.flatten(), atol=1e-3)
    assert (root.T @ root - (eye - plus @ a)).norm() < 0.03 * (eye - plus @ a).norm()


@pytest.mark.parametrize("method", ["ab23", "plms", "exact"])
def test_steps_that_build_on_others_are_not_moved(method):
    with pytest.raises(ValueError, match="more than one evaluation"):
        sample_towards(None, images(1), [1, 0], method, None, None, 0.1)


def test_going_once_is_sampling(covariance):
    timesteps = diffusion.schedule("logit", 6)
    x, model = images(2), gaussian(covariance)
    wanted = diffusion.sample(model, x, timesteps, "ab23")
    assert torch.equal(sample_again(model, x, timesteps, "ab23", None), wanted)


def test_going_again_draws_from_the_same_images(covariance):
    generator, n = torch.Generator().manual_seed(0), 2000

    def noise():
        return torch.randn(n, *SHAPE, dtype=torch.float64, generator=generator)

    timesteps = diffusion.schedule("logit", 20)
    seen = []
    how = {"times": 3, "stretch": 4, "callback": seen.append}
    drawn = sample_again(gaussian(covariance), noise(), timesteps, "ddim", noise, **how)
    found = torch.cov(drawn.flatten(1).T)
    assert len(seen) == 60
    assert (found - covariance).norm() / covariance.norm() < 0.25


@pytest.mark.parametrize("task", TASKS)
def test_adjoint_is_the_transpose(task):
    measured = Measurement({task: TASKS[task]})
    y = measured.degrade(images(1, seed=2))
    wanted = matrix(measured.degrade, SHAPE).T @ y.flatten()
    assert torch.allclose(adjoint(measured, y, images(1)).flatten(), wanted)


@pytest.mark.parametrize("task", ["upscale", "colourise", "inpaint"])
def test_images_within_range_look_like_it(task):
    measured = Measurement({task: TASKS[task]})
    y = measured.degrade(images(8, seed=3).clamp(-1, 1))
    found = within_range(measured, 3 * images(8), y)
    assert found.abs().max() <= 1
    assert (measured.degrade(found) - y).abs().max() < 1e-3
