"""CLIP through open_clip: prompts and images to embeddings, the published CLIP and the bundled one.

Radford et al., 2021, arXiv 2103.00020.
"""

import contextlib
import difflib
import gzip
import io
import json
import logging
import sys
import warnings

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.tokenizer import SimpleTokenizer
from safetensors import SafetensorError, safe_open
from torch.nn import MultiheadAttention
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

from models.checkpoints import CheckpointError, clip_file, head_of, header_fits
from models.weights import match, read
from models.zoo import CLIPS, clip_row

TEXTS_AT_ONCE = 8  # always so many, as sums are rounded by the shape of a batch
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # in OpenAI's own state_dict


class Clip:
    """A CLIP in evaluation mode.

    Args:
        model: an `open_clip.CLIP`, or another model of open_clip that reads texts and images.
        tokenizer: callable (list of texts) -> tokens [N, context].
        enlarge_below: as in `ClipRow`.
    """

    def __init__(self, model, tokenizer, enlarge_below=256):
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

        An embedding is the same to the bit whatever texts are read with it. One str is one text.
        """
        texts = [texts] if isinstance(texts, str) else texts
        if not texts:
            return torch.zeros(0, self.dim, device=self.device)
        parts = []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            part = texts[first : first + TEXTS_AT_ONCE]
            filled = [*part, *[""] * (TEXTS_AT_ONCE - len(part))]
            embeds = self.model.encode_text(self.tokenizer(filled).to(self.device))
            parts.append(embeds[: len(part)].float())
        return torch.cat(parts)

    def unread(self, text):
        """The end of a text that this CLIP does not read, see `unread`."""
        return unread(self.tokenizer, text)

    def encode_image(self, images):
        """Embeddings of images, of unit length; gradients flow through where they are on.

        Args:
            images: [N, 3, image_size, image_size] in [-1, 1].
        Returns:
            float32 [N, dim].
        """
        images = (images.to(self.device) - self._mean) / self._std
        return normalize(self.visual(images.to(self.image_dtype)).float(), dim=-1)


def put_tokens_first(visual):
    """Has a vision transformer of open_clip go through tokens [L, N, D] instead of [N, L, D].

    torch's attention takes tokens first in any case. Of a view transposed for it, the projection
    of frozen weights under gradients copies the weights once for every token.
    """
    transformer = getattr(visual, "transformer", None)
    if getattr(transformer, "batch_first", False):
        transformer.batch_first = False
        for module in transformer.modules():
            if isinstance(module, MultiheadAttention):
                module.batch_first = False


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
        CheckpointError: if there are no usable weights; one line.
    """
    row, path = clip_row(name), clip_file(name, checkpoint)
    tokenizer = tokenizer_for(name, checkpoint)
    with quiet():
        if path is None:
            model = downloaded(name, row, device)
        else:
            with without_random_weights():
                model = build(row.config, tokenizer.vocab_size) if row.config else built(row)
            state = model.state_dict()
            found = read(path, state)
            weights = {key: in_float32(v) for key, v in found.items() if key not in NOT_WEIGHTS}
            match(state, weights, path, "CLIP")
            model.load_state_dict(weights, assign=True)  # they stay in the file until they are used
    return Clip(model.to(device), tokenizer, row.enlarge_below)


def tokenizer_for(name, checkpoint=None):
    """The tokenizer of a CLIP without its weights: callable (list of texts) -> tokens [N, context].

    Args:
        name, checkpoint: as for `load`.
    Raises:
        CheckpointError: if there is none; one line.
    """
    row = clip_row(name)
    if row.config:
        return tokenizer_in(clip_file(name, checkpoint), row.config["text_cfg"]["context_length"])
    check_name(name, row, checkpoint)
    try:
        with quiet():
            return open_clip.get_tokenizer(row.open_clip_name)
    except Exception as error:  # that of another library, which may be missing or want to download
        raise CheckpointError(f"the tokenizer of CLIP {name} is not here ({why(error)})") from error


def unread(tokenizer, text):
    """The end of a text that a CLIP does not read, as its tokens spell it; "": it reads all.

    Args:
        tokenizer: as of `tokenizer_for`. Of those that are not CLIP's own, as they are of another
            library or leave out tokens in the middle, nothing is known: "".
    """
    if not isinstance(tokenizer, SimpleTokenizer) or tokenizer.reduction_fn:
        return ""
    room = tokenizer.context_length - 2  # it puts one before the text and one behind it
    return tokenizer.decode(tokenizer.encode(text)[room:]).strip("\ufffd ")


def announce(name, checkpoint=None):
    """Says on stderr what may take long without another sign."""
    if clip_file(name, checkpoint) is None:
        print(f"CLIP {name}: open_clip downloads it on first use", file=sys.stderr)


def build(config, vocabulary_size):
    """An `open_clip.CLIP` of a bundled configuration with random weights."""
    text = {**config["text_cfg"], "vocab_size": vocabulary_size}
    return open_clip.CLIP(config["embed_dim"], dict(config["vision_cfg"]), text)


def tokenizer_of(merges, context_length):
    """open_clip's tokenizer with merges of our own, as a text of one merge a line."""
    # It reads its merges from a gzipped file alone, whose first line it leaves out.
    file = io.BytesIO(gzip.compress(f"merges\n{merges}".encode()))
    return SimpleTokenizer(file, context_length=context_length)


def tokenizer_in(path, context_length):
    """The tokenizer in a checkpoint of a bundled CLIP. Raises CheckpointError: there is none."""
    merges = None
    with contextlib.suppress(SafetensorError, ValueError, RecursionError):
        if header_fits(head_of(path)):
            try:
                with safe_open(path, "pt") as file:
                    merges = json.loads((file.metadata() or {}).get("merges", "null"))
            except OSError as error:
                raise CheckpointError(
                    f"{path}: cannot be read: {error.strerror or error}"
                ) from error
        if isinstance(merges, str):
            tokenizer = tokenizer_of(merges, context_length)
            # Of a token that is there twice, the second has a number beyond the embedding.
            if max(tokenizer.encoder.values()) < tokenizer.vocab_size:
                return tokenizer
    raise CheckpointError(
        f"{path}: not the bundled CLIP: restore it or name another with --clip-checkpoint"
    )


def check_name(name, row, checkpoint):
    """Raises CheckpointError unless open_clip knows the CLIP and, without a file, its weights."""
    known = open_clip.list_models()
    if row.open_clip_name not in known:
        close = difflib.get_close_matches(row.open_clip_name, {*CLIPS, *known}, n=3, cutoff=0.4)
        hint = f": did you mean {' or '.join(close)}?" if close else ""
        raise CheckpointError(f"open_clip has no CLIP {row.open_clip_name}{hint}")
    tags = open_clip.list_pretrained_tags_by_model(row.open_clip_name)
    activations = {bool(configuration.get("quick_gelu")) for configuration in trainings(row)}
    if row.pretrained in tags or (checkpoint and not row.pretrained and len(activations) < 2):
        return
    reason = ": they differ in their activation function"
    raise CheckpointError(
        f"{name}: name its weights as {row.open_clip_name}:WEIGHTS (there are "
        f"{', '.join(tags) or 'none'})"
        + (reason if checkpoint else " or give a file of them with --clip-checkpoint")
    )


def trainings(row):
    """What open_clip knows of how the weights of a name were trained; of all, if it names none."""
    tags = open_clip.list_pretrained_tags_by_model(row.open_clip_name)
    tags = [row.pretrained] if row.pretrained else tags
    return [open_clip.get_pretrained_cfg(row.open_clip_name, tag) for tag in tags]


def trained_with(row):
    """How weights were trained, where open_clip's architectures do not say or say otherwise.

    Args:
        row: of a CLIP that open_clip knows. If it names no weights, it is what all weights of the
            architecture have in common.
    Returns:
        keywords of `open_clip.create_model`.
    """
    known = trainings(row)
    # The mean and the deviation of the colours.
    alike = [key for key in ("mean", "std") if len({c.get(key) for c in known}) == 1]
    return {
        "force_quick_gelu": bool(known) and all(c.get("quick_gelu") for c in known),
        "force_preprocess_cfg": {key: known[0][key] for key in alike},
    }


def built(row):
    """A model of open_clip to be filled with the weights of a file."""
    return open_clip.create_model(row.open_clip_name, load_weights=False, **trained_with(row))


def downloaded(name, row, device):
    """A model of open_clip with the weights that it finds or downloads."""
    try:
        return open_clip.create_model(
            row.open_clip_name, row.pretrained, device=device, **trained_with(row)
        )
    except Exception as error:  # whatever the libraries beneath raise, it means one thing here
        raise CheckpointError(
            f"the weights of CLIP {name} are not here and cannot be downloaded ({why(error)}): get "
            f"open_clip_model.safetensors from {row.home} and give it with --clip-checkpoint"
        ) from error


def why(error):
    """An error of a library in a few words that can be shown."""
    first = str(error).partition("\n")[0][:120]
    return f"{type(error).__name__}: {ascii(first)[1:-1]}" if first else type(error).__name__


def in_float32(tensor):
    """A weight in float32; the same tensor, if it is that already or holds no such numbers."""
    return tensor.float() if tensor.is_floating_point() else tensor


def without_random_weights():
    """A context for building a model whose weights all come from a file.

    To draw random ones first takes a second. open_clip's models cannot be built on the meta device,
    as they have tensors that are in no file; what is no parameter is drawn as ever.
    """
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
def quiet():
    """Keeps the libraries' notes off the terminal.

    Two of them matter, and neither is needed: that the activation is not the one of the weights
    (`trained_with` sees to that), and that no weights were loaded (they are filled in afterwards).
    """
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(level)
