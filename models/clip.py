"""CLIP through open_clip: prompts and images to embeddings, the published CLIP and the bundled one.

Radford et al., 2021, arXiv 2103.00020.
"""

import contextlib
import json
import logging
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from models import hashes
from models.checkpoints import CHECKPOINTS, CheckpointError, head_of, header_fits, read, some

TEXTS_AT_ONCE = 8  # always so many, as sums are rounded by the shape of a batch
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # in OpenAI's own state_dict


@dataclass(frozen=True)
class Row:
    """What a CLIP is.

    Args:
        config: the arguments of `open_clip.CLIP`, or None: those of `open_clip_name`.
        open_clip_name, pretrained: what open_clip calls it and the weights it finds by itself.
        home: where people find these weights.
        file: the bundled checkpoint.
        enlarge_below: images whose shorter side has fewer pixels are doubled before they are cut
            into crops.
    """

    config: dict | None = None
    open_clip_name: str | None = None
    pretrained: str | None = None
    home: str | None = None
    file: str | None = None
    enlarge_below: int = 256


CLIPS = {
    # The weights were trained with QuickGELU; a file of them does not say so, the name does.
    "ViT-B-16": Row(
        open_clip_name="ViT-B-16-quickgelu",
        pretrained="openai",
        home="huggingface.co/timm/vit_base_patch16_clip_224.openai",
    ),
    "emoji": Row(
        file="emoji_clip.safetensors",
        enlarge_below=64,
        config={
            "embed_dim": 256,
            "vision_cfg": {
                "image_size": 64,
                "patch_size": 8,
                "width": 192,
                "layers": 4,
                "head_width": 64,
            },
            "text_cfg": {"context_length": 24, "width": 192, "heads": 3, "layers": 3},
        },
    ),
}


class ClipError(CheckpointError):
    """There are no usable weights for a CLIP; the message is one line."""


class Clip:
    """A CLIP in evaluation mode.

    Args:
        model: an `open_clip.CLIP`, or another model of open_clip that reads texts and images.
        tokenizer: callable (list of texts) -> tokens [N, context].
        enlarge_below: as in `Row`.
    """

    def __init__(self, model, tokenizer, enlarge_below=256):
        import torch
        from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

        self.model = model.eval().requires_grad_(False)
        self.visual = model.visual
        self.tokenizer = tokenizer
        self.enlarge_below = enlarge_below
        size = model.visual.image_size
        self.image_size = size[0] if isinstance(size, tuple) else size
        self.dim = model.visual.output_dim
        self.device = next(model.parameters()).device
        self.image_dtype = torch.float32
        mean = getattr(model.visual, "image_mean", None) or OPENAI_DATASET_MEAN
        std = getattr(model.visual, "image_std", None) or OPENAI_DATASET_STD
        # Images come in [-1, 1], CLIP's figures are for [0, 1].
        self._mean = torch.tensor(mean, device=self.device)[:, None, None] * 2 - 1
        self._std = torch.tensor(std, device=self.device)[:, None, None] * 2

    def read_images_in(self, dtype, alone=True):
        """Reads images in the given dtype; `alone`: lets go of the half that reads texts."""
        self.visual.to(dtype)
        self.image_dtype = dtype
        if alone:
            self.model = None
        put_tokens_first(self.visual)

    def encode_text(self, texts):
        """Embeddings of texts as CLIP encodes them, of any length: float32 [N, dim].

        An embedding is the same to the bit whatever texts are read with it.
        """
        import torch

        if not texts:
            return torch.zeros(0, self.dim, device=self.device)
        parts = []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            part = texts[first : first + TEXTS_AT_ONCE]
            filled = [*part, *[""] * (TEXTS_AT_ONCE - len(part))]
            embeds = self.model.encode_text(self.tokenizer(filled).to(self.device))
            parts.append(embeds[: len(part)].float())
        return torch.cat(parts)

    def encode_image(self, images):
        """Embeddings of images, of unit length; gradients flow through where they are on.

        Args:
            images: [N, 3, image_size, image_size] in [-1, 1].
        Returns:
            float32 [N, dim].
        """
        from torch.nn.functional import normalize

        images = (images.to(self.device) - self._mean) / self._std
        return normalize(self.visual(images.to(self.image_dtype)).float(), dim=-1)


def put_tokens_first(visual):
    """Has a vision transformer of open_clip go through tokens [L, N, D] instead of [N, L, D].

    torch's attention takes tokens first in any case. Of a view transposed for it, the projection
    of frozen weights under gradients copies the weights once for every token.
    """
    from torch.nn import MultiheadAttention

    transformer = getattr(visual, "transformer", None)
    if getattr(transformer, "batch_first", False):
        transformer.batch_first = False
        for module in transformer.modules():
            if isinstance(module, MultiheadAttention):
                module.batch_first = False


def row_of(name):
    """The row of a CLIP: one of CLIPS, or one of open_clip's, `ARCHITECTURE[:WEIGHTS]`."""
    if name in CLIPS:
        return CLIPS[name]
    architecture, _, pretrained = name.partition(":")
    home = "the place that open_clip names for it"
    return Row(open_clip_name=architecture, pretrained=pretrained or None, home=home)


def load(name, checkpoint=None, device="cpu"):
    """The CLIP called `name`.

    Args:
        name: a key of CLIPS, or what open_clip calls it, such as "ViT-L-14:openai".
        checkpoint: a local file of its weights, which must not change while they are in use; None:
            the bundled ones, or those that open_clip finds or downloads.
        device: where to put it.
    Returns:
        a Clip, in float32.
    Raises:
        ClipError: if there are no usable weights; one line.
    """
    row = row_of(name)
    with _quiet():
        if row.config is not None:
            parts = _bundled(row, checkpoint or CHECKPOINTS / row.file, device)
        else:
            parts = _from_open_clip(name, row, checkpoint, device)
    return Clip(*parts, row.enlarge_below)


def announce(name, checkpoint=None):
    """Says on stderr what may take long without another sign."""
    if row_of(name).file is None and checkpoint is None:
        print(f"CLIP {name}: open_clip downloads it on first use", file=sys.stderr)


def sha256(name, checkpoint=None):
    """The SHA-256 of the file that `load` reads; None: open_clip finds it by itself."""
    row = row_of(name)
    path = checkpoint or (row.file and CHECKPOINTS / row.file)
    if path is None:
        return None
    head_of(path)
    return hashes.sha256(path)


def build(config, vocabulary_size):
    """An `open_clip.CLIP` of a bundled configuration with random weights."""
    import open_clip

    text = {**config["text_cfg"], "vocab_size": vocabulary_size}
    return open_clip.CLIP(config["embed_dim"], dict(config["vision_cfg"]), text)


def tokenizer_of(merges, context_length):
    """open_clip's tokenizer with merges of our own, as a text of one merge a line."""
    import gzip

    from open_clip.tokenizer import SimpleTokenizer

    # It reads its merges from a file alone, whose first line it leaves out.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "merges.gz"
        path.write_bytes(gzip.compress(f"merges\n{merges}".encode()))
        return SimpleTokenizer(str(path), context_length=context_length)


def _bundled(row, path, device):
    tokenizer = _tokenizer_in(path, row.config["text_cfg"]["context_length"])
    if tokenizer is None:
        raise ClipError(
            f"{path}: not the bundled CLIP: restore it or name another with --clip-checkpoint"
        )
    with without_random_weights():
        model = build(row.config, tokenizer.vocab_size)
    _fill(model, in_float32(read(path)), path)
    return model.to(device), tokenizer


def _tokenizer_in(path, context_length):
    """The tokenizer in a checkpoint; None: it holds none that can be used."""
    from safetensors import SafetensorError, safe_open

    if not header_fits(head_of(path)):
        return None
    try:
        with safe_open(path, "pt") as file:
            merges = json.loads((file.metadata() or {}).get("merges", "null"))
        tokenizer = tokenizer_of(merges, context_length) if isinstance(merges, str) else None
    except (OSError, SafetensorError, ValueError, RecursionError):
        return None
    # Of a token that is there twice, the second has a number beyond the embedding.
    if tokenizer and max(tokenizer.encoder.values()) < tokenizer.vocab_size:
        return tokenizer
    return None


def _from_open_clip(name, row, checkpoint, device):
    import open_clip

    _check_name(name, row, checkpoint)
    tokenizer = open_clip.get_tokenizer(row.open_clip_name)
    if checkpoint is not None:
        with without_random_weights():
            model = open_clip.create_model(row.open_clip_name, load_weights=False, device="cpu")
        weights = {k.removeprefix("module."): v for k, v in in_float32(read(checkpoint)).items()}
        for key in NOT_WEIGHTS:
            weights.pop(key, None)
        _fill(model, weights, checkpoint)
        return model.to(device), tokenizer
    try:
        model = open_clip.create_model(row.open_clip_name, row.pretrained, device=device)
    except Exception as error:  # whatever the libraries beneath raise, it means one thing here
        raise ClipError(
            f"the weights of CLIP {name} are not here and cannot be downloaded "
            f"({type(error).__name__}): get open_clip_model.safetensors from {row.home} "
            "and give it with --clip-checkpoint"
        ) from error
    return model, tokenizer


def _check_name(name, row, checkpoint):
    import difflib

    import open_clip

    known = open_clip.list_models()
    if row.open_clip_name not in known:
        close = difflib.get_close_matches(row.open_clip_name, {*CLIPS, *known}, n=3, cutoff=0.4)
        hint = f": did you mean {' or '.join(close)}?" if close else ""
        raise ClipError(f"open_clip has no CLIP {row.open_clip_name}{hint}")
    if checkpoint is None:
        tags = open_clip.list_pretrained_tags_by_model(row.open_clip_name)
        if row.pretrained not in tags:
            choices = ", ".join(tags) or "none"
            raise ClipError(
                f"{name}: name its weights as {row.open_clip_name}:WEIGHTS (there "
                f"are {choices}) or give a file of them with --clip-checkpoint"
            )


def in_float32(state):
    """A state_dict with its floating-point weights in float32."""
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def _fill(model, weights, path):
    ours = model.state_dict()
    missing = [key for key in ours if key not in weights]
    wrong = [k for k, v in weights.items() if k in ours and v.shape != ours[k].shape]
    unknown = [k for k in weights if k not in ours]
    if missing or wrong or unknown:
        what = [
            f"{len(keys)} {kind} ({some(keys[:1])}, ...)"
            for keys, kind in (
                (missing, "missing"),
                (wrong, "of another shape"),
                (unknown, "unknown"),
            )
            if keys
        ]
        raise ClipError(f"{path}: not the weights of this CLIP: keys {', '.join(what)}")
    model.load_state_dict(weights, assign=True)  # float32 ones stay in the file until they are used


def without_random_weights():
    """A context for building a model whose weights all come from a file.

    To draw random ones first takes a second. open_clip's models cannot be built on the meta device,
    as they have tensors that are in no file; what is no parameter is drawn as ever.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    methods = (torch.Tensor.normal_, torch.Tensor.uniform_)

    class LeaveAsItIs(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            tensor = args[0] if args else kwargs.get("tensor")
            random = function in methods or getattr(function, "__module__", "") == "torch.nn.init"
            if random and isinstance(tensor, torch.nn.Parameter):
                return tensor
            return function(*args, **kwargs)

    return LeaveAsItIs()


@contextlib.contextmanager
def _quiet():
    """Keeps the libraries' notes off the terminal; what matters is raised."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(level)
