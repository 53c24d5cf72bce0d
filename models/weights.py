"""The tensors of a checkpoint, mapped into memory.

Nothing but tensors is ever read from a file: there is no way back to the full unpickler, which
would run its code, and torch's careful one sees what `models.pickles` lets through.
"""

import os
import pickle
import warnings

import torch
from safetensors.torch import load_file

from models import pickles
from models.checkpoints import CheckpointError, head_of, header_fits, strange

SHOWN = 3  # keys named in a message; of the rest, the count


def read(path):
    """The tensors of a checkpoint, mapped from the file where its format allows.

    Args:
        path: a state_dict: .safetensors, or a .pth that holds nothing but tensors. The format is
            told by the content, not by the name.
    Returns:
        A dict of CPU tensors; pages of the file are read when they are first used.
    Raises:
        CheckpointError: if it is anything else. Code in it never runs.
    """
    head = head_of(path)
    try:
        # Its readers warn about formats and types, which is of no use to who has the line below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = parse(path, head)
    except CheckpointError:
        raise
    except pickles.Refused as error:
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:  # a parser of damaged bytes may raise anything
        raise CheckpointError(f"{path} {complaint(error)}") from error
    return plain(state, path)


def parse(path, head):
    """What is in the file, by the parser that its first bytes ask for."""
    mapped = head.startswith(b"PK")
    if not mapped and head[8:9] == b"{":
        if not header_fits(head):
            raise CheckpointError(f"{path} is damaged or not a checkpoint: its header is too large")
        return load_file(path, device="cpu")
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
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    first = str(error).partition("\n")[0].partition(". ")[0].strip() or type(error).__name__
    return f"is damaged, cut off or not a checkpoint ({ascii(first[:120])[1:-1]}): get it again"


def plain(state, path):
    """`state` if it is a dict of plain tensors; else raises CheckpointError."""
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a state_dict")
    wrapped = [key for key, value in state.items() if isinstance(value, dict)]
    if wrapped:
        raise CheckpointError(
            f"{path} is a training checkpoint of another program (with {some(wrapped)} inside), "
            "not a state_dict: save the one inside to a file of its own"
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
