"""Embeddings of texts, remembered on disk: a prompt that was read once needs no CLIP again.

Each is a small file named by a hash of all that it depends on. Whatever is wrong with the folder or
with a file in it, it is as if that was not there: the CLIP reads the text anew.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version

import torch
from safetensors.torch import load, save

from cli.errors import printable
from cli.files import read_file, write_whole
from models.cache import cache_folder
from models.checkpoints import clip_sha256
from models.zoo import clip_row

VERSION = 2
MAX_ENTRIES = 2000  # some 5 MB
MAX_BYTES = 2**16  # of an entry; ours have 2 or 3 KB
# Ours, and what a killed process has left of one: the folder may hold other things.
ENTRY = re.compile(r"[0-9a-f]{64}\.safetensors|\.[0-9a-f]{16}\.part")


def embed_texts(texts, name, checkpoint, dim, load_clip, enabled=True, device="cpu"):
    """The embeddings of texts by a CLIP, which is loaded only if one of them is not remembered.

    Args:
        texts: K strings.
        name, checkpoint: of the CLIP, as `models.clip.load` takes them.
        dim: the size of its embeddings.
        load_clip: function () -> that `models.clip.Clip`.
        enabled: whether to read and write the cache.
        device: where that CLIP computes, and where the embeddings go.
    Returns:
        float32 [K, dim], with the cache and without it the same to the bit.
    Raises:
        CheckpointError: if the CLIP has no usable weights.
    """
    if not texts:
        return torch.zeros(0, dim, device=device)
    place = cache_folder("embeddings") if enabled else None
    circumstances = place and circumstances_of(name, checkpoint, device)
    keys = {text: place and key_of(circumstances, text) for text in texts}
    embeds = {text: read(place, key, dim) for text, key in keys.items() if place}
    missing = [text for text in keys if embeds.get(text) is None]
    if missing:
        embeds.update(zip(missing, load_clip().encode_text(missing), strict=True))
        # One note is enough where nothing can be written.
        if place and all(write(place, keys[text], embeds[text]) for text in missing):
            prune(place)
    return torch.stack([embeds[text].to(device) for text in texts])


def circumstances_of(name, checkpoint, device):
    """All that the bits of an embedding depend on beside the text, as JSON can hold it."""
    try:
        tokenizer = version("open_clip_torch")
    except PackageNotFoundError:
        tokenizer = None
    return {
        "version": VERSION,
        "clip": repr(clip_row(name)),  # for weights that open_clip finds, this must do
        "sha256": clip_sha256(name, checkpoint),
        "tokenizer": tokenizer,
        "torch": torch.__version__,
        "device": str(device),
        # How sums are rounded, and so whether a recipe is followed to the bit.
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def key_of(circumstances, text):
    """The hash that an entry is named by, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps([circumstances, text]).encode()).hexdigest()


def read(place, key, dim):
    """An embedding [dim] from the cache; None: it is not there, or not as `write` left it."""
    path = place / f"{key}.safetensors"
    try:
        tensors = load(read_file(path, MAX_BYTES))
        embed, check = tensors["embedding"], tensors["sha256"]
    except Exception:  # the parser of a damaged file may raise anything
        return None
    if embed.dtype != torch.float32 or embed.shape != (dim,) or not embed.isfinite().all():
        return None
    if check.dtype != torch.uint8 or bytes(check.flatten().tolist()) != check_of(key, embed):
        return None
    with contextlib.suppress(OSError):  # a folder that may only be read
        os.utime(path)  # the oldest goes first
    return embed


def write(place, key, embed):
    """Adds an embedding [dim]; False: it cannot be written, which a line on stderr has said."""
    embed = embed.cpu().contiguous()
    check = torch.tensor(list(check_of(key, embed)), dtype=torch.uint8)
    data = save({"embedding": embed, "sha256": check})
    try:
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{key}.safetensors"
        write_whole(path, lambda part: part.write_bytes(data), overwrite=True)
    except OSError as error:
        why = printable(error.strerror or error, 80)
        print(
            f"note: embeddings are not kept: {printable(place, 200)} cannot be written to ({why})",
            file=sys.stderr,
        )
        return False
    return True


def check_of(key, embed):
    """A hash by which a damaged entry is told, and one under another's name: 32 bytes."""
    return hashlib.sha256(key.encode() + embed.numpy().tobytes()).digest()


def prune(place):
    """Removes the entries that were not used for longest, beyond MAX_ENTRIES."""
    with contextlib.suppress(OSError):  # another process may be at it
        entries = [entry for entry in os.scandir(place) if ENTRY.fullmatch(entry.name)]
        entries.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime_ns)
        for entry in entries[:-MAX_ENTRIES]:
            os.unlink(entry)
