"""Networks with their weights: built, filled from a checkpoint, moved to a device and a dtype."""

import torch

from models import checkpoints, int8
from models.cpu import Reading, pack
from models.unet import UNet
from models.weights import match, read
from models.zoo import network


def build(name):
    """The network called `name`, without its weights: ready for its published state_dict.

    Raises ValueError, with the names that there are, for any other name.
    """
    return UNet(network(name).architecture)


def load(name, checkpoint=None, device=None, dtype=None, packed=False, low_memory=False):
    """The network called `name`, ready to sample with.

    Args:
        name: one of `names()`.
        checkpoint: a .pth or .safetensors file; None: the one in `checkpoints/`, downloaded if it
            is not there.
        device: where to put the weights; None: the CPU.
        dtype: of the weights and of the computation; None: float32. torch.int8, or "int8": that of
            convolutions alone, on a CPU; see `models.int8`.
        packed: whether to make it faster on a CPU, if `models.cpu` can; it has no gradients then.
        low_memory: whether large weights are not packed where that takes a copy of them.
    Returns:
        A module in evaluation mode, called as `net(x, t)` or `net(x, t, clip_embed)`.
    Raises:
        ValueError: if there is no such network, and where int8 cannot be had.
        CheckpointError: if there is no usable checkpoint.
    """
    path = checkpoints.find(network(name), checkpoint)
    return load_weights(lambda: build(name), path, device or "cpu", dtype, packed, low_memory)


def check(name, path):
    """CheckpointError unless a file holds the weights of the network called `name`."""
    with torch.device("meta"):
        net = build(name)
    match(net.state_dict(), read(path, net.state_dict()), path, "network")


def load_weights(build, path, device="cpu", dtype=None, packed=False, low_memory=False):
    """A network with the weights of a checkpoint, ready to sample with.

    Nothing is initialised and nothing copied that need not be: float32 weights on the CPU stay
    mapped from the file, which must not change while they are in use; others, and those that are
    packed, are converted tensor by tensor.

    Args:
        build: makes the network; called with the meta device as the default one.
        path: the checkpoint, a file as `find` returns it.
        device: where the weights go.
        dtype: of the floating-point weights; None: float32; torch.int8: see `models.int8`.
        packed: whether those of convolutions are packed, where that makes them faster.
        low_memory: whether large weights are not packed where that takes a copy of them.
    Returns:
        The module, in evaluation mode, without gradients.
    Raises:
        CheckpointError: if the file is not a state_dict of this network.
    """
    with torch.device("meta"):
        net = build()
    state = read(path, net.state_dict())
    match(net.state_dict(), state, path, "network")
    net.load_state_dict(state, strict=True, assign=True)
    del state  # so that a tensor of an unmapped file is gone once it is converted
    net = net.eval().requires_grad_(False)
    device, dtype = torch.device(device), dtype or torch.float32
    if dtype in (torch.int8, "int8"):
        if device.type != "cpu":
            raise ValueError(f"int8: only on a CPU, not on {device}")
        net, dtype = int8.quantise(net), torch.float32
    if packed:
        pack(net, device, dtype, low_memory)
    return convert(net, device, dtype, fresh=True)


def convert(net, device, dtype, fresh=False):
    """The network itself, its weights moved to a device and a dtype one by one, in place.

    A module with the attribute `full_precision` keeps float32 in any case. `fresh` says that
    weights may be mapped from a file and none was written to: their pages leave memory.
    """
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
    if not tensor.is_floating_point():
        return tensor.to(device, copy=not may_stay)
    if may_stay and tensor.device == device and tensor.dtype == dtype:
        return tensor  # as it is in the file: another order would be a copy of it
    # The order in which convolutions are fast, and the one that the activations have.
    order = torch.channels_last if tensor.dim() == 4 else torch.preserve_format
    return tensor.to(device, dtype, copy=True, memory_format=order)
