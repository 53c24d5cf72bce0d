"""Guidance: models made of models.

`guided` is one network under several weighted conditions (classifier-free guidance, Ho and
Salimans, 2022, arXiv 2207.12598; several weights as in arXiv 2206.01714), as a sum or by another
of the rules in `diffusion.guidance_rules`. `distilled` is a network that has learnt it for one
condition (Meng et al., 2022, arXiv 2210.03142).
"""

import math

import torch
from torch.nn.functional import pad

from diffusion.chunking import in_chunks
from diffusion.guidance_rules import PLAIN, choose
from diffusion.methods import NEGLIGIBLE, WHOLE
from diffusion.spans import Span
from diffusion.weights import Weight


def conditions(embeds, weights):
    """The conditions to evaluate: the zero embedding added, equal ones merged, weight 0 dropped.

    Args:
        embeds: CLIP embeddings [K, D]; K may be 0.
        weights: K floats of any sign; they are not normalised.
    Returns:
        (embeds [M, D], weights [M]), the weights floats that sum to 1. The zero embedding, which
        stands for "no prompt", takes 1 - sum(weights).
    Raises:
        ValueError: if the numbers of embeddings and weights differ, or a weight is not finite.
    """
    if not all(math.isfinite(w) for w in weights):
        raise ValueError("weights must be finite")
    (zero, own), *rest = _merged(embeds, weights)
    rows = [(zero, [1 - math.fsum(weights), *own]), *rest]
    rows = [(embed, math.fsum(ws)) for embed, ws in rows]
    rows = [(embed, w) for embed, w in rows if abs(w) > NEGLIGIBLE]
    return torch.stack([embed for embed, _ in rows]), [w for _, w in rows]


def _merged(embeds, weights):
    """Pairs of an embedding and its weights: each embedding once, the zero embedding first."""
    if len(embeds) != len(weights):
        raise ValueError(f"a weight is needed for each embedding: {len(weights)} of {len(embeds)}")
    zero = torch.zeros_like(embeds[:1]) if len(embeds) else embeds.new_zeros(1, embeds.shape[1])
    merged = {}  # the bytes of an embedding -> (embedding, weights)
    for embed, own in zip(torch.cat([zero, embeds]), [[], *([w] for w in weights)], strict=True):
        key = embed.detach().cpu().float().numpy().tobytes()
        merged.setdefault(key, (embed, []))[1].extend(own)
    return list(merged.values())


def guided(net, embeds, weights, chunk=None, interval=WHOLE, rule=PLAIN, guide=None, seen_at=None):
    """A model whose v is the weighted sum of a network's v under each condition.

    Outside of `interval` the zero embedding is left out and the weights are divided by their sum:
    fewer rows to evaluate, and no guidance where it may do harm (Kynkaanniemi et al., 2024, arXiv
    2404.07724). Where no prompt counts, the zero embedding has weight 1.

    A `Weight` may change with t and over the image: then v = v0 + sum of m_i w_i(t) (v_i - v0), and
    what counts nowhere at a timestep, the zero embedding included, is not evaluated there.

    A rule other than "plain" makes something else of v_0 and of the difference that the prompts
    make, for each image by itself. `guide` is a weaker network of the same kind, an earlier
    checkpoint say: its v under the prompts, weighted as they are among each other, takes the place
    of v_0, and no zero embedding is evaluated (autoguidance: Karras et al., 2024, arXiv
    2406.02507). For one prompt this is v_guide + w (v - v_guide), for several, with W the sum of
    their weights, `sum_i w_i v_i + (1 - W) sum_i w_i / W v_guide,i`; rules see that as v_0.

    Both need W > 0 and a part for the zero embedding, that is W other than 1. For other images v is
    the plain sum, which at W = 1 is what all rules would give; `threshold` alone needs neither.
    Outside of `interval` there is no rule and no guide.

    Args:
        net: callable (x [N, C, H, W], t [N], embed [N, D]) -> v [N, C, H, W].
        embeds: CLIP embeddings [K, D], on the device of the network; the zero embedding is
            added with weight 1 - sum(weights). Or one embedding [D]. Or a list of N tensors
            [K, D], one for each image of a batch.
        weights: K floats, one prompt of weight 3 gives (-2, 3): v = v0 + 3 (v1 - v0). Or a number,
            for one embedding. Or a list of N lists of K. Each may also be a `Weight`.
        chunk: the largest number of images in one call of the network; None: all conditions in
            one call, or in as few as memory allows.
        interval: (low, high), the timesteps to guide at, both included.
        rule: `NAME[:VALUE...]` of `diffusion.RULES`, as `guidance_rules.choose` reads it.
        guide: callable like net; None: v_0 is net's own under the zero embedding.
        seen_at: callable t [N] -> the timesteps [N] that net, guide and rule are told, where these
            are not those that weights and interval are of; None: t itself.
    Returns:
        A model (x [N, C, H, W], t [N]) -> v [N, C, H, W]. Under a rule that remembers (`apg` with
        momentum) it is one for each run, all of whose calls are of the same N images.
    Raises:
        ValueError: as `conditions` and `choose`, for a chunk below 1, and for masks with a
            guide or a rule that compares, and for an interval with masks or with weights that add
            up to 0 or less; the model raises it where only those that count at t do.
    """
    embeds, weights = _listed(embeds, weights, chunk)
    call, chosen = _told(in_chunks(net, chunk), seen_at), choose(rule)
    weaker = guide and _told(in_chunks(guide, chunk), seen_at)
    if any(isinstance(w, Weight) for ws in weights for w in ws):
        return _changing(call, embeds, weights, interval, chosen, weaker, seen_at)
    pairs = [conditions(*of_image) for of_image in zip(embeds, weights, strict=True)]
    totals = [_prompt_weights(e[0], ws[0]) for e, ws in pairs]
    base = apply_rule = None
    if weaker and any(totals):
        each = list(zip(pairs, totals, strict=True))
        base = _weighted(weaker, [_base(*of_image) for of_image in each])
        pairs = [(e[1:], ws[1:]) if total else (e, ws) for (e, ws), total in each]
    if base or (chosen.rule.function and (any(totals) or not chosen.rule.contrasts)):
        apply_rule = _RuleApplication(chosen, weaker is not None, seen_at)
    guiding = _weighted(call, pairs, apply_rule, totals, base)
    if tuple(interval) == WHOLE:
        return guiding
    low, high = interval
    means = [_mean(ws) for ws in weights]
    plain = _weighted(call, map(conditions, embeds, means))

    def model(x, t):
        inside = (t >= low) & (t <= high)
        if inside.all() or not inside.any():
            return (guiding if inside.all() else plain)(x, t)
        v, of = torch.empty_like(x), torch.arange(len(x), device=x.device)
        for some, part in ((guiding, inside), (plain, ~inside)):
            v[part] = some(x[part], t[part], of[part])
        return v

    return model


def distilled(net, embeds, weights, chunk=None):
    """A model of a network that takes the weight of its condition as an input.

    It evaluates one row an image, where `guided` evaluates two.

    Args:
        net: callable (x [N, C, H, W], t [N], embed [N, D], weight [N]) -> v [N, C, H, W].
        embeds: as for `guided`, one embedding an image at most; none is the zero embedding.
        weights: as for `guided`.
        chunk: as for `guided`.
    Returns:
        A model (x [N, C, H, W], t [N]) -> v [N, C, H, W].
    Raises:
        ValueError: for several conditions of one image, for weights below 0 or not finite, and for
            a chunk below 1.
    """
    embeds, weights = _listed(embeds, weights, chunk)
    for of_image, ws in zip(embeds, weights, strict=True):
        if len(of_image) > 1 or len(of_image) != len(ws):
            raise ValueError(
                f"it takes one condition and its weight, not {len(of_image)} and {len(ws)}"
            )
        if not all(0 <= w < math.inf for w in ws):
            raise ValueError(f"it takes weights of 0 and above, not {ws[0]}")
    call = in_chunks(net, chunk)
    embed = torch.cat([e if len(e) else e.new_zeros(1, e.shape[1]) for e in embeds])
    weight = torch.tensor([float(ws[0]) if ws else 1.0 for ws in weights])

    def model(x, t):
        return call(x, t, embed.expand(len(x), -1), weight.to(x.device).expand(len(x)))

    return model


def _listed(embeds, weights, chunk):
    """Embeddings and weights as lists of those of the images of a batch, or of all; checked."""
    if chunk is not None and chunk < 1:
        raise ValueError(f"a chunk has at least 1 image, not {chunk}")
    if isinstance(embeds, str) or any(isinstance(embed, str) for embed in embeds):
        raise ValueError("embeddings are tensors: encode_text of a CLIP makes them of texts")
    if isinstance(embeds, torch.Tensor):
        embeds = [embeds[None] if embeds.dim() == 1 else embeds]
        weights = [[weights] if isinstance(weights, int | float) else weights]
    return embeds, weights


def _told(call, seen_at):
    """A network that is told other timesteps than it is called with."""
    return call if seen_at is None else lambda x, t, embed: call(x, seen_at(t), embed)


def _mean(weights):
    """Weights divided by their sum."""
    total = math.fsum(weights)
    if weights and total <= NEGLIGIBLE:
        raise ValueError(f"outside of the interval there is no mean of weights that sum to {total}")
    return [w / total for w in weights]


def _prompt_weights(first, weight):
    """The sum of the weights of all conditions but the zero embedding.

    0 where there is nothing to compare them with: without that embedding, and for a sum below 0.

    Args:
        first, weight: the first condition, that embedding if it has a part, and its weight.
    """
    total = 0.0 if first.any() else 1 - weight
    return total if total > NEGLIGIBLE else 0.0


def _base(pair, total):
    """The conditions of a guide for one image: the mean of its prompts, or the zero embedding."""
    embeds, weights = pair
    return (embeds[1:], [w / total for w in weights[1:]]) if total else (embeds[:1], [0.0])


class _RuleApplication:
    """What a rule makes of the sum over conditions, image by image; it keeps their states.

    Args:
        chosen: a `guidance_rules.Chosen`.
        is_guided: whether v_0 is that of a guide, which is no part of the sum.
        seen_at: as for `guided`.
    """

    def __init__(self, chosen, is_guided, seen_at):
        self.chosen, self.is_guided, self.seen_at, self.states = chosen, is_guided, seen_at, {}

    def __call__(self, x, t, v0, v, totals, images):
        """v of some images of the batch [N, C, H, W].

        Args:
            v0, v: of x [N, C, H, W] at t [N]: what is compared with, and the sum.
            totals: the sum of the prompts' weights of each; 0: there is nothing to compare, and v
                is the sum.
            images: their numbers in the batch.
        """
        rule, values = self.chosen.rule, self.chosen.values
        t = self.seen_at(t) if self.seen_at else t
        found = []
        for i, (total, image) in enumerate(zip(totals, images, strict=True)):
            guided_v = v[i]
            if total and self.is_guided:
                guided_v = guided_v + (1 - total) * v0[i]
            if rule.function and (total or not rule.contrasts):
                base, difference = (v0[i], guided_v - v0[i]) if rule.contrasts else (guided_v, 0)
                state = self.states.setdefault(image, {})
                guided_v = rule.function(x[i], t[i], base, difference, total, state, *values)
            found.append(guided_v)
        return torch.stack(found)


def _weighted(call, pairs, apply_rule=None, totals=None, base=None):
    """The model that sums v of (x, t, embed) -> v over conditions.

    Args:
        pairs: (embeds [K, D], weights [K]) for each image of a batch, or one for all images. Where
            some have fewer, the zero embedding fills up with weight 0.
        apply_rule: a _RuleApplication, which makes v of the sum; None: v is the sum.
        totals: of the weights of the prompts, for each image or for all, as it takes them.
        base: a model of its v0; None: the first of the conditions.
    """
    pairs = [(embeds, torch.tensor(ws, dtype=torch.float64)) for embeds, ws in pairs]
    k = max(len(embeds) for embeds, _ in pairs)
    embeds = torch.stack([pad(e, (0, 0, 0, k - len(e))) for e, _ in pairs], dim=1)
    weights = torch.stack([pad(w, (0, k - len(w))) for _, w in pairs], dim=1)

    def model(x, t, of=None):
        # `of` says which images of the batch these are, where they are not all.
        n = len(x)
        shared = of is None or embeds.shape[1] == 1
        conds, w = (embeds, weights) if shared else (embeds[:, of], weights[:, of])
        conds, w = conds.expand(k, n, -1), w.expand(k, n)
        v = call(x.repeat(k, 1, 1, 1), t.repeat(k), conds.flatten(0, 1)).unflatten(0, (k, n))
        total = _sum(v, w[..., None, None, None])
        if apply_rule is None:
            return total
        images = range(n) if of is None else of.tolist()
        here = [totals[i if len(totals) > 1 else 0] for i in images]
        return apply_rule(x, t, base(x, t, of) if base else v[0], total, here, images)

    return model


def _changing(call, embeds, weights, interval, chosen, guide, seen_at):
    """The model that sums v of (x, t, embed) -> v over what counts at t, where it counts.

    Args:
        embeds, weights: those of each image of a batch, or of all; weights may be `Weight`s.
        interval: as for `guided`.
        chosen: a `guidance_rules.Chosen`.
        guide: callable like call, or None.
        seen_at: as for `guided`.
    """
    weights = [[w if isinstance(w, Weight) else Weight(w) for w in ws] for ws in weights]
    pairs = [_merged(*both) for both in zip(embeds, weights, strict=True)]
    if not all(math.isfinite(w.weight) for ws in weights for w in ws):
        raise ValueError("weights must be finite")
    compares = guide or (chosen.rule.function and chosen.rule.contrasts)
    if any(w.mask is not None for ws in weights for w in ws):
        if tuple(interval) != WHOLE:
            raise ValueError("outside of the interval there is no mean of weights that have masks")
        if compares:
            raise ValueError("a guide, or a rule that compares, takes no weights that have masks")
    apply_rule = None
    if guide or chosen.rule.function:
        apply_rule = _RuleApplication(chosen, guide is not None, seen_at)

    def model(x, t):
        known, counting = {}, []
        for i, at in enumerate(t.tolist()):
            which = (i if len(pairs) > 1 else 0, at)
            if which not in known:
                known[which] = _counting(pairs[which[0]], at, interval, t.dtype)
            counting.append(known[which])
        if apply_rule is None:
            return _sum(*_evaluated(call, x, t, counting))
        totals, base = [0.0] * len(x), None
        if compares:
            totals = [_prompt_weights(rows[0][0], float(rows[0][1])) for rows in counting]
        if guide and any(totals):
            each = list(zip(counting, totals, strict=True))
            means = [
                [(e, w / total) for e, w in rows[1:]] if total else rows[:1] for rows, total in each
            ]
            base = _sum(*_evaluated(guide, x, t, means))
            counting = [rows[1:] if total else rows for rows, total in each]
        v, w = _evaluated(call, x, t, counting)
        return apply_rule(x, t, v[0] if base is None else base, _sum(v, w), totals, range(len(x)))

    return model


def _evaluated(call, x, t, counting):
    """v of images x [N, C, H, W] at t [N] under what counts for each, and its weights, for `_sum`.

    Args:
        counting: for each image pairs of an embedding and its weight, as `_counting` returns them.
    Returns:
        (v [K, N, C, H, W], weights [K, N, 1, H, W] or [K, N, 1, 1, 1]); where an image has fewer
        than K conditions, both are 0.
    """
    # Rows as in `_weighted`, condition by condition, but for those of images that have fewer.
    n, k = len(x), max(len(rows) for rows in counting)
    places = [(j, i) for j in range(k) for i in range(n) if j < len(counting[i])]
    conds = torch.stack([counting[i][j][0] for j, i in places])
    which, of = torch.tensor(places, device=x.device).T
    rows = call(x[of], t[of], conds)
    v = rows.new_zeros(k, *x.shape)
    v[which, of] = rows
    maps = [w for rows in counting for _, w in rows if w.dim()]
    if any(w.shape != x.shape[2:] for w in maps):
        raise ValueError(f"a mask is as large as the images, [{x.shape[2]}, {x.shape[3]}]")
    w = torch.zeros(k, n, 1, *(x.shape[2:] if maps else (1, 1)), dtype=torch.float64)
    for j, i in places:
        w[j, i] = counting[i][j][1]
    return v, w


def _counting(pairs, t, interval, dtype):
    """What counts at t, a float: pairs of an embedding and its weight, a tensor [] or [H, W].

    Args:
        pairs: pairs of an embedding and its `Weight`s, the zero embedding first.
        dtype: of the timesteps: borders are rounded as t was.
    """

    def rounded(borders):
        return torch.tensor(borders, dtype=dtype).tolist()

    def now(weight):
        share = Span(*rounded(weight.span.borders), weight.span.above).share(t)
        w = torch.tensor(weight.weight * share, dtype=torch.float64)
        return w if weight.mask is None or not w else w * weight.mask.double().cpu()

    rows = [(embed, [now(weight) for weight in weights]) for embed, weights in pairs]
    rows = [(embed, sum(ws, torch.zeros((), dtype=torch.float64))) for embed, ws in rows]
    total = sum(w for _, w in rows)
    low, high = rounded(interval)
    heard = any(w.any() for _, w in rows)
    if heard and not low <= t <= high:
        if total <= NEGLIGIBLE * sum(w.abs() for _, w in rows):
            raise ValueError(f"at t = {t:g} there is no mean of weights that sum to {total:g}")
        rows = [(embed, w / total) for embed, w in rows]
    else:
        zero, own = rows[0]
        rows[0] = (zero, own + (1 - total))
    return [(embed, w) for embed, w in rows if w.abs().max() > NEGLIGIBLE]


def _sum(v, weights):
    """The sum [N, C, H, W] of v under each condition [K, N, C, H, W], weighted."""
    return (weights.to(v) * v).sum(0)
