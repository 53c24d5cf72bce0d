"""From prompts to a guided model: what CLIP makes of them, and the network that they condition."""

import functools
import math
from dataclasses import replace

import torch

import diffusion
import models
from diffusion.methods import NEGLIGIBLE, WHOLE
from media.images import fitted
from media.tensors import to_tensor
from runner.embedding_cache import embed_texts
from runner.masks import region_of


class Reader:
    """Embeddings of prompts by a CLIP, which is loaded only if need be.

    Args:
        name, checkpoint: as `models.clip.load` takes them.
        dim: of its embeddings; None: it is loaded to know.
        cached: whether texts are looked for, and kept, in the cache on disk.
        device: where it computes, and where the embeddings go.
    """

    def __init__(self, name, checkpoint, dim=None, cached=True, device="cpu"):
        self.which, self.cached, self.device = (name, checkpoint), cached, device
        self.dim = self.clip.dim if dim is None else dim
        self.known = {}  # the embeddings of the texts last asked for
        self.seen = {}  # and of all image prompts, of which a run has few

    @functools.cached_property
    def clip(self):
        # Imported only here: open_clip takes a second, and remembered texts need none.
        models.clip.announce(*self.which)
        return models.clip.load(*self.which, self.device)

    def forget_clip(self):
        """Lets go of the CLIP, which need not be in memory beside the network."""
        self.__dict__.pop("clip", None)

    def embed_texts(self, asked):
        """The embeddings of several lists of text prompts: a list of tensors [K, D]."""
        wanted = dict.fromkeys(prompt.text for texts in asked for prompt in texts)
        fresh = [text for text in wanted if text not in self.known]
        rest = (self.dim, lambda: self.clip, self.cached, self.device)
        read = zip(fresh, embed_texts(fresh, *self.which, *rest), strict=True)
        # Kept for the next batch: a job's images are often of one prompt.
        self.known = {text: self.known[text] for text in wanted if text in self.known} | dict(read)
        return [self._stacked([self.known[prompt.text] for prompt in texts]) for texts in asked]

    def embed(self, asked):
        """The embeddings of several lists of prompts, of texts first and then of images [K, D].

        Args:
            asked: a list of (text prompts, image prompts).
        """
        texts = self.embed_texts([texts for texts, _ in asked])
        return [
            self._stacked([*embeds, *(self._embed_photo(prompt.text) for prompt in images)])
            for embeds, (_, images) in zip(texts, asked, strict=True)
        ]

    def _embed_photo(self, source):
        if source not in self.seen:
            image = fitted(source, (self.clip.image_size,) * 2)
            self.seen[source] = self.clip.encode_image(to_tensor(image)[None])[0]
        return self.seen[source]

    def _stacked(self, embeds):
        return torch.stack(embeds) if embeds else torch.zeros(0, self.dim, device=self.device)


def guided_model(run, image, embeds, prompts):
    """The model to sample, (x [N, 3, H, W], t [N]) -> v: the network under weighted conditions.

    Of a network that takes no conditions it is its own v.

    Args:
        run: the `runner.run.Run`.
        image: the ImageOptions that the batch shares.
        embeds: what `run.embed` made of the conditions, for each image of the batch [K, D].
        prompts: the conditions themselves, a list of prompts for each image; their weights count.
    """
    model = _model_at(run, image, image.size, embeds, prompts)
    factor = coarse_factor(run, image)
    if factor == 1:
        return model
    size = tuple(side // factor for side in image.size)
    seen_at = functools.partial(diffusion.coarse_t, factor=factor)
    small = run.options.network.clip and _model_at(run, image, size, embeds, prompts, seen_at)
    return diffusion.coarse_first(model, factor, image.coarse_until, small)


def coarse_factor(run, image):
    """How many times smaller images are drawn down to `coarse_until`; 1: they are not."""
    if image.coarse_until is None or image.coarse_until == 1:
        return 1
    return run.options.network.times(image.size)


def _model_at(run, image, size, embeds, prompts, seen_at=None):
    """The guided model of images of `size`, (width, height).

    seen_at: as for `diffusion.guided`; the rest as for `guided_model`.
    """
    net, row = run.network, run.options.network
    usual = 1 if run.options.low_memory else getattr(net, "chunk", None)
    chunk = run.options.chunk or usual
    if row.clip is None:
        model = diffusion.in_chunks(net, chunk)
    else:
        weights = [[weight_of(p, image, size) for p in of_image] for of_image in prompts]
        interval = image.guidance_interval or WHOLE
        embeds = [embed.to(run.device) for embed in embeds]
        if row.takes_weight:
            model = diffusion.distilled(net, embeds, weights, chunk)
        else:
            how = (image.guidance, run.guide, seen_at)
            model = diffusion.guided(net, embeds, weights, chunk, interval, *how)
    return diffusion.clamp_t(model, row.min_t, row.max_t)


def at_weight_1(prompts):
    """Prompts for what an image shows, no stronger: their weights add up to 1, or are all 0."""
    total = math.fsum(prompt.weight for prompt in prompts)
    share = 1 / total if total > NEGLIGIBLE else 0
    return [replace(prompt, weight=prompt.weight * share) for prompt in prompts]


def weight_of(prompt, image, size):
    """The weight of a prompt as `diffusion.guided` takes it, for images of this size.

    image: the ImageOptions.
    """
    if prompt.is_plain:
        return prompt.weight
    mask = None
    if prompt.box:
        mask = diffusion.box_mask(prompt.box, size, image.soft_edge)
    elif prompt.mask is not None:
        mask = to_tensor(region_of(prompt.mask, size))[0].double() / 2 + 0.5
    return diffusion.Weight(prompt.weight, prompt.when, mask)
