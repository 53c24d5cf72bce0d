"""Steered models: closed forms on a Gaussian, and finite differences."""

import pytest
import torch

import diffusion
from tests.diffusion.mixture import MEAN, STD, gaussian

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def bowl(target, strength=1.0):
    """The gradient of strength / 2 |pred - target|^2."""
    return lambda pred: strength * (pred - target)


def test_steered_v_is_the_closed_form_for_a_gaussian():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    t = torch.tensor([0.3, 0.8]).double()
    v = diffusion.steered(gaussian, bowl(-0.2, 5.0))(x, t)
    alpha, sigma = (a[:, None, None, None] for a in diffusion.alpha_sigma(t))
    # pred is linear in x with this slope, so dloss/dx is the slope times dloss/dpred.
    slope = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
    pred = MEAN + slope * (x - alpha * MEAN)
    by_hand = gaussian(x, t) + 5 * (pred + 0.2) * slope * sigma / alpha
    assert (v - by_hand).abs().max() < 1e-12


def small_net():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 3, 3, padding=1).double().requires_grad_(False)
    return lambda x, t: torch.tanh(conv(x)) * (1 + t[:, None, None, None])


@pytest.mark.parametrize("recompute", [False, True])
def test_gradient_agrees_with_finite_differences(recompute):
    net, target = small_net(), torch.randn(1, 3, 6, 6).double()
    x, t = torch.randn(2, 3, 6, 6).double(), torch.tensor([0.4, 0.7]).double()
    alpha, sigma = (a[:, None, None, None] for a in diffusion.alpha_sigma(t))

    def loss(x):
        return (alpha * x - sigma * net(x, t) - target).abs().pow(3).sum((1, 2, 3)) / 3

    def gradient(pred):
        return (pred - target) * (pred - target).abs()

    v = diffusion.steered(net, gradient, recompute=recompute)(x, t)
    slope = ((v - net(x, t)) * alpha / sigma).flatten(1)
    for _ in range(5):
        step = torch.randn_like(x) * 1e-6
        measured = (loss(x + step) - loss(x - step)) / 2
        assert torch.allclose((slope * step.flatten(1)).sum(1), measured, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("t", [0.0, 1.0, 1 - 1e-17])
def test_at_both_ends_v_is_the_models_own(t):
    t = torch.full((2,), t, dtype=torch.float64)
    v = diffusion.steered(gaussian, bowl(0, 1e6))(X, t)
    assert torch.equal(v, gaussian(X, t))


def test_interval_and_every_say_when_the_gradient_is_taken():
    taken = []

    def gradient(pred):
        taken.append(1)
        return pred

    model = diffusion.steered(gaussian, gradient, interval=(0.25, 0.75), every=3)
    ts = torch.linspace(1, 0, 21).double()
    changed = [not torch.equal(model(X, t.expand(2)), gaussian(X, t.expand(2))) for t in ts]
    assert [float(t) for t, c in zip(ts, changed, strict=True) if c] == pytest.approx(
        [0.75 - i / 20 for i in range(11)]
    )
    assert len(taken) == 4  # of 11 evaluations; in between the last one is kept


def test_steered_sample_goes_to_where_the_loss_is_lowest():
    timesteps = diffusion.schedule("spliced", 30)
    ends = [
        diffusion.sample(diffusion.steered(gaussian, bowl(1.0, s)), X, timesteps).mean()
        for s in (0.0, 1.0, 4.0)
    ]
    assert ends[0] < ends[1] < ends[2] < 1.2


@pytest.mark.parametrize(("interval", "every"), [((0.6, 0.4), 1), ((-1, 1), 1), ((0, 1), 0)])
def test_mistakes_in_steering_are_named(interval, every):
    with pytest.raises(ValueError, match=r"interval|every"):
        diffusion.steered(gaussian, bowl(0), interval, every)
