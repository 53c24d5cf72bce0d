"""`exact` undoes its own runs: on any model, over any timesteps, up and down."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import diffusion
from diffusion import METHODS
from tests.diffusion.mixture import REFERENCE, gaussian, gaussian_flow, mixture


def run(model, x, timesteps, method="exact", before=None):
    """The last two states of a run, each as (t, x): ready to be run back from."""
    seen = []
    timesteps = [float(t) for t in timesteps]
    x = diffusion.sample(model, x, timesteps, method, before=before, callback=seen.append)
    return (seen[-1].t, seen[-1].x), (timesteps[-1], x)


def undo(model, states, timesteps, method="exact"):
    """The x that the run over these timesteps started from, by the states it ended with."""
    (_, x), last = states
    back = [float(t) for t in timesteps][-2::-1]
    return diffusion.sample(model, x, back, method, before=last)


def network(seed, size):
    """A random convolution net in float64: v is neither smooth in scale nor near any flow."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((8, 4, 3, 3), (3, 8, 3, 3))
    inner, outer = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)

    def model(x, t):
        with_t = torch.cat([x, t[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)
        hidden = torch.nn.functional.conv2d(with_t, inner / 6, padding=1).tanh()
        return size * torch.nn.functional.conv2d(hidden, outer / 8, padding=1)

    return model


# Up to the ends, as near to each other as a thousandth: neither regular nor regularly growing.
TIMESTEPS = st.lists(st.integers(0, 1000), min_size=2, max_size=30, unique=True).map(
    lambda ks: [k / 1000 for k in sorted(ks)]
)


@given(TIMESTEPS, st.integers(0, 2**32), st.floats(0.1, 3), st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_run_back_undoes_a_run_on_any_model_over_any_timesteps(timesteps, seed, size, down):
    model = network(seed, size)
    timesteps = timesteps[::-1] if down else timesteps
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed)).double()
    states = run(model, x, timesteps)
    back = undo(model, states, timesteps)
    largest = max(1.0, *(float(state.abs().max()) for _, state in states))
    assert (back - x).abs().max() <= 1e-9 * largest


ENDS = [(0.0, 1.0), (1.0, 0.0), (0.0, 0.6), (0.6, 0.0), (0.4, 1.0)]


@pytest.mark.parametrize(("start", "end"), ENDS)
@pytest.mark.parametrize("n", [1, 2, 25, 50])
def test_run_back_undoes_a_run_on_the_mixture(start, end, n):
    timesteps = torch.linspace(start, end, n + 1, dtype=torch.float64) ** 1.3
    x = REFERENCE["image"] if start == 0 else REFERENCE["x"]
    assert (undo(mixture, run(mixture, x, timesteps), timesteps) - x).abs().max() <= 1e-11


def test_runs_in_a_row_are_one_run():
    timesteps = diffusion.schedule("spliced", 20).flip(0).tolist()
    x = REFERENCE["image"]
    there = run(mixture, x, timesteps)
    halfway, here = run(mixture, x, timesteps[:9])
    onwards = run(mixture, here[1], timesteps[8:], before=halfway)
    assert torch.equal(onwards[0][1], there[0][1])
    assert torch.equal(onwards[1][1], there[1][1])


def test_other_methods_do_not_undo_their_runs():
    """What the property above would look like if it were easy."""
    timesteps = diffusion.schedule("spliced", 25).flip(0)
    x = REFERENCE["image"]
    latent = diffusion.sample(mixture, x, timesteps, "ddim")
    back = diffusion.sample(mixture, latent, timesteps.flip(0), "ddim")
    assert (back - x).abs().max() > 1e-3


@pytest.mark.parametrize("n", [25, 50])
def test_latent_of_an_image_is_nearer_the_flows_than_that_of_ddim(n):
    timesteps = diffusion.schedule("spliced", n).flip(0).tolist()
    x = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    closed_form = gaussian_flow(x, timesteps[0], timesteps[-1])
    error = {
        method: (diffusion.sample(gaussian, x, timesteps, method) - closed_form).abs().max()
        for method in ("exact", "ddim")
    }
    assert error["exact"] < error["ddim"] / 2


@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (0.0, 1.0)])
def test_second_order_from_end_to_end_over_uneven_steps(start, end):
    x = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    closed_form = gaussian_flow(x, start, end)

    def error(n):
        u = torch.linspace(start, end, n + 1, dtype=torch.float64)
        there = diffusion.sample(gaussian, x, (u + u**2) / 2, "exact")
        return float((there - closed_form).abs().max())

    assert math.log2(error(128) / error(256)) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(
    ("timesteps", "method", "before", "message"),
    [
        ([0.5, 0.2], "plms", (0.6, (1, 3, 4, 4)), "choose from exact"),
        ([0.5, 0.2], "exact", (0.6, (2, 3, 4, 4)), "shape"),
        ([0.5, 0.2], "exact", (0.4, (1, 3, 4, 4)), "lead on"),
        ([0.2, 0.5], "exact", (0.2, (1, 3, 4, 4)), "lead on"),
        ([0.5, 0.2], "exact", (float("nan"), (1, 3, 4, 4)), "lead on"),
    ],
)
def test_state_before_that_does_not_fit_is_refused(timesteps, method, before, message):
    x = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    t, shape = before
    with pytest.raises(ValueError, match=message):
        diffusion.sample(gaussian, x, timesteps, method, before=(t, torch.zeros(shape)))


def test_only_exact_says_that_it_is_reversible():
    assert [name for name, row in METHODS.items() if row.reversible] == ["exact"]


def test_precision_is_found_where_states_are_in_single_precision():
    images, up = torch.randn(2, 3, 4, 4).clamp(-1, 1), diffusion.ascending("linear", 5)

    def single(x, t):  # a network's: of float32 alone
        assert x.dtype == t.dtype == torch.float32
        return (x.bfloat16() * 0.3 + 0.1).float()

    latents = diffusion.to_latents(single, images, up)
    assert latents.x.dtype == torch.float64
    assert torch.equal(diffusion.from_latents(single, latents, up[::-1]).float(), images)
