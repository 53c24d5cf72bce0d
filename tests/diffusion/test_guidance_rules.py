import math

import numpy as np
import pytest
import torch

import diffusion
from diffusion import METHODS, RULES
from diffusion.guidance_rules import choose

D = 4
generator = torch.Generator().manual_seed(0)
MATRIX = torch.randn(D, 3 * 4 * 4, generator=generator, dtype=torch.float64)
X = torch.randn(3, 3, 4, 4, generator=generator, dtype=torch.float64)
T = torch.tensor([0.3, 0.6, 0.9]).double()
EMBEDS = torch.randn(3, D, generator=generator, dtype=torch.float64)
ZERO = torch.zeros(D).double()
CONTRASTING = [name for name, row in RULES.items() if row.function and row.contrasts]
ALL = [name for name, row in RULES.items() if row.function]
TIMESTEPS = diffusion.schedule("linear", 6)
# Prompts of three images of a batch, of which the last two have nothing to compare.
ASKED = [EMBEDS[:2], EMBEDS[1:2], EMBEDS[:2]], [[5.0, 2.0], [1.0], [2.0, -3.0]]


class Net:
    """A network that is different in every place and under every condition; it counts its rows."""

    def __init__(self, strength=1.0):
        self.strength, self.rows = strength, 0

    def __call__(self, x, t, embed):
        self.rows += len(x)
        towards = torch.tanh(embed @ MATRIX.to(embed)).view(-1, *x.shape[1:])
        return torch.sin(2 * x) * t[:, None, None, None] - self.strength * towards


def v_of(embed, net=None):
    return (net or Net())(X, T, embed.expand(len(X), D))


def sums(embeds, weights, net=None):
    """(v under the zero embedding, conditional v, guided v) by hand."""
    v0 = v_of(ZERO, net)
    difference = sum(w * (v_of(e, net) - v0) for e, w in zip(embeds, weights, strict=True))
    return v0, v0 + difference / sum(weights), v0 + difference


def preds(v):
    return diffusion.to_pred_eps(X, v, T)[0]


def dots(a, b):
    return (a * b).sum((1, 2, 3))


# Each rule.


@pytest.mark.parametrize("phi", [0, 0.7, 1])
def test_rescaling_brings_the_spread_to_that_of_the_conditional_v(phi):
    v = diffusion.guided(Net(), EMBEDS[:2], [5.0, 2.0], rule=f"rescale:{phi}")(X, T)
    _, conditional, guided = sums(EMBEDS[:2], [5.0, 2.0])
    wanted = phi * conditional.std((1, 2, 3)) + (1 - phi) * guided.std((1, 2, 3))
    assert torch.allclose(v.std((1, 2, 3)), wanted)
    direction = torch.nn.functional.cosine_similarity(v.flatten(1), guided.flatten(1))
    assert torch.allclose(direction, torch.ones(3).double())


@pytest.mark.parametrize("percentile", [50, 90, 99.5, 100])
def test_thresholding_cuts_pred_and_divides_by_the_percentile(percentile):
    v = diffusion.guided(Net(), EMBEDS[:1], [8.0], rule=f"threshold:{percentile}")(X, T)
    plain = preds(sums(EMBEDS[:1], [8.0])[2]).numpy()
    assert abs(plain).max() > 2
    for image, found in zip(plain, preds(v).numpy(), strict=True):
        limit = max(1, np.percentile(abs(image), percentile, method="higher"))
        assert np.allclose(found, np.clip(image, -limit, limit) / limit)
    # The noise goes with it: x is the same.
    assert torch.allclose(diffusion.to_x_v(*diffusion.to_pred_eps(X, v, T), T)[0], X)


@pytest.mark.parametrize("weights", [[1.0], [], [0.5, 0.5], [1.0, -1.0], [3.0]])
def test_thresholding_is_of_all_images_and_changes_none_whose_pred_is_in_range(weights):
    def model(scale, rule):
        net, embeds = Net(scale), EMBEDS[: len(weights)]
        small = lambda x, t, embed: scale * net(x, t, embed)  # noqa: E731
        return diffusion.guided(small, embeds, weights, rule=rule)(scale * X, T)

    assert torch.equal(model(0.05, "threshold"), model(0.05, "plain"))
    pred = diffusion.to_pred_eps(3 * X, model(3.0, "threshold"), T)[0]
    before = diffusion.to_pred_eps(3 * X, model(3.0, "plain"), T)[0]
    assert pred.abs().max() <= 1 + 1e-12 < before.abs().max()


def test_what_thresholding_has_cut_off_cannot_be_found_again():
    x = torch.linspace(-3, 3, 48).double().view(1, 3, 4, 4)
    other = x.where(x < 2.9, x + 0.5)
    model = diffusion.guided(lambda x, t, _: 0 * x, EMBEDS[:0], [], rule="threshold:90")
    ends = [diffusion.sample(model, start, [0.1, 0.0], "ddim") for start in (x, other)]
    assert torch.equal(*ends)


def published_apg(preds_0, preds_c, weight, radius, beta, eta):
    """Their update of pred, in the order of their paper, over evaluations; NumPy, one image."""
    mean, updates = 0.0, []
    for pred_0, pred_c in zip(preds_0, preds_c, strict=True):
        mean = (pred_c - pred_0) + beta * mean
        norm = np.linalg.norm(mean)
        step = mean * min(1, radius * math.sqrt(mean.size) / norm)
        unit = pred_c / np.linalg.norm(pred_c)
        parallel = np.vdot(step, unit) * unit
        updates.append(pred_c + (weight - 1) * (step - parallel + eta * parallel))
    return updates


@pytest.mark.parametrize(("radius", "beta", "eta"), [(0.06, -0.5, 0), (9, 0.7, 0.2), (0.3, 0, 0)])
def test_apg_is_the_published_update_of_pred(radius, beta, eta):
    model = diffusion.guided(Net(), EMBEDS[:2], [5.0, 2.0], rule=f"apg:{radius}:{beta}:{eta}")
    before, conditional, found = [], [], []
    for t in (0.9, 0.5, 0.2):
        ts = torch.full((3,), t).double()
        v0, v1, v2 = (Net()(X, ts, e.expand(3, D)) for e in (ZERO, *EMBEDS[:2]))
        both = (v0, v0 + (5 * (v1 - v0) + 2 * (v2 - v0)) / 7, model(X, ts))
        for kept, v in zip((before, conditional, found), both, strict=True):
            kept.append(diffusion.to_pred_eps(X, v, ts)[0].numpy())
    for i in range(3):
        theirs = published_apg(
            [p[i] for p in before], [p[i] for p in conditional], 7, radius, beta, eta
        )
        assert np.allclose([p[i] for p in found], theirs, atol=1e-12)


def test_apg_moves_pred_at_right_angles_and_not_too_far():
    v = diffusion.guided(Net(), EMBEDS[:1], [8.0], rule="apg:0.06:0:0")(X, T)
    conditional = preds(sums(EMBEDS[:1], [8.0])[1])
    moved = preds(v) - conditional
    assert dots(moved, conditional).abs().max() < 1e-12
    assert moved.square().mean((1, 2, 3)).sqrt().max() <= 7 * 0.06 + 1e-12


def test_apg_that_takes_everything_along_is_the_weighted_sum():
    v = diffusion.guided(Net(), EMBEDS[:2], [5.0, 2.0], rule="apg:100:0:1")(X, T)
    assert torch.allclose(v, sums(EMBEDS[:2], [5.0, 2.0])[2], atol=1e-12)


def test_cfg_zero_takes_the_multiple_of_v0_that_is_nearest_to_the_conditional_v():
    v = diffusion.guided(Net(), EMBEDS[:2], [5.0, 2.0], rule="cfg_zero")(X, T)
    v0, conditional, _ = sums(EMBEDS[:2], [5.0, 2.0])
    for i in range(3):
        fit, *_ = np.linalg.lstsq(v0[i].reshape(-1, 1).numpy(), conditional[i].reshape(-1).numpy())
        by_hand = fit[0] * v0[i] + 7 * (conditional[i] - fit[0] * v0[i])
        assert torch.allclose(v[i], by_hand, atol=1e-12)


@pytest.mark.parametrize("steps", [2, 7, 50])
def test_cfg_pp_is_the_published_step_for_ddim(steps):
    """Their second algorithm: pred of the guided eps, renoised with that of no prompt."""
    ts, x = diffusion.schedule("linear", steps), X
    share = 0.08
    model = diffusion.guided(Net(), EMBEDS[:2], [5.0, 2.0], rule=f"cfg_pp:{share}:{steps}")
    found = diffusion.sample(model, x, ts, "ddim")
    for t, s in zip(ts.tolist(), ts[1:].tolist(), strict=False):
        at = torch.full((3,), t).double()
        v0, v1, v2 = (Net()(x, at, e.expand(3, D)) for e in (ZERO, *EMBEDS[:2]))
        eps_0 = diffusion.to_pred_eps(x, v0, at)[1]
        eps_c = diffusion.to_pred_eps(x, v0 + (5 * (v1 - v0) + 2 * (v2 - v0)) / 7, at)[1]
        eps = eps_0 + share * 7 * (eps_c - eps_0)
        (alpha, sigma), (alpha_s, sigma_s) = diffusion.alpha_sigma(t), diffusion.alpha_sigma(s)
        if alpha > 1e-9:
            pred = (x - sigma * eps) / alpha
        else:  # at t = 1 x is the noise; what is left of the formula is its limit
            pred = -(v0 + share * (5 * (v1 - v0) + 2 * (v2 - v0)))
            eps_0 = x
        x = alpha_s * pred + sigma_s * eps_0
    assert torch.allclose(found, x, atol=1e-9)


# Autoguidance.


def test_guide_takes_the_place_of_no_prompt():
    strong, weak = Net(1.0), Net(0.4)
    v = diffusion.guided(strong, EMBEDS[:1], [3.0], guide=weak)(X, T)
    assert (strong.rows, weak.rows) == (3, 3)
    by_hand = v_of(EMBEDS[0], weak) + 3 * (v_of(EMBEDS[0], strong) - v_of(EMBEDS[0], weak))
    assert torch.allclose(v, by_hand, atol=1e-12)


def test_guide_is_under_the_mean_of_several_prompts():
    strong, weak = Net(1.0), Net(0.4)
    v = diffusion.guided(strong, EMBEDS, [5.0, 2.0, -1.0], guide=weak)(X, T)
    assert (strong.rows, weak.rows) == (9, 9)
    means = [
        sum(w / 6 * v_of(e, net) for e, w in zip(EMBEDS, (5, 2, -1), strict=True))
        for net in (strong, weak)
    ]
    assert torch.allclose(v, means[1] + 6 * (means[0] - means[1]), atol=1e-12)


def test_rules_take_a_guide_for_v0():
    v = diffusion.guided(Net(), EMBEDS[:1], [8.0], rule="cfg_zero", guide=Net(0.4))(X, T)
    strong, weak = v_of(EMBEDS[0]), v_of(EMBEDS[0], Net(0.4))
    scale = (dots(strong, weak) / dots(weak, weak))[:, None, None, None]
    assert torch.allclose(v, scale * weak + 8 * (strong - scale * weak), atol=1e-12)


@pytest.mark.parametrize(("weights", "rows"), [([1.0], 1), ([0.5, 0.5], 2), ([1.0, -1.0], 3)])
def test_where_there_is_nothing_to_lead_away_from_no_guide_is_asked(weights, rows):
    net, weak, embeds = Net(), Net(0.4), EMBEDS[: len(weights)]
    v = diffusion.guided(net, embeds, weights, guide=weak)(X, T)
    assert (net.rows, weak.rows) == (rows * 3, 0)
    assert torch.equal(v, diffusion.guided(Net(), embeds, weights)(X, T))


# On Gaussians about 0, of standard deviation 0.8 without a prompt or by the guide and 0.5 with it,
# x ends as a multiple of the noise, which is known: v is x d log(g) / dtheta, g its spread at t.

WIDE, NARROW = 0.8, 0.5


def spread(std):
    def v(x, t):
        alpha, sigma = (a[:, None, None, None] for a in diffusion.alpha_sigma(t))
        return alpha * sigma * (1 - std**2) / (alpha**2 * std**2 + sigma**2) * x

    return v


def gaussians(x, t, embed):
    asked = embed.any(1)[:, None, None, None]
    return spread(NARROW)(x, t).where(asked, spread(WIDE)(x, t))


def drawn_of(weight, **how):
    model = diffusion.guided(gaussians, EMBEDS[:1], [weight], **how)
    return diffusion.sample(model, X, diffusion.schedule("linear", 60), "prk")


@pytest.mark.parametrize("guide", [None, lambda x, t, embed: spread(WIDE)(x, t)])
def test_weighted_sum_and_guide_draw_the_power_of_the_spreads(guide):
    wanted = X * WIDE ** (1 - 3) * NARROW**3
    assert torch.allclose(drawn_of(3.0, guide=guide), wanted, atol=1e-3)


@pytest.mark.parametrize("rule", ["rescale:1", "cfg_zero", "apg:100:0", "apg:100:-0.5"])
def test_what_only_changes_the_spread_is_taken_back(rule):
    """All that guidance does here is along pred and v, and that is what these rules remove."""
    assert torch.allclose(drawn_of(3.0, rule=rule), X * NARROW, atol=1e-3)
    assert torch.allclose(drawn_of(3.0, rule=rule), drawn_of(1.0), atol=1e-9)


# What all of them have in common.


@pytest.mark.parametrize("name", ALL)
def test_rule_evaluates_no_more_than_the_sum_does(name):
    net = Net()
    v = diffusion.guided(net, EMBEDS, [1.0, 2.0, 3.0], rule=name)(X, T)
    assert net.rows == 4 * 3
    assert not torch.allclose(v, diffusion.guided(Net(), EMBEDS, [1.0, 2.0, 3.0])(X, T), atol=0.01)


@pytest.mark.parametrize("name", [name for name in CONTRASTING if name != "cfg_pp"])
def test_rule_comes_to_the_conditional_v_as_the_weight_comes_to_1(name):
    for weight in (1 - 1e-7, 1 + 1e-7):
        v = diffusion.guided(Net(), EMBEDS[:1], [weight], rule=name)(X, T)
        assert torch.allclose(v, v_of(EMBEDS[0]), atol=1e-5)


@pytest.mark.parametrize("guide", [None, Net(0.4)])
@pytest.mark.parametrize("name", CONTRASTING)
@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.5], [0.1, 0.2, 0.7], [1.0, -1.0], [-2.0], []])
def test_where_there_is_nothing_to_compare_the_sum_is_drawn(name, weights, guide):
    embeds = EMBEDS[: len(weights)]
    v = diffusion.guided(Net(), embeds, weights, rule=name, guide=guide)(X, T)
    assert torch.equal(v, diffusion.guided(Net(), embeds, weights)(X, T))


@pytest.mark.parametrize("name", ALL)
def test_outside_of_the_interval_there_is_no_rule(name):
    model = diffusion.guided(Net(), EMBEDS[:1], [5.0], interval=(0.5, 0.7), rule=name)
    v, ruled = model(X, T), diffusion.guided(Net(), EMBEDS[:1], [5.0], rule=name)(X, T)
    assert torch.equal(v[1], ruled[1])
    assert torch.equal(v[::2], v_of(EMBEDS[0])[::2])


@pytest.mark.parametrize("guided_by", [None, 0.4])
@pytest.mark.parametrize("method", ["ab23", "prk", "ddpm"])
@pytest.mark.parametrize(("batch", "interval"), [([0, 1, 2], (0, 1)), ([0, 1], (0.2, 0.9))])
@pytest.mark.parametrize("name", ALL)
def test_image_does_not_depend_on_its_batch(name, batch, interval, method, guided_by):
    """To the bit; in float32, with conditions of their own, some with nothing to compare."""

    def net(scale):  # row by row alike, however many there are
        return lambda x, t, embed: torch.stack(
            [(xi * ti).sin() - scale * e.sum() for xi, ti, e in zip(x, t, embed, strict=True)]
        )

    def drawn(places):
        embeds, weights = ([asked[i] for i in places] for asked in ASKED)
        embeds = [embed.float() for embed in embeds]
        how = {"interval": interval, "rule": name, "guide": guided_by and net(guided_by)}
        model = diffusion.guided(net(1.0), embeds, weights, **how)
        sources = diffusion.generators(places)

        def fresh():
            return diffusion.noise(sources, (3, 48, 48))

        return diffusion.sample(model, fresh(), TIMESTEPS, method, noise=fresh)

    together = drawn(batch)
    assert torch.isfinite(together).all()
    for i, image in zip(batch, together, strict=True):
        assert torch.equal(image, drawn([i])[0])


@pytest.mark.parametrize("name", ["rescale", "threshold", "apg:0.06:0", "cfg_zero", "cfg_pp"])
def test_image_drawn_in_steps_of_its_own_does_not_depend_on_its_batch(name):
    net = lambda x, t, embed: (x * t[:, None, None, None]).sin() - embed[:, :1, None, None]  # noqa: E731
    model = diffusion.guided(net, EMBEDS[:1], [5.0], interval=(0.3, 0.8), rule=name)
    ts = diffusion.schedule("linear", 3)
    together = diffusion.sample(model, X, ts, "adaptive")
    for i in range(3):
        alone = diffusion.sample(model, X[i : i + 1], ts, "adaptive")
        assert torch.equal(together[i : i + 1], alone)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ALL)
def test_rules_go_with_every_method(name, method):
    model = diffusion.guided(Net(), EMBEDS[:2], [5.0, 2.0], rule=name)
    if method == "adaptive" and choose(name).remembers:
        return  # the scripts refuse it
    how = {"noise": lambda: torch.ones_like(X)} if METHODS[method].eta else {}
    x = diffusion.sample(model, X, diffusion.schedule("logit", 12), method, **how)
    assert torch.isfinite(x).all()
    assert x.abs().max() < 50


@pytest.mark.parametrize("name", ["rescale", "apg:0.06:0", "cfg_zero", "cfg_pp"])
def test_functions_of_x_and_t_are_inverted_exactly(name):
    assert choose(name).invertible
    model = diffusion.guided(Net(), EMBEDS[:1], [3.0], rule=name)
    ts = diffusion.ascending("linear", 20)
    latents = diffusion.to_latents(lambda x, t: model(x.double(), t.double()), X.tanh(), ts)
    again = diffusion.from_latents(lambda x, t: model(x.double(), t.double()), latents, ts[::-1])
    assert (again - X.tanh()).abs().max() < 1e-6


def test_momentum_is_of_one_run():
    def model():
        return diffusion.guided(Net(), EMBEDS[:1], [5.0], rule="apg:100")

    used = model()
    first, second = used(X, T), used(X, T)
    assert not torch.allclose(first, second)
    assert torch.equal(model()(X, T), first)
    forgetful = diffusion.guided(Net(), EMBEDS[:1], [5.0], rule="apg:0.06:0")
    assert torch.equal(forgetful(X, T), forgetful(X, T))


# Names and values.


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"),
        ("rescale", "rescale:0.7"),
        ("rescale:0.123456789", "rescale:0.123456789"),
        ("apg:1e-1", "apg:0.1:-0.5:0"),
        ("cfg_pp:0.05:100000", "cfg_pp:0.05:100000"),
    ],
)
def test_rule_is_written_with_all_its_values(text, written):
    assert str(choose(text)) == written
    assert choose(written) == choose(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rescal", "unknown rule 'rescal': choose from plain, rescale"),
        ("rescale:1.1", 'rescale takes a phi from 0 to 1, not "1.1"'),
        ("rescale:", 'not ""'),
        ("threshold:nan", "percentile from 50 to 100"),
        ("apg:0.1:-1", "momentum from -0.99 to 0.99"),
        ("plain:1", "write no more than plain"),
        ("apg:1:0:0:0", "write no more than apg:RADIUS:MOMENTUM:PARALLEL"),
    ],
)
def test_mistakes_are_named(text, told):
    with pytest.raises(ValueError, match=r"rule|takes|write") as refused:
        diffusion.guided(Net(), EMBEDS[:1], [3.0], rule=text)
    assert told in str(refused.value)
