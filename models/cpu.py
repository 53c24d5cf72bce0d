"""What a CPU needs to be fast and a large checkpoint to fit: kernels, packed weights, mapped pages.

oneDNN, by which torch convolves on a CPU, would bring the weights of a convolution into the order
in which it goes through them in every evaluation anew: a twentieth of the time of a large network,
a third of that of a small one. So weights are packed in that order once.
"""

import contextlib
import ctypes
import math
import mmap
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

SMALL = 2**28  # bytes of weights: those of `emoji`, not those of the published networks
FEW = 4  # threads, which even the deep levels of a large network keep busy with one image
ROOM = 2  # times what packed float32 weights take, that must be free for them
PORTION = 2**26  # bytes of a mapped file that are read before they leave memory


def quick_backward(x):
    """A context for attention over x, if gradients flow through it, on the CPU.

    There the backward pass of the fused kernel is slower than that of the plain one, and in half
    precision it turns large logits into NaN.
    """
    if x.requires_grad and x.device.type == "cpu":
        return sdpa_kernel(SDPBackend.MATH)
    return contextlib.nullcontext()


class PackedConv2d(nn.Module):
    """A convolution whose weights are packed for images [H, W] of the size that it last saw.

    It has no gradients, and its weights can be used for nothing else.

    Args:
        conv: the `nn.Conv2d` that it stands for, of stride 1 in one group.
        dtype: of the weights and of the images.
    """

    def __init__(self, conv, dtype):
        super().__init__()
        self.weight = conv.weight.detach().float().to_mkldnn(dtype)
        self.bias, self.padding = conv.bias, conv.padding
        self.size = None

    def forward(self, x):
        if x.requires_grad and torch.is_grad_enabled():
            # Torch would go on with wrong ones.
            raise RuntimeError("a network with packed weights has no gradients")
        if x.shape[2:] != self.size:
            # Packed for another size they would fit as well, but be reordered in every call.
            plain = self.weight.to_dense().to_mkldnn() if self.size else self.weight
            self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
                plain, self.padding, (1, 1), (1, 1), 1, list(x.shape)
            )
            self.size = x.shape[2:]
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, self.padding, (1, 1), (1, 1), 1, "none", [], ""
        )


def pack(net, device, dtype, low_memory=False):
    """Packs the convolutions of a network in place, where this makes it faster on a device.

    What it computes stays the same, but for rounding. Large weights in float32 may be left as they
    are: they are mapped from their file, and a copy takes its size in memory.

    Args:
        net: a module without gradients, to be called without. Its weights are on the CPU, as they
            are in their file: what is not packed is converted later.
        device, dtype: where it will compute, and in which type of numbers.
        low_memory: leave large weights in float32 as they are; without it, where the system has
            too little memory for them.
    Returns:
        The module. Its attribute `chunk` says how many images to call it with: None, all there are;
        1, where it is so large that more are hardly faster and only take memory.
    """
    net.chunk = None
    numbers = sum(weight.numel() for weight in net.parameters() if weight.dim() == 4)
    large = numbers * dtype.itemsize > SMALL
    if device.type != "cpu" or not can_pack(dtype):
        return net
    if large and dtype == torch.float32 and (low_memory or available_memory() < ROOM * 4 * numbers):
        return net
    net.chunk = 1 if large and torch.get_num_threads() <= FEW else None
    reading = Reading()
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(module, name, PackedConv2d(child, dtype))
                reading.has_read(child.weight)
                child.weight = None  # of a file that is not mapped, the weight itself
    return net


def available_memory(meminfo=Path("/proc/meminfo"), cgroups=Path("/sys/fs/cgroup")):
    """Bytes of memory that this process may take without others being swapped out; inf: unknown.

    What a container allows counts as well as what is free.
    """
    limits = [cgroups / "memory.max", cgroups / "memory" / "memory.limit_in_bytes"]
    free = [math.inf]
    for path in (meminfo, *limits):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = path.read_text()
            if path == meminfo:
                free.append(int(text.partition("MemAvailable:")[2].split()[0]) * 1024)
            else:
                free.append(int(text))  # ValueError: "max"
    return min(free)


def can_pack(dtype):
    """Whether this torch, on this CPU, computes with packed weights of a dtype."""
    twice = SimpleNamespace(weight=torch.full((1, 1, 1, 1), 2.0), bias=None, padding=(0, 0))
    x = torch.ones(1, 1, 2, 2, dtype=dtype)
    try:
        with torch.inference_mode():
            return torch.equal(PackedConv2d(twice, dtype)(x), x * 2)
    # An operator of torch's own compiler, of which it promises nothing.
    except (AttributeError, RuntimeError, TypeError):
        return False


class Reading:
    """An account of what is read of a mapped file, which lets go of it in portions."""

    def __init__(self):
        self.bytes = 0

    def has_read(self, tensor):
        """Takes note that a tensor which may lie in the file was read, and is not needed again."""
        self.bytes += tensor.nbytes
        if self.bytes > PORTION:
            self.bytes = 0
            let_go(tensor.data_ptr())


def let_go(address):
    """Takes what was read of a mapped file out of this process's memory, where that can be done.

    The system has it cached still, and whoever reads it again gets it from there. What was written
    to a private mapping would be lost.

    Args:
        address: within the mapping; if it is within other memory, nothing is done.
    """
    try:
        maps = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return
    for line in maps:
        span, _, _, _, inode = line.split()[:5]
        first, end = (int(place, 16) for place in span.split("-"))
        if first <= address < end and inode != "0":
            libc, size = ctypes.CDLL(None), ctypes.c_size_t(end - first)
            libc.madvise(ctypes.c_void_p(first), size, mmap.MADV_DONTNEED)
