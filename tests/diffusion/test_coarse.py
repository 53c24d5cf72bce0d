"""Larger images: what a network says of them reduced, against what there is to know of them."""

import pytest
import torch

import diffusion
from diffusion.objective import alpha_sigma, to_pred_eps, to_x_v

TIMESTEPS = [0.05, 0.3, 0.5, 0.8, 0.99, 1.0]
VARIANCE = 0.4


def of_gaussians(x, t):
    """The exact v of images whose pixels are normal, of this variance, and know no other."""
    alpha, sigma = alpha_sigma(t[:, None, None, None])
    pred = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2) * x
    return to_x_v(pred, (x - alpha * pred) / sigma, t)[1]


def in_doubles(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("t", TIMESTEPS)
@pytest.mark.parametrize("factor", [2, 3])
def test_pred_is_what_all_pixels_of_a_square_say_of_its_colour(t, factor):
    """Bayes: k x k pixels of one normal colour, each with noise of its own."""
    x, t = in_doubles(5, 3, factor, factor), torch.full((5,), t, dtype=torch.float64)
    v = diffusion.coarse_first(of_gaussians, factor, 0.05)(x, t)
    pred, _ = to_pred_eps(x, v, t)
    alpha, sigma = alpha_sigma(float(t[0]))
    share = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2 / factor**2)
    assert torch.allclose(pred, share * x.mean((2, 3), keepdim=True).expand_as(x), atol=1e-12)


@pytest.mark.parametrize("t", TIMESTEPS)
def test_model_sees_a_small_noised_image_at_the_timestep_of_its_noise(t):
    """Means of squares: the image's stay, the noise's deviation is a factor-th."""
    small, factor, seen = in_doubles(2, 3, 4, 4), 4, []
    images = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    eps = in_doubles(2, 3, 16, 16, seed=1)
    t = torch.full((2,), t, dtype=torch.float64)

    def model(x, t):
        seen.append((x, t))
        return torch.zeros_like(x)

    x, _ = to_x_v(images, eps, t)
    diffusion.coarse_first(model, factor, 0.01)(x, t)
    ((x_seen, t_seen),) = seen
    means = eps.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5)) * factor
    assert torch.allclose(x_seen, to_x_v(small, means, t_seen)[0], atol=1e-12)
    ratios = (alpha / sigma for alpha, sigma in map(alpha_sigma, (t, t_seen)))
    assert torch.allclose(factor * next(ratios), next(ratios), rtol=1e-12, atol=1e-12)


def test_in_float32_nothing_is_lost_at_the_ends():
    x = in_doubles(1, 3, 8, 8).float()
    model = diffusion.coarse_first(of_gaussians, 2, 0.001)
    for t in (1.0, 0.999, 0.001):
        v = model(x, torch.tensor([t]))
        exact = model(x.double(), torch.tensor([t], dtype=torch.float64))
        assert torch.allclose(v.double(), exact, atol=2e-3)


def test_the_images_own_size_is_seen_below_the_last_timestep():
    seen = []

    def model(x, t):
        seen.append(x.shape[2])
        return torch.zeros_like(x)

    timesteps = diffusion.schedule("linear", 10)
    x = diffusion.sample(
        diffusion.coarse_first(model, 2, 0.45), torch.zeros(1, 3, 8, 8), timesteps, "ddim"
    )
    assert seen == [4] * 6 + [8] * 4
    assert x.shape == (1, 3, 8, 8)


def test_each_image_is_seen_as_its_own_timestep_asks():
    x, t = in_doubles(2, 3, 8, 8), torch.tensor([0.2, 0.7], dtype=torch.float64)
    v = diffusion.coarse_first(of_gaussians, 2, 0.5)(x, t)
    assert torch.equal(v[0], of_gaussians(x, t)[0])
    alone = diffusion.coarse_first(of_gaussians, 2, 0.5)(x[1:], t[1:])
    assert torch.allclose(v[1:], alone, atol=1e-14)


def test_small_images_may_have_a_model_of_their_own_with_the_timesteps_of_the_large_ones():
    def other(x, t):
        return of_gaussians(x, t) + 1

    def of_large(x, t):
        assert t == 0.7
        return other(x, diffusion.coarse_t(t, 2))

    x, t = in_doubles(1, 3, 8, 8), torch.tensor([0.7], dtype=torch.float64)
    assert torch.equal(
        diffusion.coarse_first(of_gaussians, 2, 0.5, of_large)(x, t),
        diffusion.coarse_first(other, 2, 0.5)(x, t),
    )


def of_conditions(x, t, cond):
    """A network whose v differs with everything that it is told."""
    return of_gaussians(x, t) * (1 + cond.mean(1)[:, None, None, None])


@pytest.mark.parametrize(
    ("weights", "how"),
    [
        ([2.0, 1.0], {"interval": (0.45, 0.8)}),
        ([diffusion.Weight(2.0, diffusion.Span(0.45, 0.8)), diffusion.Weight(1.0)], {}),
        ([2.0, 1.0], {"rule": "rescale:0.5", "interval": (0.45, 0.8)}),
        ([2.0, 1.0], {"guide": lambda x, t, cond: of_conditions(x, t / 2, cond)}),
        ([diffusion.Weight(2.0, diffusion.Span(0.2, 0.8))] * 2, {"rule": "threshold:60"}),
    ],
)
@pytest.mark.parametrize("t", [0.44, 0.46, 0.5, 0.79, 0.81])
def test_prompts_and_intervals_count_at_the_timesteps_of_the_large_image(weights, how, t):
    """What weights come to at t, the network and the rule make use of at the small image's."""
    embeds, x = in_doubles(2, 8), in_doubles(1, 3, 4, 4)
    t, seen_at = torch.tensor([t], dtype=torch.float64), lambda t: diffusion.coarse_t(t, 2)
    found = diffusion.guided(of_conditions, embeds, weights, **how, seen_at=seen_at)(x, t)

    def as_at(weight):
        if not isinstance(weight, diffusion.Weight):
            return weight
        return weight.weight * weight.span.share(float(t))

    low, high = how.get("interval", (0.0, 1.0))
    rest = {name: value for name, value in how.items() if name != "interval"}
    now = [as_at(w) for w in weights]
    if not low <= t <= high:
        now, rest = [w / sum(now) for w in now], {}
    expected = diffusion.guided(of_conditions, embeds, now, **rest)(x, seen_at(t))
    assert torch.allclose(found, expected, atol=1e-12)


def test_no_timestep_is_so_small_that_the_end_is_lost():
    x, t = in_doubles(1, 3, 8, 8).float(), torch.zeros(1)
    assert torch.equal(diffusion.coarse_first(torch.mul, 2, 1e-50)(x, t), x * 0)


@pytest.mark.parametrize(
    ("factor", "until", "error"),
    [(0, 0.5, "at least 1, not 0"), (1.5, 0.5, "whole number"), (2, 0, "above 0, not 0")],
)
def test_what_makes_no_sense_is_refused(factor, until, error):
    with pytest.raises(ValueError, match=error):
        diffusion.coarse_first(of_gaussians, factor, until)
