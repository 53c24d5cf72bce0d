"""CLIP-guided sampling: what the prompts should look like to CLIP, and the way towards it."""

import functools
import math

import torch

import diffusion
from media.images import shrunk
from media.tensors import to_tensor
from models import clip_guidance
from runner.conditions import Reader, coarse_factor
from runner.device import pick_clip_dtype

CROPS_AT_ONCE = 4  # of an image, where memory is to be saved; a CPU is no slower for it


class Steering:
    """The CLIP that steers, and the one that the network reads prompts with; they may be one.

    Args:
        run: the `runner.run.Run`.
    """

    def __init__(self, run):
        self.run = run
        self.ready = False  # whether the CLIP that steers computes in its own dtype

    @functools.cached_property
    def reader(self):
        """The Reader of the CLIP that steers."""
        options = self.run.options
        cached = not options.no_embedding_cache
        name, device = options.clip_model, self.run.device
        return Reader(name, options.clip_checkpoint, None, cached, device)

    @functools.cached_property
    def own_reader(self):
        """The Reader of the network's own CLIP."""
        run, row = self.run, self.run.options.network
        cached, dim = not run.options.no_embedding_cache, row.architecture.clip_dim
        return Reader(row.clip, run.facts.own_clip_checkpoint, dim, cached, run.device)

    def targets(self, batch):
        """What each image should look like to CLIP, and the condition of a conditional network.

        Returns:
            two tensors [N, D], of unit length; None where nothing steers, and where the network
            takes no condition or there are no prompts.
        """
        options, row = self.run.options, self.run.options.network
        asks = bool(batch.items[0].conditions) and row.clip is not None
        if not batch.image.steers:
            return None, self._target(self.own_reader, batch) if asks else None
        towards = self._target(self.reader, batch, steers=True)
        if not asks:
            return towards, None
        if row.clip != options.clip_model:
            return towards, self._target(self.own_reader, batch)
        # Crops are drawn for either use, and the last ones count: recipes are redrawn to the bit.
        towards = self._target(self.reader, batch, steers=True)
        return towards, towards

    def model(self, batch, condition):
        """The network under its condition, or under none: (x, t) -> v."""
        net, row, image = self.run.network, self.run.options.network, batch.image
        call = diffusion.in_chunks(net, self.run.options.chunk or getattr(net, "chunk", None))
        if row.clip and condition is None:
            condition = torch.zeros(1, row.architecture.clip_dim, device=self.run.device)

        def conditioned(x, t):
            return call(x, t, condition.repeat(len(x) // len(condition), 1))

        model = diffusion.clamp_t(conditioned if row.clip else call, row.min_t, row.max_t)
        factor = coarse_factor(self.run, image)
        return model if factor == 1 else diffusion.coarse_first(model, factor, image.coarse_until)

    def gradient(self, batch, towards):
        """The gradient of the loss for a batch, as `diffusion.steered` wants it."""
        clip, image = self.reader.clip, batch.image
        few = self.run.options.low_memory or clip.device.type == "cpu"
        how = (image.cutn, image.cut_pow, image.clip_guidance_scale, CROPS_AT_ONCE if few else None)
        return clip_guidance.clip_gradient(clip, towards, batch.sources, *how)

    def _target(self, reader, batch, steers=False):
        texts = reader.embed_texts([item.prompts for item in batch.items])
        if steers and not self.ready:
            dtype = pick_clip_dtype(self.run.options.dtype, reader.device)
            reader.clip.read_images_in(dtype, alone=not self.run.texts_follow)
            self.ready = True
        targets = []
        for item, embeds, source in zip(batch.items, texts, batch.sources, strict=True):
            seen = [self._look_at(reader, p, source, item.image) for p in item.image.images]
            weights = [prompt.weight for prompt in item.conditions]
            shares = [weight / abs(math.fsum(weights)) for weight in weights]
            targets.append(clip_guidance.blend(torch.cat([embeds, *seen]), shares))
        return torch.stack(targets)

    def _look_at(self, reader, prompt, source, image):
        """The embedding of an image prompt, in crops that an image draws for itself [1, D]."""
        # No larger than what is drawn: then crops of both show things at the same scale.
        photo = to_tensor(shrunk(prompt.text, min(image.size))).to(reader.device)
        how = ([source], image.cutn, image.cut_pow)
        seen, boxes = clip_guidance.boxes_for(reader.clip, photo[None], *how)
        return clip_guidance.embed_crops(reader.clip, seen, boxes).mean(1)[0][None]
