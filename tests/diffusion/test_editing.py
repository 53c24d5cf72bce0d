"""Edits between two Gaussians, where what an edit should be is known in closed form."""

import math

import pytest
import torch

import diffusion
from tests.diffusion.mixture import REFERENCE, mixture

SHAPE = (2, 3, 4, 4)
STD = 0.4
EDITS = {"by latents": diffusion.edit_by_latents, "directly": diffusion.edit_directly}


def gaussian(mean):
    """v of a Gaussian around a mean, exact."""

    def model(x, t):
        alpha, sigma = (a[:, None, None, None] for a in diffusion.alpha_sigma(t))
        away = (x - alpha * mean) / (alpha**2 * STD**2 + sigma**2)
        return alpha * sigma * away - sigma * (mean + alpha * STD**2 * away)

    return model


def up(steps, end=1.0):
    return diffusion.ascending("linear", steps, end)


def noise(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(SHAPE, generator=generator, dtype=torch.float64)


def edit(kind, source, target, images, timesteps, method, **options):
    if kind == "directly":
        options["noise"] = noise()
    return EDITS[kind](source, target, images, timesteps, method, **options)


IMAGES = STD * noise(7)()


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("method", ["ddim", "plms", "plms2", "exact"])
def test_edit_between_gaussians_moves_images_by_the_difference_of_the_means(kind, method):
    # Of one width: the flows keep every image at its place about the mean, whatever the noise.
    source, target = gaussian(-0.2), gaussian(0.5)
    errors = [
        float((edit(kind, source, target, IMAGES, up(n), method) - IMAGES - 0.7).abs().max())
        for n in (20, 40, 80)
    ]
    assert errors[2] < (0.07 if method == "ddim" else 0.005)
    # The difference of such flows is straight: multistep methods follow it to rounding.
    if errors[0] > 1e-12:
        order = math.log2(errors[0] / errors[2]) / 2
        assert order > (0.8 if method == "ddim" else 1.2), errors


@pytest.mark.parametrize("kind", EDITS)
def test_edit_stays_nearer_to_the_image_the_earlier_it_turns_back(kind):
    source, target = gaussian(-0.2), gaussian(0.5)
    changes = [
        float((edit(kind, source, target, IMAGES, up(40, end), "plms2") - IMAGES).mean())
        for end in (0.25, 0.5, 0.75, 1.0)
    ]
    assert 0 < changes[0] < changes[1] < changes[2] < changes[3]
    # Where the way turns back at t the change is that of the means there, which the flow widens.
    for end, change in zip((0.25, 0.5, 0.75, 1.0), changes, strict=True):
        alpha, sigma = diffusion.alpha_sigma(end)
        wide = math.sqrt(alpha**2 * STD**2 + sigma**2)
        assert change == pytest.approx(0.7 * (1 - alpha * STD / wide), abs=0.003)


@pytest.mark.parametrize("kind", EDITS)
def test_nothing_changes_between_equal_models(kind):
    images = REFERENCE["means"][:2]
    edited = edit(kind, mixture, mixture, images, up(25), "exact")
    assert torch.allclose(edited, images, atol=1e-9)


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("method", ["ddim", "prk", "plms", "exact"])
def test_images_stay_as_they_are_outside_the_mask(kind, method):
    mask = torch.zeros(1, 4, 4, dtype=torch.float64)
    mask[:, :2] = 1
    mask[:, 2] = 0.5
    source, target = gaussian(-0.2), gaussian(0.5)
    edited = edit(kind, source, target, IMAGES, up(20), method, mask=mask)
    assert torch.equal(edited[..., 3, :], IMAGES[..., 3, :])
    assert torch.allclose(
        edited[..., :2, :] - IMAGES[..., :2, :], torch.tensor(0.7).double(), atol=0.2
    )
    assert 0.2 < float((edited - IMAGES)[..., 2, :].mean()) < 0.5


def test_model_sees_the_image_itself_outside_the_mask():
    seen = []

    def target(x, t):
        seen.append((float(t[0]), x))
        return gaussian(0.5)(x, t)

    mask = torch.zeros(1, 4, 4, dtype=torch.float64)
    mask[:, :2] = 1
    source, timesteps, states = gaussian(-0.2), up(10), {}
    diffusion.edit_by_latents(
        source,
        target,
        IMAGES,
        timesteps,
        "prk",
        mask,
        lambda progress: states.setdefault(progress.t, progress.x),
    )
    assert any(t not in states for t, _ in seen)  # the middles of steps
    for t, x in seen:
        flow = math.hypot(math.cos(t * math.pi / 2) * STD, math.sin(t * math.pi / 2)) / STD
        expected = -0.2 * math.cos(t * math.pi / 2) + flow * (IMAGES + 0.2)
        assert torch.allclose(x[..., 2:, :], expected[..., 2:, :], atol=0.05), t


def test_inversion_the_wrong_way_round_is_named():
    up, x = diffusion.ascending("spliced", 4), torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match="descending: ascending ones are needed"):
        diffusion.to_latents(mixture, x, up[::-1])
    latents = diffusion.to_latents(mixture, x, up)
    with pytest.raises(ValueError, match="ascending: descending ones are needed"):
        diffusion.from_latents(mixture, latents, up)
    with pytest.raises(ValueError, match="what to_latents returns"):
        diffusion.from_latents(mixture, latents.x, up[::-1])


def test_texts_and_single_numbers_are_told_what_they_should_be():
    with pytest.raises(ValueError, match="encode_text"):
        diffusion.guided(mixture, "a cat", 3.0)
    with pytest.raises(ValueError, match=r"a list, one for each image: \[7\]"):
        diffusion.noise(7, (3, 4, 4))
    with pytest.raises(ValueError, match=r"\[N, C, H, W\], not \[3, 4, 4\]"):
        diffusion.sample(mixture, torch.zeros(3, 4, 4), [0.5, 0.0])
