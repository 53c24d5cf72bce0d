import pytest
import torch

import diffusion
from diffusion.chunking import in_chunks
from tests.diffusion.mixture import MEAN, STD, gaussian

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


# Steered by a loss.


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
