"""Classifier-free guidance: a model made of one network under several weighted conditions.

Ho and Salimans, 2022, arXiv 2207.12598; weights of several conditions as in arXiv 2206.01714.
"""

import math

import torch

from diffusion.memory import in_chunks

# Sums of decimal weights miss 1 by rounding; a condition this light is no condition.
NEGLIGIBLE = 1e-9


def conditions(embeds, weights):
    """The conditions to evaluate: the zero embedding joined, equal ones merged, idle ones left out.

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
        raise ValueError(f"{len(embeds)} embeddings, but {len(weights)} weights")
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


def guided(net, embeds, weights, chunk=None):
    """A model whose v is the weighted sum of a network's v under each condition.

    Args:
        net: callable (x [N, C, H, W], t [N], embed [N, D]) -> v [N, C, H, W].
        embeds: CLIP embeddings [K, D], on the device of the network; the zero embedding joins
            them with weight 1 - sum(weights).
        weights: K floats; one prompt of weight 3 gives (-2, 3): v = v0 + 3 (v1 - v0).
        chunk: the largest number of images in one call of the network; None: all conditions in
            one call, or in as few as memory allows.
    Returns:
        A model (x [N, C, H, W], t [N]) -> v [N, C, H, W].
    Raises:
        ValueError: as `conditions`, and for a chunk below 1.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"a chunk has at least 1 image, not {chunk}")
    embeds, weights = conditions(embeds, weights)
    call = in_chunks(net, chunk)

    def model(x, t):
        k, n = len(weights), len(x)
        xs, ts = x.repeat(k, 1, 1, 1), t.repeat(k)
        conds = embeds.repeat_interleave(n, dim=0)
        v = call(xs, ts, conds)
        w = torch.tensor(weights, dtype=v.dtype, device=v.device)
        return torch.tensordot(w, v.unflatten(0, (k, n)), dims=1)

    return model
