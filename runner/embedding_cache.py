"""Embeddings of texts, remembered on disk: a prompt that was read once needs no CLIP again.

Each is a small file named by a hash of all that it depends on. Whatever is wrong with the folder or
with a file in it, it is as if that was not there: the CLIP reads the text anew.
"""

import contextlib
import hashlib
import json
import os
import re
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import torch
from safetensors.torch import load, save

from models.cache import cache_folder
from models.checkpoints import clip_sha256
from models.zoo import clip_row, may_be_cut
from values.errors import note, printable
from values.files import read_file, write_whole

VERSION = 3
MAX_ENTRIES = 2000  # some 5 MB
MAX_BYTES = 2**16  # of an entry; ours have 2 or 3 KB
# Ours, and what a killed process has left of one: the folder may hold other things.
ENTRY_FILE = re.compile(r"[0-9a-f]{64}\.safetensors|\.[0-9a-f]{16}\.part")


class Entry(NamedTuple):
    """What a CLIP made of a text.

    Args:
        embed: the embedding, float32 [dim].
        unread: the end of the text that is beyond its limit of tokens, or "".
    """

    embed: torch.Tensor
    unread: str = ""


def embed_texts(texts, name, checkpoint, dim, load_clip, enabled=True, device="cpu"):
    """The embeddings of texts by a CLIP, which is loaded only if one of them is not remembered.

    A note on stderr says of each text what the CLIP does not read of it.

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
    found = {text: read(place, key, dim) for text, key in keys.items() if place}
    missing = [text for text in keys if found.get(text) is None]
    if missing:
        clip = load_clip()
        unread = [clip.unread(text) if may_be_cut(name, text) else "" for text in missing]
        found.update(zip(missing, map(Entry, clip.encode_text(missing), unread), strict=True))
        # One note is enough where nothing can be written.
        if place and all(write(place, keys[text], found[text]) for text in missing):
            prune(place)
    for text in keys:
        if found[text].unread:
            note(
                f'note: of "{printable(text, 60)}" the CLIP {name} does not read '
                f'"{printable(found[text].unread, 100)}": it takes {clip_row(name).tokens} tokens'
            )
    return torch.stack([found[text].embed.to(device) for text in texts])


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
    """An Entry of the cache; None: it is not there, or not as `write` left it."""
    path = place / f"{key}.safetensors"
    try:
        tensors = load(read_file(path, MAX_BYTES))
        embed, check, unread = (tensors[name] for name in ("embedding", "sha256", "unread"))
        unread = bytes(unread.flatten().tolist()).decode("utf-8")
    except Exception:  # the parser of a damaged file may raise anything
        return None
    if embed.dtype != torch.float32 or embed.shape != (dim,) or not embed.isfinite().all():
        return None
    if check.dtype != torch.uint8 or bytes(check.flatten().tolist()) != check_of(
        key, embed, unread
    ):
        return None
    with contextlib.suppress(OSError):  # a folder that may only be read
        os.utime(path)  # the oldest goes first
    return Entry(embed, unread)


def write(place, key, entry):
    """Adds an Entry; False: it cannot be written, which a line on stderr has said."""
    embed, unread = entry.embed.cpu().contiguous(), entry.unread
    texts = {"sha256": check_of(key, embed, unread), "unread": unread.encode()}
    tensors = {name: torch.tensor(list(text), dtype=torch.uint8) for name, text in texts.items()}
    data = save({"embedding": embed, **tensors})
    try:
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{key}.safetensors"
        write_whole(path, lambda part: part.write_bytes(data), overwrite=True)
    except OSError as error:
        why = printable(error.strerror or error, 80)
        note(f"note: embeddings are not kept: {printable(place, 200)} cannot be written to ({why})")
        return False
    return True


def check_of(key, embed, unread):
    """A hash by which a damaged entry is told, and one under another's name: 32 bytes."""
    return hashlib.sha256(key.encode() + embed.numpy().tobytes() + unread.encode()).digest()


def prune(place):
    """Removes the entries that were not used for longest, beyond MAX_ENTRIES."""
    with contextlib.suppress(OSError):  # another process may be at it
        entries = [entry for entry in os.scandir(place) if ENTRY_FILE.fullmatch(entry.name)]
        entries.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime_ns)
        for entry in entries[:-MAX_ENTRIES]:
            os.unlink(entry)
