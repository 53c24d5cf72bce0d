"""The tensors of a checkpoint, mapped into memory.

Nothing but tensors is ever read from a file: there is no way back to the full unpickler, which
would run its code, and torch's careful one sees what `models.pickles` lets through.
"""

import os
import pickle
import re
import warnings

import torch
from safetensors.torch import load_file

from models import differences, pickles
from models.checkpoints import CheckpointError, head_of, header_fits, strange

SHOWN = 3  # keys named in a message; of the rest, the count
DEPTH = 2  # dicts inside of dicts in which a state_dict is looked for
AVERAGED = re.compile(r"(^|[._])ema([._]|$)", re.IGNORECASE)  # exponential moving averages


def read(path, wanted=()):
    """The tensors of a checkpoint, mapped from the file where its format allows.

    Args:
        path: a state_dict: .safetensors, or a .pth that holds nothing but tensors. The format is
            told by the content, not by the name.
        wanted: keys of the state_dict that is sought; with them, it is found inside a training
            checkpoint as well, see `within`.
    Returns:
        A dict of CPU tensors; pages of the file are read when they are first used.
    Raises:
        CheckpointError: if it is anything else. Code in it never runs.
    """
    head = head_of(path)
    try:
        # They warn of old formats and of types that will go, which is of no use to a reader of
        # the one line below, and of nothing that changes a number.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = parse(path, head)
    except CheckpointError:
        raise
    except pickles.Refused as error:
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:  # a parser of damaged bytes may raise anything
        raise CheckpointError(f"{path} {complaint(error)}") from error
    return plain(within(content, list(wanted)), path)


def parse(path, head):
    """What is in the file, by the parser that its first bytes ask for."""
    mapped = head.startswith(b"PK")
    if not mapped and head[8:9] == b"{":
        if not header_fits(head):
            raise CheckpointError(f"{path} is damaged or not a checkpoint: its header is too large")
        content, digest = load_file(path, device="cpu"), differences.base_of(path)
        if digest is None:
            return content
        return differences.added(content, read(differences.base_file(digest, path)), path)
    if not mapped and head[:1] != b"\x80":
        what = strange(head) or "neither a .pth nor a .safetensors file begins like that"
        raise CheckpointError(f"{path} is not a checkpoint: {what}")
    pickles.check(path, zipped=mapped)
    # The old format, a bare pickle, cannot be mapped.
    return torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=mapped)


def complaint(error):
    """One line about an error of a parser, whose own may have many and quote the file."""
    if isinstance(error, pickle.UnpicklingError):
        return "is damaged or holds other things than tensors: it was not loaded"
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    first = str(error).partition("\n")[0].partition(". ")[0].strip() or type(error).__name__
    return f"is damaged, cut off or not a checkpoint ({ascii(first[:120])[1:-1]}): get it again"


def within(content, wanted):
    """The state_dict that a training script has put into a file, perhaps among other things.

    It may be an entry of the file (`state_dict`, `model`, `ema`) or of an entry, and its keys may
    have a prefix (`module.`, `_orig_mod.`, `model_ema.`). Of several, that of averaged weights is
    taken: those are the ones to sample with.

    Args:
        content: what is in the file.
        wanted: keys, all of which the state_dict has.
    Returns:
        The state_dict, its keys without the prefix; `content`, if it holds none.
    """
    places = {"": content} if isinstance(content, dict) and wanted else {}
    for _ in range(DEPTH):
        for name, place in list(places.items()):
            inner = {k: v for k, v in place.items() if isinstance(k, str) and isinstance(v, dict)}
            places |= {f"{name}.{key}": value for key, value in inner.items()}
    found = {}
    for name, place in places.items():
        for key in place:
            if isinstance(key, str) and key.endswith(wanted[0]):
                prefix = key.removesuffix(wanted[0])
                if prefix[-1:] in ("", ".") and all(prefix + other in place for other in wanted):
                    found[f"{name}.{prefix}"] = (place, prefix)
    if not found:
        return content
    place, prefix = found[min(found, key=lambda name: not AVERAGED.search(name))]
    if not prefix:
        return place
    starts = [key for key in place if isinstance(key, str) and key.startswith(prefix)]
    return {key.removeprefix(prefix): place[key] for key in starts}


def plain(state, path):
    """`state` if it is a dict of plain tensors; else raises CheckpointError."""
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a state_dict")
    wrapped = [key for key, value in state.items() if isinstance(value, dict)]
    if wrapped:
        raise CheckpointError(
            f"{path} is a training checkpoint (with {some(wrapped)} inside), and no state_dict in "
            "it is of this network"
        )
    for key, value in state.items():
        # Exactly these: sparse, quantized and meta tensors, and subclasses, are no weights of ours.
        dense = type(value) in (torch.Tensor, torch.nn.Parameter) and (
            value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        )
        if not isinstance(key, str) or not dense:
            raise CheckpointError(
                f"{path} is not a state_dict: its entry {some([key])} is not a plain tensor"
            )
    return {key: value.detach() for key, value in state.items()}  # else a view holds its whole file


def some(keys):
    """The first few keys and a count of the rest, safe to show: they come from the file."""
    shown = ", ".join(ascii(key)[:80] for key in keys[:SHOWN])
    return shown if len(keys) <= SHOWN else f"{shown} and {len(keys) - SHOWN} more"


def match(wanted, state, path, kind):
    """Raises CheckpointError unless a state_dict has the wanted keys, shapes and kinds of numbers.

    Args:
        wanted: the state_dict of the module that is to be filled.
        state: that of the file.
        path: the file, for the message.
        kind: what the module is, for the message.
    """
    both = [key for key in wanted if key in state]
    shapes = [key for key in both if state[key].shape != wanted[key].shape]
    wrong = {
        "missing": [key for key in wanted if key not in state],
        "unexpected": [key for key in state if key not in wanted],
        "shape of": shapes,
        "type of numbers in": [
            k for k in both if state[k].is_floating_point() != wanted[k].is_floating_point()
        ],
    }
    told = [f"{what} {some(keys)}" for what, keys in wrong.items() if keys]
    if shapes:
        found = str(list(state[shapes[0]].shape))[:80]  # a file may claim thousands of dimensions
        told.append(f"the first shape is {found} instead of {list(wanted[shapes[0]].shape)}")
    if told:
        raise CheckpointError(f"{path} is of another {kind}: {'; '.join(told)}")
