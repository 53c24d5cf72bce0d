"""Guidance: models made of models.

`guided` is one network under several weighted conditions (classifier-free guidance, Ho and
Salimans, 2022, arXiv 2207.12598; several weights as in arXiv 2206.01714), as a sum or by another
of the rules in `diffusion.guidance_rules`. `distilled` is a
network that has learnt it for one condition (Meng et al., 2022, arXiv 2210.03142). `steered` is a
model that follows the gradient of a loss down (Dhariwal and Nichol, 2021, arXiv 2105.05233).
"""

import math

import torch
from torch.nn.functional import pad

from diffusion.chunking import in_chunks
from diffusion.guidance_rules import PLAIN, choose
from diffusion.methods import NEGLIGIBLE, WHOLE
from diffusion.objective import alpha_sigma, like

NO_IMAGE = 1e-6  # an alpha below this is 0 but for rounding


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
    if len(embeds) != len(weights):
        raise ValueError(f"a weight is needed for each embedding: {len(weights)} of {len(embeds)}")
    if not all(math.isfinite(w) for w in weights):
        raise ValueError("weights must be finite")
    zero = torch.zeros_like(embeds[:1]) if len(embeds) else embeds.new_zeros(1, embeds.shape[1])
    merged = {}  # the bytes of an embedding -> [embedding, weights]
    everything = torch.cat([zero, embeds])
    for embed, weight in zip(everything, [1 - math.fsum(weights), *weights], strict=True):
        key = embed.detach().cpu().float().numpy().tobytes()
        merged.setdefault(key, [embed, []])[1].append(float(weight))
    rows = [(embed, math.fsum(ws)) for embed, ws in merged.values()]
    rows = [(embed, w) for embed, w in rows if abs(w) > NEGLIGIBLE]
    return torch.stack([embed for embed, _ in rows]), [w for _, w in rows]


def guided(net, embeds, weights, chunk=None, interval=WHOLE, rule=PLAIN, guide=None):
    """A model whose v is the weighted sum of a network's v under each condition.

    Outside of `interval` the zero embedding is left out and the weights are divided by their sum:
    fewer rows to evaluate, and no guidance where it may do harm (Kynkaanniemi et al., 2024, arXiv
    2404.07724).

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
            for one embedding. Or a list of N lists of K.
        chunk: the largest number of images in one call of the network; None: all conditions in
            one call, or in as few as memory allows.
        interval: (low, high), the timesteps to guide at, both included.
        rule: `NAME[:VALUE...]` of `diffusion.RULES`, as `guidance_rules.choose` reads it.
        guide: callable like net; None: v_0 is net's own under the zero embedding.
    Returns:
        A model (x [N, C, H, W], t [N]) -> v [N, C, H, W]. Under a rule that remembers (`apg` with
        momentum) it is one for each run, all of whose calls are of the same N images.
    Raises:
        ValueError: as `conditions` and `choose`, for a chunk below 1, and for an interval with
            weights that add up to 0 or less.
    """
    embeds, weights = _listed(embeds, weights, chunk)
    call, chosen = in_chunks(net, chunk), choose(rule)
    asked = [conditions(*of_image) for of_image in zip(embeds, weights, strict=True)]
    totals = [_contrast(*of_image) for of_image in asked]
    base = contrast = None
    if guide is not None and any(totals):
        each = list(zip(asked, totals, strict=True))
        base = _weighted(in_chunks(guide, chunk), [_base(*of_image) for of_image in each])
        asked = [(e[1:], ws[1:]) if total else (e, ws) for (e, ws), total in each]
    if base or (chosen.rule.function and (any(totals) or not chosen.rule.contrasts)):
        contrast = _Contrast(chosen, totals, base)
    guiding = _weighted(call, asked, contrast)
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


def _mean(weights):
    """Weights divided by their sum."""
    total = math.fsum(weights)
    if weights and total <= NEGLIGIBLE:
        raise ValueError(f"outside of the interval there is no mean of weights that sum to {total}")
    return [w / total for w in weights]


def _contrast(embeds, weights):
    """The sum of the weights of all conditions but the zero embedding, which is the first.

    0 where there is nothing to compare them with: without that embedding, and for a sum below 0.
    """
    total = 0.0 if embeds[0].any() else 1 - weights[0]
    return total if total > NEGLIGIBLE else 0.0


def _base(asked, total):
    """What a guide is asked for one image: its prompts' mean, or nothing."""
    embeds, weights = asked
    return (embeds[1:], [w / total for w in weights[1:]]) if total else (embeds[:1], [0.0])


class _Contrast:
    """What a rule makes of the sum that `_weighted` forms, image by image; it keeps their states.

    Args:
        chosen: a `guidance_rules.Chosen`.
        totals: the sum of the prompts' weights of each image, or one for all; 0: there is nothing
            to compare, and the sum is what it is.
        base: a model of v_0; None: v_0 is the first of the rows that are summed up.
    """

    def __init__(self, chosen, totals, base):
        self.chosen, self.totals, self.base, self.states = chosen, totals, base, {}

    def __call__(self, x, t, rows, v, of):
        """v of the images x [N, C, H, W] at t [N].

        Args:
            rows, v: v under each condition [K, N, C, H, W], and the weighted sum.
            of: which images of the batch these are [N]; None: all.
        """
        rule, values = self.chosen.rule, self.chosen.values
        v0 = rows[0] if self.base is None else self.base(x, t, of)
        found = []
        for i, image in enumerate(range(len(x)) if of is None else of.tolist()):
            total = self.totals[image if len(self.totals) > 1 else 0]
            whole = v[i]
            if total and self.base:
                whole = whole + (1 - total) * v0[i]
            if rule.function and (total or not rule.contrasts):
                base, difference = (v0[i], whole - v0[i]) if rule.contrasts else (whole, 0)
                state = self.states.setdefault(image, {})
                whole = rule.function(x[i], t[i], base, difference, total, state, *values)
            found.append(whole)
        return torch.stack(found)


def _weighted(call, asked, contrast=None):
    """The model that sums v of (x, t, embed) -> v over conditions.

    Args:
        asked: (embeds [K, D], weights [K]) for each image of a batch, or one for all images. Where
            some have fewer, the zero embedding fills up with weight 0.
        contrast: a _Contrast, which makes v of the sum; None: v is the sum.
    """
    asked = [(embeds, torch.tensor(ws, dtype=torch.float64)) for embeds, ws in asked]
    k = max(len(embeds) for embeds, _ in asked)
    embeds = torch.stack([pad(e, (0, 0, 0, k - len(e))) for e, _ in asked], dim=1)
    weights = torch.stack([pad(w, (0, k - len(w))) for _, w in asked], dim=1)

    def model(x, t, of=None):
        # `of` says which images of the batch these are, where they are not all.
        n = len(x)
        shared = of is None or embeds.shape[1] == 1
        conds, w = (embeds, weights) if shared else (embeds[:, of], weights[:, of])
        conds, w = conds.expand(k, n, -1), w.expand(k, n)
        v = call(x.repeat(k, 1, 1, 1), t.repeat(k), conds.flatten(0, 1)).unflatten(0, (k, n))
        total = (w.to(v)[..., None, None, None] * v).sum(0)
        return total if contrast is None else contrast(x, t, v, total, of)

    return model


def steered(model, gradient, interval=(0.0, 1.0), every=1, recompute=False):
    """A model that lowers a loss of pred: v + dloss/dx sigma / alpha.

    The gradient is taken through the model: pred = alpha x - sigma v gives
    dloss/dx = alpha g - sigma (dv/dx)^T g with g = dloss/dpred. Where there is no noise or
    nothing else (t = 0 and t = 1), v is the model's own.

    Args:
        model: callable (x [N, C, H, W], t [N]) -> v [N, C, H, W] that gradients flow through, so
            not in inference mode.
        gradient: callable pred [N, C, H, W] -> dloss/dpred [N, C, H, W].
        interval: the lowest and highest t at which to steer.
        every: take the gradient at every so many evaluations within the interval and keep it in
            between.
        recompute: evaluate the model again for the gradient, so that its activations and those of
            the loss are not in memory at the same time.
    Returns:
        A model (x, t) -> v. With `every` above 1 it remembers the last gradient: one for each run.
    Raises:
        ValueError: for an empty interval or every < 1.
    """
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"an interval lies between 0 and 1, not from {low:g} to {high:g}")
    if every < 1:
        raise ValueError(f"every is at least 1, not {every}")
    asked, kept = 0, None

    def steers(x, t):
        nonlocal asked, kept
        alpha, sigma = alpha_sigma(like(t, x))
        # A timestep that rounds to 1 has no image left to compare.
        here = (alpha > NO_IMAGE) & (sigma > 0) & (like(t, x) >= low) & (like(t, x) <= high)
        if not here.any():
            return model(x, t)
        if asked % every == 0:
            v, kept = v_and_slope(model, gradient, x, t, recompute)
        else:
            v = model(x, t)
        asked += 1
        return v + torch.where(here, sigma / alpha, 0) * kept

    return steers


def v_and_slope(model, gradient, x, t, recompute=False):
    """v and dloss/dx, for a loss whose gradient at pred is `gradient(pred)`; as for `steered`."""
    alpha, sigma = alpha_sigma(like(t, x))
    leaf = x.detach().requires_grad_()
    with torch.set_grad_enabled(not recompute):
        v = model(leaf, t)
    g = gradient(alpha * x - sigma * v.detach())
    with torch.enable_grad():
        again = model(leaf, t) if recompute else v
    # Scaled to 1 for the backward pass: a network in half precision would round it to 0.
    size = g.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    (back,) = torch.autograd.grad(again, leaf, g / size)
    return v.detach(), alpha * g - sigma * size * back
