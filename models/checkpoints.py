"""Checkpoints: find one, download it, verify it, map it into memory.

A checkpoint is a stranger's file. Its hash is checked before anything parses it, and nothing but
tensors is ever read from it: there is no way back to the full unpickler, which would run its code,
and torch's careful one sees what `models/pickles.py` lets through.
"""

import os
import urllib.parse
import warnings
from pathlib import Path

from models import downloads, pickles
from models.hashes import sha256
from models.mapped import Reading

ROOT = Path(__file__).parents[1]
CHECKPOINTS = Path(os.environ.get("V_DIFFUSION_CHECKPOINTS") or ROOT / "checkpoints").expanduser()
SUFFIXES = (".pth", ".safetensors")
MAX_HEADER = 2**23  # bytes of a .safetensors header; ours have up to 70,000
SHOWN = 3  # keys named in a message; of the rest, the count


class CheckpointError(Exception):
    """There is no usable checkpoint; the message is one line: what is wrong and what to do."""


def present(network):
    """The network's file in `checkpoints/`; None: there is none."""
    own = CHECKPOINTS / network.file
    for path in (own, *(own.with_suffix(suffix) for suffix in SUFFIXES)):
        if os.path.isfile(path):
            return path
    return None


def is_present(network):
    """Whether the network's checkpoint is in `checkpoints/`, good or bad. Reads nothing."""
    return present(network) is not None


def find(network, checkpoint=None, mirror=None, progress=True):
    """The network's checkpoint as a file on this disk, downloaded if need be.

    A file in `checkpoints/` under its published name must have its published hash. One that the
    user names may be anything: people fine-tune.

    Args:
        network: a `models.zoo.Network`.
        checkpoint: the user's own file; None: the one in `checkpoints/`.
        mirror: address of a folder to download from instead of the published place; None: the
            environment's V_DIFFUSION_MIRROR, if that is set.
        progress: whether to show a download's progress on stderr.
    Returns:
        Its path. Nothing has parsed the file yet.
    Raises:
        CheckpointError: if there is none, or the wrong one.
    """
    if checkpoint is not None:
        path = Path(checkpoint)
        head_of(path)
        return path
    path = present(network) or CHECKPOINTS / network.file
    if not os.path.lexists(path):
        fetch(network, path, mirror, progress)
    head_of(path)
    if network.sha256 and path.name == network.file:
        verify(network, path)
    return path


def fetch(network, path, mirror, progress):
    """Downloads a published checkpoint to its place."""
    if not network.url or not network.sha256:
        raise CheckpointError(
            f"{path} is missing; it comes with this suite: restore it, or name a file with "
            "--checkpoint"
        )
    mirror = mirror or os.environ.get("V_DIFFUSION_MIRROR")
    url = f"{mirror.rstrip('/')}/{urllib.parse.quote(network.file)}" if mirror else network.url
    try:
        downloads.download(url, path, network.sha256, progress=progress)
    except downloads.DownloadError as error:
        raise CheckpointError(f"{error}; --mirror names another place to look") from error


def verify(network, path):
    """Raises CheckpointError unless the file has the hash of the published one."""
    head = head_of(path)
    try:
        found = sha256(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if found != network.sha256:
        what = f"its SHA-256 is {found}, expected {network.sha256}"
        if page := strange(head):
            what = f"{page}; {what}"
        again = "delete it and it is downloaded again" if network.url else "restore it"
        raise CheckpointError(
            f"{path} is not the {network.name} checkpoint: {what}; {again}, or, if it is your own, "
            "move it and name it with --checkpoint"
        )


def head_of(path):
    """The first bytes of a file. Raises CheckpointError if it cannot be read or has none."""
    if os.path.isdir(path):
        raise CheckpointError(f"{path} is a directory, not a checkpoint")
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(f"{path} is a device or a pipe, not a checkpoint")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise CheckpointError(f"{path} is empty: delete it and get it again")
    return head


def strange(head):
    """What a file that begins so is, if it is something people often get for a checkpoint."""
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is an HTML page, which a server sent in its place"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; `git lfs pull` gets the file itself"
    return None


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
        from safetensors.torch import load_file

        return load_file(path, device="cpu")
    if not mapped and head[:1] != b"\x80":
        what = strange(head) or "neither a .pth nor a .safetensors file begins like that"
        raise CheckpointError(f"{path} is not a checkpoint: {what}")
    pickles.check(path, zipped=mapped)
    import torch

    # The old format, a bare pickle, cannot be mapped.
    return torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=mapped)


def header_fits(head):
    """Whether a .safetensors file that begins so has a header that takes no minutes to read."""
    return int.from_bytes(head[:8], "little") <= MAX_HEADER


def complaint(error):
    """One line about an error of a parser, whose own may have many and quote the file."""
    import pickle

    if isinstance(error, pickle.UnpicklingError):
        return "is damaged or holds other things than tensors: it was not loaded"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    first = str(error).partition("\n")[0].partition(". ")[0].strip() or type(error).__name__
    return f"is damaged, cut off or not a checkpoint ({ascii(first[:120])[1:-1]}): get it again"


def plain(state, path):
    """`state` if it is a dict of plain tensors; else raises CheckpointError."""
    import torch

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


def match(net, state, path):
    """Raises CheckpointError unless keys, shapes and kinds of numbers are those of the network."""
    from torch import is_floating_point as is_float

    wanted = net.state_dict()
    wrong = []
    if missing := [key for key in wanted if key not in state]:
        wrong.append(f"missing {some(missing)}")
    if unexpected := [key for key in state if key not in wanted]:
        wrong.append(f"unexpected {some(unexpected)}")
    both = [key for key in wanted if key in state]
    if misshapen := [key for key in both if state[key].shape != wanted[key].shape]:
        key = misshapen[0]
        rest = f" and {len(misshapen) - 1} more" if len(misshapen) > 1 else ""
        found = str(list(state[key].shape))[:80]  # a file may claim thousands of dimensions
        shapes = f"{found} instead of {list(wanted[key].shape)}"
        wrong.append(f"shape of {key!r} {shapes}{rest}")
    if mixed := [key for key in both if is_float(state[key]) != is_float(wanted[key])]:
        wrong.append(f"type of numbers in {some(mixed)}")
    if wrong:
        raise CheckpointError(f"{path} is of another network: {'; '.join(wrong)}")


def load_weights(build, path, device="cpu", dtype=None, packed=False):
    """A network with the weights of a checkpoint, ready to sample with.

    Nothing is initialised and nothing copied that need not be: float32 weights on the CPU stay
    mapped from the file, which must not change while they are in use; others, and those that are
    packed, are converted tensor by tensor.

    Args:
        build: makes the network; called with the meta device as the default one.
        path: the checkpoint, a file as `find` returns it.
        device: where the weights go.
        dtype: of the floating-point weights; None: float32.
        packed: whether those of convolutions are packed, where that makes them faster.
    Returns:
        The module, in evaluation mode, without gradients.
    Raises:
        CheckpointError: if the file is not a state_dict of this network.
    """
    import torch

    with torch.device("meta"):
        net = build()
    state = read(path)
    match(net, state, path)
    net.load_state_dict(state, strict=True, assign=True)
    del state  # so that a tensor of an unmapped file is gone once it is converted
    net = net.eval().requires_grad_(False)
    device, dtype = torch.device(device), dtype or torch.float32
    if packed:
        from models.packing import pack

        pack(net, device, dtype)
    return convert(net, device, dtype, fresh=True)


def convert(net, device, dtype, fresh=False):
    """The network itself, its weights moved to a device and a dtype one by one, in place.

    A module with the attribute `full_precision` keeps float32 in any case. `fresh` says that
    weights may be mapped from a file and none was written to: their pages leave memory.
    """
    import torch

    reading = Reading()
    for module in net.modules():
        keep = torch.float32 if getattr(module, "full_precision", False) else dtype
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, tensor in own:
            if tensor.is_meta:
                raise RuntimeError(f"{type(module).__name__}.{name} is in no state_dict")
            # One weight left in the mapped file holds all of its pages: either all stay or none.
            source = tensor.data
            tensor.data = converted(source, device, keep, may_stay=dtype == torch.float32)
            if fresh and tensor.data_ptr() != source.data_ptr():
                reading.has_read(source)
    return net


def converted(tensor, device, dtype, may_stay):
    """A weight [...] on its device, in its type of numbers and its order in memory."""
    import torch

    if not tensor.is_floating_point():
        return tensor.to(device, copy=not may_stay)
    if may_stay and tensor.device == device and tensor.dtype == dtype:
        return tensor  # as it is in the file: another order would be a copy of it
    # The order in which convolutions are fast, and the one that the activations have.
    order = torch.channels_last if tensor.dim() == 4 else torch.preserve_format
    return tensor.to(device, dtype, copy=True, memory_format=order)
