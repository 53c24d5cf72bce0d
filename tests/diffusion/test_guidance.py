import pytest
import torch

import diffusion
from diffusion.chunking import in_chunks

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


@pytest.mark.parametrize("t", [0.0, 0.29, 0.61, 1.0])
def test_outside_of_the_interval_the_prompts_mean_alone_is_evaluated(t):
    net = Net()
    model = diffusion.guided(net, EMBEDS, [5.0, 2.0, -1.0], interval=(0.3, 0.6))
    v = model(X, torch.full_like(T, t))
    assert sum(net.calls) == 2 * 3  # the zero embedding is left out
    plain = diffusion.guided(Net(), EMBEDS, [5 / 6, 2 / 6, -1 / 6])
    assert torch.allclose(v, plain(X, torch.full_like(T, t)), atol=1e-13)


@pytest.mark.parametrize("t", [0.3, 0.45, 0.6])
def test_inside_of_the_interval_guidance_is_what_it_is_without_one(t):
    t = torch.full_like(T, t)
    v = diffusion.guided(Net(), EMBEDS, [5.0, 2.0, -1.0], interval=(0.3, 0.6))(X, t)
    assert torch.equal(v, diffusion.guided(Net(), EMBEDS, [5.0, 2.0, -1.0])(X, t))


def test_images_of_a_batch_may_be_on_both_sides_of_the_border():
    model = diffusion.guided(Net(), EMBEDS[:1], [3.0], interval=(0.3, 0.6))
    t = torch.tensor([0.5, 0.7]).double()
    alone = [model(X[i : i + 1], t[i : i + 1]) for i in range(2)]
    assert torch.allclose(model(X, t), torch.cat(alone), atol=1e-14)


def test_images_of_a_batch_may_have_conditions_of_their_own():
    asked = [(EMBEDS, [5.0, 2.0, -1.0]), (EMBEDS[:1], [3.0])]
    both = diffusion.guided(Net(), *map(list, zip(*asked, strict=True)))(X, T)
    for i, (embeds, weights) in enumerate(asked):
        alone = diffusion.guided(Net(), embeds, weights)(X[i : i + 1], T[:1])
        assert torch.allclose(both[i : i + 1], alone, atol=1e-13)


def test_images_with_conditions_of_their_own_may_be_on_both_sides_of_the_border():
    asked = [[EMBEDS[:2], EMBEDS[2:]], [[2.0, 1.0], [3.0]]]
    t = torch.tensor([0.5, 0.7]).double()
    both = diffusion.guided(Net(), *asked, interval=(0.3, 0.6))(X, t)
    for i, one in enumerate(zip(*asked, strict=True)):
        alone = diffusion.guided(Net(), *one, interval=(0.3, 0.6))(X[i : i + 1], t[i : i + 1])
        assert torch.allclose(both[i : i + 1], alone, atol=1e-13)


def test_weights_without_a_mean_cannot_be_left_alone_outside_of_an_interval():
    with pytest.raises(ValueError, match="interval"):
        diffusion.guided(Net(), EMBEDS[:2], [1.0, -1.0], interval=(0.3, 0.6))
    for weights in ([1.0, -1.0], []):  # no interval, no prompts
        diffusion.guided(Net(), EMBEDS[: len(weights)], weights)(X, T)
    diffusion.guided(Net(), EMBEDS[:0], [], interval=(0.3, 0.6))(X, T)


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
    [
        ([1.0], None, "each embedding: 1 of 3"),
        ([1, 2, float("nan")], None, "finite"),
        ([1, 2, 3], 0, "0"),
    ],
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


def test_one_embedding_and_one_weight_need_no_lists():
    t = torch.full((len(X),), 0.5)
    expected = diffusion.guided(Net(), EMBEDS[:1], [3.0])(X, t)
    for embeds, weights in ((EMBEDS[0], 3.0), (EMBEDS[:1], 3), (EMBEDS[0], [3.0])):
        assert torch.equal(diffusion.guided(Net(), embeds, weights)(X, t), expected)
    with pytest.raises(ValueError, match="each embedding: 1 of 3"):
        diffusion.guided(Net(), EMBEDS, 3.0)


class Student(Net):
    """A network that takes the weight of its prompt."""

    def __call__(self, x, t, embed, weight):
        return super().__call__(x, t, embed) * weight[:, None, None, None]


def test_student_is_a_model_of_one_prompt_of_one_weight():
    student = Student()
    v = diffusion.distilled(student, EMBEDS[0], 3.0)(X, T)
    assert torch.allclose(v, 3 * under(EMBEDS[0]))
    assert student.calls == [2]  # one row an image
    asked = [EMBEDS[:1], EMBEDS[1:2]], [[3.0], [5.0]]
    each = diffusion.distilled(Student(), *asked, chunk=1)(X, T)
    assert torch.equal(each[:1], v[:1])
    assert torch.equal(each[1:], diffusion.distilled(Student(), EMBEDS[1], 5.0)(X[1:], T[1:]))
    none = diffusion.distilled(Student(), EMBEDS[:0], [])(X, T)
    assert torch.equal(none, under(torch.zeros(D).double()))


@pytest.mark.parametrize("weights", [[1.0, 2.0], [-1.0], [float("inf")]])
def test_student_refuses_several_prompts_and_weights_it_has_not_learnt(weights):
    with pytest.raises(ValueError, match="it takes"):
        diffusion.distilled(Student(), EMBEDS[: len(weights)], weights)
