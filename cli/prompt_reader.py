"""The prompts of clip_sample.py as a CLIP has read them: targets, and the way towards them."""

import functools

import torch

from cli import images, run
from cli.embedding_cache import embed_texts
from models import NETWORKS, clip, clip_loss

CROPS_AT_ONCE = 4  # of an image, where memory is to be saved; a CPU is no slower for it


class PromptReader:
    """A CLIP and the prompts: texts as it has read them, photos to be seen in random crops.

    Args:
        args: as `clip_sample.parse` leaves them.
        name, checkpoint: of the CLIP.
        photos: image prompts, PIL images.
        steers: whether gradients are taken through it; then it computes in `--dtype`.
    """

    def __init__(self, args, name, checkpoint, photos, device, steers):
        self.args = args
        texts = [prompt.text for prompt in args.prompts]

        @functools.cache
        def load():
            clip.announce(name, checkpoint)
            return clip.load(name, checkpoint, device)

        self.clip = load() if steers or photos else None
        if self.clip:
            self.texts = self.clip.encode_text(texts)
        else:  # the network's own CLIP, which may have read them before
            dim, cached = NETWORKS[args.model].architecture.clip_dim, not args.no_embedding_cache
            self.texts = embed_texts(texts, name, checkpoint, dim, load, cached, device)
        # No larger than what is drawn: then crops of both show things at the same scale.
        side = min(args.size)
        self.photos = [images.to_tensor(images.shrink(photo, side)).to(device) for photo in photos]
        if steers:
            self.clip.read_images_alone(run.pick_clip_dtype(args.dtype, device))

    def target(self, sources):
        """What each image of a batch should look like, of unit length [N, D]."""
        embeds = [self.texts.expand(len(sources), -1, -1)]
        embeds += [self.look_at(photo, sources)[:, None] for photo in self.photos]
        return clip_loss.blend(torch.cat(embeds, dim=1), self.args.weights)

    def look_at(self, photo, sources):
        """The embedding of an image prompt, in crops that each image draws for itself: [N, D]."""
        copies = photo.expand(len(sources), -1, -1, -1)
        seen, boxes = clip_loss.boxes_for(self.clip, copies, sources, *self.crops)
        return clip_loss.embed_crops(self.clip, seen, boxes).mean(1)

    def gradient(self, target, sources):
        """The gradient of the loss, as `diffusion.steered` wants it."""
        few = self.args.low_memory or self.clip.device.type == "cpu"
        at_once = CROPS_AT_ONCE if few else None
        scale = self.args.clip_guidance_scale
        return clip_loss.clip_gradient(self.clip, target, sources, *self.crops, scale, at_once)

    @property
    def crops(self):
        return self.args.cutn, self.args.cut_pow
