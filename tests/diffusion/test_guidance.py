import pytest
import torch

import diffusion
from diffusion.memory import in_chunks

D = 4
generator = torch.Generator().manual_seed(0)
W = torch.randn(D, 3, generator=generator, dtype=torch.float64)
X = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
T = torch.tensor([0.3, 0.3]).double()
EMBEDS = torch.randn(3, D, generator=generator, dtype=torch.float64)


class Net:
    """A network that is different under every condition, and counts its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, embed):
        self.calls.append(len(x))
        return x * t[:, None, None, None] + torch.tanh(embed @ W)[:, :, None, None]


def under(embed):
    return Net()(X, T, embed.expand(2, D))


def test_one_prompt_of_weight_3_is_v0_plus_3_times_the_difference():
    v0, v1 = under(torch.zeros(D).double()), under(EMBEDS[0])
    v = diffusion.guided(Net(), EMBEDS[:1], [3.0])(X, T)
    assert torch.allclose(v, v0 + 3 * (v1 - v0), atol=1e-14)


def test_weights_are_not_normalised_and_the_zero_embedding_makes_them_sum_to_1():
    v = diffusion.guided(Net(), EMBEDS, [5.0, 2.0, -1.0])(X, T)
    by_hand = (
        5 * under(EMBEDS[0])
        + 2 * under(EMBEDS[1])
        - under(EMBEDS[2])
        - 5 * under(torch.zeros(D).double())
    )
    assert torch.allclose(v, by_hand, atol=1e-13)
    assert diffusion.conditions(EMBEDS, [5.0, 2.0, -1.0])[1] == [-5, 5, 2, -1]


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.5], [0.1, 0.2, 0.7]])
def test_condition_of_weight_0_is_not_evaluated(weights):
    net = Net()
    diffusion.guided(net, EMBEDS[: len(weights)], weights)(X, T)
    assert sum(net.calls) == 2 * len(weights)  # the zero embedding's weight is 0


def test_without_prompts_the_network_is_asked_once_with_the_zero_embedding():
    net = Net()
    v = diffusion.guided(net, EMBEDS[:0], [])(X, T)
    assert net.calls == [2]
    assert torch.equal(v, under(torch.zeros(D).double()))


def test_equal_prompts_are_merged():
    embeds, weights = diffusion.conditions(EMBEDS[[0, 1, 0]], [1.0, 2.0, 1.5])
    assert weights == [-3.5, 2.5, 2.0]
    assert torch.equal(embeds[1:], EMBEDS[:2])
    assert diffusion.conditions(EMBEDS[[0, 0]], [2.0, -2.0])[1] == [1.0]


@pytest.mark.parametrize(("chunk", "calls"), [(None, [8]), (8, [8]), (3, [3, 3, 2]), (1, [1] * 8)])
def test_chunks_do_not_change_v(chunk, calls):
    net = Net()
    v = diffusion.guided(net, EMBEDS, [1.0, 2.0, 3.0], chunk)(X, T)
    assert net.calls == calls
    assert torch.equal(v, diffusion.guided(Net(), EMBEDS, [1.0, 2.0, 3.0])(X, T))


@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory"),
        MemoryError(),
    ],
)
def test_where_memory_runs_out_the_call_is_halved_until_it_fits(full):
    tried = []

    def small(x):
        tried.append(len(x))
        if len(x) > 2:
            raise full
        return x * 2

    call = in_chunks(small)
    assert torch.equal(call(torch.arange(7.0)), torch.arange(7.0) * 2)
    assert tried == [7, 4, 2, 2, 2, 1]
    call(torch.arange(7.0))
    assert tried[6:] == [2, 2, 2, 1]  # what fitted is remembered
    with pytest.raises(type(full)):
        in_chunks(small, chunk=3)(torch.arange(7.0))


def test_guided_model_goes_through_the_sampler():
    timesteps = diffusion.schedule("spliced", 4)
    x = diffusion.sample(diffusion.guided(Net(), EMBEDS, [1.0, 1.0, 1.0]), X, timesteps)
    assert torch.isfinite(x).all()
    assert x.shape == X.shape


@pytest.mark.parametrize(
    ("weights", "chunk", "message"),
    [([1.0], None, "3 embeddings"), ([1, 2, float("nan")], None, "finite"), ([1, 2, 3], 0, "0")],
)
def test_mistakes_are_named(weights, chunk, message):
    with pytest.raises(ValueError, match=message):
        diffusion.guided(Net(), EMBEDS, weights, chunk)


def test_errors_that_are_not_about_memory_are_not_tried_again():
    tried = []

    def broken(x):
        tried.append(len(x))
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_chunks(broken)(torch.arange(7.0))
    assert tried == [7]
