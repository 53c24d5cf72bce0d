"""The models that prompts guide by classifier-free guidance, from settled arguments."""

import functools
import math
import sys

import diffusion
import models
from cli import prompts
from diffusion.methods import WHOLE
from media import images
from runner import run
from runner.embedding_cache import embed_texts


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

    @functools.cached_property
    def clip(self):
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

    def embed_photo(self, photo):
        """The embedding of a PIL image [D]."""
        image = images.resize_and_crop(photo, (self.clip.image_size,) * 2)
        return self.clip.encode_image(images.to_tensor(image)[None])[0]

    def embed(self, asked):
        """The embeddings of several sets of prompts: a list of tensors [K, D].

        Args:
            asked: a list of (text prompts, PIL images of the image prompts).
        """
        texts = self.embed_texts([texts for texts, _ in asked])
        return [
            self._stacked([*embeds, *map(self.embed_photo, photos)])
            for embeds, (_, photos) in zip(texts, asked, strict=True)
        ]

    def _stacked(self, embeds):
        import torch

        return torch.stack(embeds) if embeds else torch.zeros(0, self.dim, device=self.device)


def reader_of(args, row):
    """The Reader of a network's own CLIP."""
    dim, cached = row.architecture.clip_dim, not args.no_embedding_cache
    return Reader(row.clip, args.clip_checkpoint, dim, cached)


def describe(row, asking, interval=WHOLE):
    """Says on stderr which prompts guide, of each of several titles.

    Args:
        asking: a dict from a title to prompts, of texts and images.
        interval: the timesteps to guide at.
    """
    if row.clip and any(asking.values()):
        for title, conditions in asking.items():
            rest = 1 - math.fsum(prompt.weight for prompt in conditions)
            lines = prompts.describe(conditions, rest, interval) if conditions else ["  no prompt"]
            print(*([title] if title else []), *lines, sep="\n", file=sys.stderr)


def load_network(args, row, path, device, dtype):
    """The network; what it frees is kept for it once it has been called."""
    run.give_back_freed_memory()  # what a CLIP has left
    compiling = getattr(args, "compile", False)
    packed = not (compiling or args.needs_gradients)
    net = models.load(row.name, path, device, dtype, packed)
    if compiling:
        run.keep_freed_memory()
        return run.compiled(net)

    def keep(*_):
        run.give_back_freed_memory()
        run.keep_freed_memory()
        hook.remove()

    # Not before: what loading and packing frees is no size that an activation asks for.
    hook = net.register_forward_hook(keep)
    return net


def build_model(args, row, path, photos, device, dtype):
    """The model to sample: (x [N, 3, H, W], t [N]) -> v, guided by the prompts and the photos."""
    asking = {"": (args.prompts, args.images, photos)}
    return build_models(args, row, path, asking, device, dtype)[0]


def build_models(args, row, path, askings, device, dtype):
    """A model for each of several sets of prompts, around one network.

    Args:
        askings: a dict from a title to (text prompts, image prompts, the PIL images of those).
    Returns:
        a list of models (x [N, 3, H, W], t [N]) -> v.
    """
    asking = {title: [*texts, *pictures] for title, (texts, pictures, _) in askings.items()}
    describe(row, asking)
    reader = reader_of(args, row)
    embeds = reader.embed([(texts, photos) for texts, _, photos in askings.values()])
    reader.forget_clip()
    net = load_network(args, row, path, device, dtype)
    return [
        guide(args, net, row, [known.to(device)], [[prompt.weight for prompt in conditions]])
        for known, conditions in zip(embeds, asking.values(), strict=True)
    ]


def chunk_of(args, net):
    """How many images to call a network with: what is asked for, or what it is best called with."""
    return args.chunk or getattr(net, "chunk", None)


def guide(args, net, row, embeds, weights):
    """The model of a network under weighted embeddings; of one that takes none, its own.

    Args:
        args: of the job or jobs, which are alike.
        embeds, weights: for each image, or one for all, as `diffusion.guided` takes them.
    """
    chunk = chunk_of(args, net)
    if row.clip is None:
        model = diffusion.in_chunks(net, chunk)
    else:
        interval = getattr(args, "guidance_interval", WHOLE)
        model = diffusion.guided(net, embeds, weights, chunk, interval)
    return diffusion.clamp_t(model, row.min_t, row.max_t)
