"""Weights that change with t and over the image, on Gaussians whose flow is known."""

import math

import pytest
import torch

import diffusion
from diffusion import ALWAYS, METHODS, Span, Weight
from tests.diffusion.mixture import STD

MEANS = torch.tensor([[0.3], [-0.4], [0.8]], dtype=torch.float64)  # embeddings are means
ZERO = 0.0
X = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Gaussians:
    """v where each pixel of the images is drawn from N(embedding, STD^2); counts its rows."""

    def __init__(self):
        self.rows = 0

    def __call__(self, x, t, embed):
        self.rows += len(x)
        return gaussian(x, t, embed[:, 0, None, None, None])


def gaussian(x, t, mean):
    alpha, sigma = (a[:, None, None, None] for a in diffusion.alpha_sigma(t))
    variance = alpha**2 * STD**2 + sigma**2
    pred = mean + alpha * STD**2 / variance * (x - alpha * mean)
    return alpha * sigma / variance * (x - alpha * mean) - sigma * pred


def flow(x, t, s, mean):
    """Where the flow takes x from t to s, in closed form: quantiles are kept."""
    (a, b), (c, d) = diffusion.alpha_sigma(t), diffusion.alpha_sigma(s)
    before, after = (a**2 * STD**2 + b**2) ** 0.5, (c**2 * STD**2 + d**2) ** 0.5
    return c * mean + after * (x - a * mean) / before


def at(t, n=2):
    return torch.full((n,), t, dtype=torch.float64)


def v(weights, t, embeds=MEANS, x=X, **how):
    return diffusion.guided(Gaussians(), embeds, weights, **how)(x, at(t, len(x)))


def mean_of(weights):
    """What guidance by weighted means of one variance comes to: v is linear in the mean."""
    return math.fsum(w * float(m) for w, m in zip(weights, MEANS, strict=False))  # 0 fills up


# Over time.


@pytest.mark.parametrize("t", [0.0, 0.2, 0.39, 0.4, 0.5, 0.6, 0.61, 0.9, 1.0])
def test_at_each_t_v_is_the_sum_over_what_counts_there(t):
    spans = Span(0.0, 0.6, 0.0, 0.6), Span(0.4, 1.0, 0.4, 1.0), ALWAYS
    weights = [3.0, 2.0, -1.0]
    now = [w if s.low <= t <= s.high else 0.0 for w, s in zip(weights, spans, strict=True)]
    changing = [Weight(*each) for each in zip(weights, spans, strict=True)]
    assert torch.allclose(v(changing, t), v(now, t), atol=1e-14, rtol=0)
    assert torch.allclose(v(changing, t), gaussian(X, at(t), mean_of(now)), atol=1e-14, rtol=0)


def test_of_two_spans_that_meet_one_counts_at_the_border():
    above, below = Span(0.6, 1.0, 0.6, 1.0, above=True), Span(0.0, 0.6, 0.0, 0.6)
    assert (above.share(0.6), below.share(0.6)) == (0, 1)
    for dtype in (torch.float32, torch.float64):  # 0.6 is another number in each
        net, x = Gaussians(), X.to(dtype)
        model = diffusion.guided(net, MEANS[:2].to(dtype), [Weight(3.0, above), Weight(3.0, below)])
        assert torch.allclose(
            model(x, at(0.6).to(dtype)), gaussian(x, at(0.6).to(dtype), 3 * -0.4), atol=1e-6
        )
        assert net.rows == 2 * 2  # one prompt and the zero embedding


@pytest.mark.parametrize("t", [0.4, 0.5, 0.55, 0.6, 0.7, 0.8])
def test_where_one_fades_into_the_other_weights_are_on_a_line(t):
    upper, lower = Span(0.5, 1.0, 0.7, 1.0), Span(0.0, 0.7, 0.0, 0.5)
    share = min(1.0, max(0.0, (t - 0.5) / 0.2))
    assert upper.share(t) == pytest.approx(share, abs=1e-15)
    assert upper.share(t) + lower.share(t) == pytest.approx(1, abs=1e-15)
    fading = v([Weight(3.0, upper), Weight(3.0, lower)], t, MEANS[:2])
    by_hand = gaussian(X, at(t), mean_of([3 * share, 3 * (1 - share)]))
    assert torch.allclose(fading, by_hand, atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("weights", "t", "rows"),
    [
        ([Weight(3.0, Span(0.5, 1.0, 0.5, 1.0))], 0.4, 1),  # the zero embedding alone
        ([Weight(3.0, Span(0.5, 1.0, 0.5, 1.0))], 0.6, 2),
        ([Weight(1.0, Span(0.5, 1.0, 0.5, 1.0))], 0.6, 1),  # the prompt alone
        ([Weight(1.0, Span(0.5, 1.0, 0.5, 1.0)), 1.0, -1.0], 0.6, 3),
        ([Weight(1.0, Span(0.5, 1.0, 0.5, 1.0)), 1.0, -1.0], 0.4, 3),
        ([Weight(2.0, Span(0.5, 1.0, 0.7, 1.0))], 0.5, 1),  # where a fade begins
        ([Weight(2.0, Span(0.5, 1.0, 0.7, 1.0))], 0.6, 1),  # at weight 1 of it
    ],
)
def test_what_does_not_count_at_a_timestep_is_not_evaluated(weights, t, rows):
    net = Gaussians()
    diffusion.guided(net, MEANS[: len(weights)], weights)(X, at(t))
    assert net.rows == rows * 2


def test_an_embedding_that_counts_twice_is_evaluated_once():
    net, half = Gaussians(), Span(0.0, 0.5, 0.0, 0.5)
    twice = diffusion.guided(net, MEANS[[0, 0]], [2.0, Weight(1.0, half)])
    for t, weight in ((0.3, 3.0), (0.7, 2.0)):
        net.rows = 0
        assert torch.allclose(twice(X, at(t)), v([weight], t, MEANS[:1]), atol=1e-14, rtol=0)
        assert net.rows == 2 * 2


def test_a_weight_that_never_changes_is_that_weight():
    for t in (0.0, 0.3, 1.0):
        plain, whole = v([3.0, 1.0, -0.5], t), v([Weight(3.0), 1.0, Weight(-0.5)], t)
        assert torch.equal(plain, whole)


@pytest.mark.parametrize("t", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_outside_of_the_interval_those_that_count_are_averaged(t):
    spans = [Span(0.0, 0.8, 0.0, 0.8), Span(0.2, 1.0, 0.2, 1.0)]
    now = [w if s.low <= t <= s.high else 0.0 for w, s in zip((3.0, 1.0), spans, strict=True)]
    if not 0.3 <= t <= 0.6:
        now = [w / sum(now) for w in now]
    changing = [Weight(3.0, spans[0]), Weight(1.0, spans[1])]
    inside = v(changing, t, MEANS[:2], interval=(0.3, 0.6))
    assert torch.allclose(inside, gaussian(X, at(t), mean_of(now)), atol=1e-14, rtol=0)


def test_outside_of_the_interval_without_any_prompt_there_is_none():
    net = Gaussians()
    weights = [Weight(3.0, Span(0.5, 1.0, 0.5, 1.0))]
    got = diffusion.guided(net, MEANS[:1], weights, interval=(0.3, 1.0))(X, at(0.2))
    assert torch.equal(got, gaussian(X, at(0.2), ZERO))
    assert net.rows == 2
    with pytest.raises(ValueError, match=r"t = 0\.2.*sum to -1"):
        v([Weight(3.0, Span(0.5, 1.0, 0.5, 1.0)), -1.0], 0.2, MEANS[:2], interval=(0.3, 1.0))


STEADY = [name for name, row in METHODS.items() if row.eta != 1]


@pytest.mark.parametrize("method", STEADY)
def test_sampling_over_a_switch_ends_where_the_two_flows_lead(method):
    above, below = Span(0.6, 1.0, 0.6, 1.0, above=True), Span(0.0, 0.6, 0.0, 0.6)
    model = diffusion.guided(Gaussians(), MEANS[:2], [Weight(2.0, above), Weight(3.0, below)])
    ends = flow(flow(X, 1.0, 0.6, 2 * 0.3), 0.6, 0.0, 3 * -0.4)
    timesteps = diffusion.timesteps("linear", 400, 1.0)
    x = diffusion.sample(model, X, timesteps, method)
    assert (x - ends).abs().max() < 0.01


MULTISTEP = [name for name in STEADY if METHODS[name].looks_back and METHODS[name].evaluations]


@pytest.mark.parametrize("method", [name for name in MULTISTEP if not METHODS[name].reversible])
def test_a_past_from_before_a_switch_makes_up_for_the_late_start_of_what_is_behind_it(method):
    """Why the samplers keep it: a step goes on with the old prompt to its end, and what the next
    ones extrapolate over the jump is half a step of the new one, as much as is missing on average.
    """
    timesteps = diffusion.schedule(diffusion.default_schedule(method), 20).tolist()
    kept, anew = [], []
    for border in [0.305 + i / 40 for i in range(20)]:
        above, below = Span(border, 1.0, border, 1.0, above=True), Span(0.0, border, 0.0, border)
        model = diffusion.guided(Gaussians(), MEANS[1:], [Weight(3.0, above), Weight(3.0, below)])
        ends = flow(flow(X, 1.0, border, 3 * -0.4), border, 0.0, 3 * 0.8)
        first = next(i for i, t in enumerate(timesteps) if t <= border)
        kept.append((diffusion.sample(model, X, timesteps, method) - ends).mean())
        x = diffusion.sample(model, X, timesteps[: first + 1], method)
        anew.append((diffusion.sample(model, x, timesteps[first:], method) - ends).mean())
    kept, anew = torch.stack(kept), torch.stack(anew)
    assert kept.mean().abs() < anew.mean().abs() / 2
    assert kept.square().mean() < 0.5 * anew.square().mean()


def test_a_way_up_over_switches_is_undone_to_the_bit_by_the_reversible_method():
    above, below = Span(0.6, 1.0, 0.6, 1.0, above=True), Span(0.0, 0.6, 0.0, 0.6)
    model = diffusion.guided(
        lambda *args: Gaussians()(*args).float(),
        MEANS[:2],
        [Weight(2.0, above), Weight(3.0, below, diffusion.box_mask((0, 0, 0.5, 1), (6, 4)))],
    )
    images = X.float().clamp(-1, 1)
    up = diffusion.ascending("spliced", 10, 1.0, 0.0, 1.0)
    latents = diffusion.to_latents(model, images, up)
    back = diffusion.from_latents(model, latents, up[::-1])
    assert (back - images).abs().max() < 1e-6


# In places.


def test_masks_weigh_each_pixel_by_itself():
    masks = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(1)).double()
    weights = [3.0, 2.0, -1.0]
    got = v([Weight(w, mask=m) for w, m in zip(weights, masks, strict=True)], 0.4)
    means = sum(w * m * float(e) for w, m, e in zip(weights, masks, MEANS, strict=True))
    assert torch.allclose(got, gaussian(X, at(0.4), means), atol=1e-14, rtol=0)


def test_sampling_under_masks_draws_each_part_as_its_own_prompt_does():
    left = diffusion.box_mask((0, 0, 0.5, 1), (6, 4))
    both = diffusion.guided(
        Gaussians(), MEANS[:2], [Weight(3.0, mask=left), Weight(2.0, mask=1 - left)]
    )
    timesteps = diffusion.schedule("fitted", 18)
    x = diffusion.sample(both, X, timesteps)
    for part, mean, weight in (((..., slice(3)), 0, 3.0), ((..., slice(3, 6)), 1, 2.0)):
        alone = diffusion.guided(Gaussians(), MEANS[mean : mean + 1], [weight])
        alone = diffusion.sample(alone, X, timesteps)
        assert torch.allclose(x[part], alone[part], atol=1e-12, rtol=0)


def test_outside_of_all_masks_v_is_that_without_a_prompt():
    mask = diffusion.box_mask((0, 0, 0.5, 0.5), (6, 4))
    got = v([Weight(3.0, mask=mask)], 0.4, MEANS[:1])
    assert torch.equal(got[..., 2:, :], gaussian(X, at(0.4), ZERO)[..., 2:, :])
    assert torch.equal(got[..., 3:], gaussian(X, at(0.4), ZERO)[..., 3:])
    assert torch.allclose(got[..., :2, :3], gaussian(X, at(0.4), 0.9)[..., :2, :3], atol=1e-14)


def test_where_masks_share_all_out_the_zero_embedding_is_not_evaluated():
    net, left = Gaussians(), diffusion.box_mask((0, 0, 0.5, 1), (6, 4), 0.5)
    right = diffusion.box_mask((0.5, 0, 1, 1), (6, 4), 0.5)
    weights = [Weight(1.0, mask=left), Weight(1.0, mask=right)]
    diffusion.guided(net, MEANS[:2], weights)(X, at(0.4))
    assert net.rows == 2 * 2


def test_masks_and_timesteps_go_together():
    mask = diffusion.box_mask((0, 0, 0.5, 1), (6, 4), 0.4)
    half = Span(0.0, 0.5, 0.0, 0.5)
    for t, counts in ((0.4, True), (0.6, False)):
        got = v([Weight(3.0, half, mask), 2.0], t, MEANS[:2])
        by_hand = gaussian(X, at(t), 3 * 0.3 * counts * mask + 2 * -0.4)
        assert torch.allclose(got, by_hand, atol=1e-14, rtol=0)


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_images_of_a_batch_may_change_each_in_its_own_way(chunk):
    mask = diffusion.box_mask((0, 0, 0.5, 1), (6, 4), 0.4)
    asked = [
        (MEANS, [Weight(3.0, Span(0.0, 0.5, 0.0, 0.5)), 2.0, Weight(-1.0, mask=mask)]),
        (MEANS[1:2], [Weight(2.0, Span(0.3, 1.0, 0.3, 1.0))]),
    ]
    both = diffusion.guided(Gaussians(), *map(list, zip(*asked, strict=True)), chunk=chunk)
    for ts in ((0.4, 0.4), (0.6, 0.6), (0.1, 0.1), (0.2, 0.9)):
        t = torch.tensor(ts, dtype=torch.float64)
        got = both(X, t)
        for i, (embeds, weights) in enumerate(asked):
            alone = diffusion.guided(Gaussians(), embeds, weights)(X[i : i + 1], t[i : i + 1])
            assert torch.equal(got[i : i + 1], alone)


def test_a_box_falls_across_its_edges_and_is_half_on_them():
    mask = diffusion.box_mask((0.25, 0, 0.75, 1), (80, 40), 0.1)
    assert mask.shape == (40, 80)
    assert torch.equal(mask, mask[:1].expand(40, -1))  # the edges of the image are none
    assert mask[0, [0, 17, 40, 62, 79]].tolist() == [0, 0, 1, 0, 0]
    assert float(mask[0, 19] + mask[0, 20]) == pytest.approx(1)  # on both sides of the edge
    assert mask[0, 18:22].tolist() == pytest.approx([0.125, 0.375, 0.625, 0.875])  # over 4 pixels
    sharp = diffusion.box_mask((0, 0, 0.5, 1), (64, 64))
    assert set(sharp.flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("soft_edge", [0.0, 0.05, 0.1, 0.5])
def test_boxes_that_share_the_image_add_up_to_1(soft_edge):
    for size in ((64, 64), (128, 64), (50, 30)):
        boxes = [(0, 0, 0.4, 0.6), (0.4, 0, 1, 0.6), (0, 0.6, 0.4, 1), (0.4, 0.6, 1, 1)]
        total = sum(diffusion.box_mask(box, size, soft_edge) for box in boxes)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-12)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="as large as the images"):
        v([Weight(3.0, mask=torch.ones(5, 5))], 0.4, MEANS[:1])
    with pytest.raises(ValueError, match="masks"):
        v([Weight(3.0, mask=torch.ones(4, 6))], 0.4, MEANS[:1], interval=(0.2, 1.0))
    with pytest.raises(ValueError, match="finite"):
        v([Weight(math.inf)], 0.4, MEANS[:1])
    with pytest.raises(ValueError, match="each embedding: 1 of 3"):
        v([Weight(1.0)], 0.4)


@pytest.mark.parametrize("guide", [None, lambda x, t, embed: 0.8 * gaussian(x, t, 0.1)])
@pytest.mark.parametrize(
    "rule", [name for name in diffusion.RULES if name != "apg"] + ["apg:0.1:0"]
)
def test_rules_and_guides_go_with_prompts_that_count_at_some_timesteps(rule, guide):
    x, how = diffusion.noise(range(3), (3, 4, 6)).double(), {"rule": rule, "guide": guide}
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)

    def drawn(embeds, weights):
        return diffusion.guided(Gaussians(), embeds, weights, **how)(x, t)

    both, second = drawn(MEANS[:2], [3.0, 2.0]), drawn(MEANS[1:2], [2.0])
    assert torch.equal(drawn(MEANS[:2], [Weight(3.0), 2.0]), both)
    changing = drawn(MEANS[:2], [Weight(3.0, Span(0.0, 0.6, 0.0, 0.6)), 2.0])
    assert torch.equal(changing[:2], both[:2])
    torch.testing.assert_close(changing[2], second[2], rtol=0, atol=1e-12)


def test_what_compares_takes_no_masks():
    weights = [Weight(3.0, mask=torch.ones(4, 6))]
    for how in ({"rule": "rescale"}, {"guide": Gaussians()}):
        with pytest.raises(ValueError, match="takes no weights that have masks"):
            v(weights, 0.5, MEANS[:1], **how)
    v(weights, 0.5, MEANS[:1], rule="threshold")
