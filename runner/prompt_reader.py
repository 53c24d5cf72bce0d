"""The prompts of clip_sample.py as a CLIP has read them: targets, and the way towards them."""

import math

import torch

from media import images
from models import clip_guidance
from runner import run
from runner.ways import photos_of

CROPS_AT_ONCE = 4  # of an image, where memory is to be saved; a CPU is no slower for it


class PromptReader:
    """A CLIP and what it makes of the prompts of batches: targets to guide or to steer towards.

    Args:
        args: the run's, as `clip_sample.settled` leaves them.
        reader: a `runner.guided_model.Reader`.
        steers: whether gradients are taken through its CLIP; then it computes in `--dtype`.
    """

    def __init__(self, args, reader, steers):
        self.args, self.reader, self.steers = args, reader, steers
        self.ready = False

    def target(self, batch, sources):
        """What each image of a batch should look like, of unit length [N, D].

        Args:
            batch: its items, all of which have prompts.
            sources: their generators, which draw the crops of image prompts.
        """
        texts = self.reader.embed_texts([item.prompts for item in batch])
        if self.steers and not self.ready:
            dtype = run.pick_clip_dtype(self.args.dtype, self.reader.device)
            several = self.args.from_file or self.args.makes_choices  # texts are yet to come
            self.reader.clip.read_images_in(dtype, alone=not several)
            self.ready = True
        targets = []
        for item, embeds, source in zip(batch, texts, sources, strict=True):
            args = item.job.args
            seen = [self.look_at(photo, source, args)[None] for photo in photos_of(item.job)]
            weights = [p.weight for p in [*item.prompts, *args.images]]
            shares = [w / abs(math.fsum(weights)) for w in weights]
            targets.append(clip_guidance.blend(torch.cat([embeds, *seen]), shares))
        return torch.stack(targets)

    def look_at(self, photo, source, args):
        """The embedding of an image prompt, in crops that an image draws for itself [D]."""
        # No larger than what is drawn: then crops of both show things at the same scale.
        photo = images.to_tensor(images.shrink(photo, min(args.size))).to(self.reader.device)
        clip = self.reader.clip
        seen, boxes = clip_guidance.boxes_for(clip, photo[None], [source], args.cutn, args.cut_pow)
        return clip_guidance.embed_crops(clip, seen, boxes).mean(1)[0]

    def gradient(self, targets, sources, args):
        """The gradient of the loss for a batch, as `diffusion.steered` wants it."""
        clip = self.reader.clip
        few = args.low_memory or clip.device.type == "cpu"
        how = (args.cutn, args.cut_pow, args.clip_guidance_scale, CROPS_AT_ONCE if few else None)
        return clip_guidance.clip_gradient(clip, targets, sources, *how)
