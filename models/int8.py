"""Convolutions of int8 on a CPU, which many that have no bfloat16 compute fast (VNNI).

Each input is quantised with the range of its own image, as it comes: nothing is calibrated. Weights
have a scale for each output channel (Krishnamoorthi, 2018, arXiv 1806.08342). oneDNN sums the
products as integers; everything else is float32. On a CPU without VNNI, weights have one bit less,
so that the sums are exact there, too.

Left in float32 are convolutions of few channels, and of the others those of the first block and the
last. Drawings of `emoji` are off by 0.6 grey levels (RMS) so, and by 1.2 with these in int8, too.
Two ways to make the error smaller were of no use for earlier weights: scaling channels as
SmoothQuant does (Xiao et al., 2022, arXiv 2211.10438) made it 4 times as large, and rounding that
keeps the sum of a kernel (SQuant; Guo et al., 2022, arXiv 2202.07471) changed it by a twentieth.
"""

import functools
import math
import warnings

import torch
from torch import nn
from torch.nn import functional as F

from models.cpu import Reading
from models.unet import Block

LEAST = 128  # channels, below which a convolution loses more precision than it saves time
LEVELS = 255  # steps of a uint8 between the ends of the range
LARGEST = 127  # an int8 weight is of [-127, 127]
# Without VNNI two products are added in 16 bits, and the sum is cut off: 2 x 255 x 63 fits.
LARGEST_IN_16_BITS = 63
ONES = (1, 1)


class Int8Conv2d(nn.Module):
    """A convolution of integers, for one image at a time; input and output are float32.

    It has no gradients. Its weights are packed for images [H, W] of the size that it last saw.

    Args:
        conv: the `nn.Conv2d` that it stands for: 3 x 3, of stride 1 and padding 1, in one group.
        follows_relu: whether no input is negative but those that a ReLU would make 0: then 0 is
            the low end of the range, and the ReLU comes with the quantising.
        largest: what the largest weight of a channel becomes; None: `largest_weight()`.
    """

    def __init__(self, conv, follows_relu=False, largest=None):
        super().__init__()
        weight = conv.weight.detach().float()
        largest = largest or largest_weight()
        self.scales = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / largest
        rounded = (weight / self.scales[:, None, None, None]).round_()
        self.sums = rounded.sum((1, 2, 3)) * self.scales  # what an input of ones would give
        self.plain, self.packed, self.size = rounded.to(torch.int8), None, None
        self.bias = self.sums * 0 if conv.bias is None else conv.bias.detach().float().clone()
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.follows_relu = follows_relu

    def forward(self, x):
        low, high = 0.0 if self.follows_relu else float(x.amin()), float(x.amax())
        if not math.isfinite(high - low):  # the sampler tells of it
            return x.new_full((len(x), len(self.bias), *x.shape[2:]), math.nan)
        low, high = min(low, 0.0), max(high, 0.0)  # joined zeros are exact
        scale = max(high - low, 1e-12) / LEVELS
        zero, padding, bias = round(-low / scale), ONES, self.bias
        q = quantised(x, scale, zero)
        if zero:
            # oneDNN has zero points as well, but would sum up the weights in every call anew.
            q, padding = F.pad(q, (1, 1, 1, 1), value=zero), (0, 0)
            bias = torch.sub(bias, self.sums, alpha=scale * zero)
        self._pack(q.shape, padding)
        how = (bias, ONES, padding, ONES, 1, 1.0, 0, torch.float32, "none", [], "")
        return torch.ops.onednn.qconv2d_pointwise(
            q, scale, 0, self.packed, self.scales, self.zeros, *how
        )

    def _pack(self, shape, padding):
        """Brings the weights in the order in which oneDNN goes through them, once for a size."""
        size = (*shape[2:], padding)
        if size != self.size:
            plain = self.packed.to_dense() if self.plain is None else self.plain
            how = (self.scales, 1.0, 0, ONES, padding, ONES, 1, list(shape))
            self.packed = torch.ops.onednn.qconv_prepack(plain, *how)
            self.plain, self.size = None, size


def quantised(x, scale, zero):
    """x / scale + zero, rounded and cut to uint8 [...], in one pass where torch has one."""
    try:
        q = torch.quantize_per_tensor(x, scale, zero, torch.quint8)
        # The same bytes as an ordinary tensor; `int_repr` would copy them.
        return torch.empty(0, dtype=torch.uint8).set_(q.untyped_storage(), 0, q.shape, q.stride())
    # Torch is going to drop its quantised tensors.
    except (AttributeError, RuntimeError, TypeError):
        return (x * (1 / scale)).add_(zero).round_().clamp_(0, LEVELS).to(torch.uint8)


@functools.cache
def largest_weight():
    """The largest int8 weight of which this CPU sums the products exactly."""
    conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    conv.weight.data.fill_(1.0)
    with torch.inference_mode():
        y = Int8Conv2d(conv, True, LARGEST)(torch.ones(1, 16, 3, 3))
    exact = conv.weight[0].numel()
    return LARGEST if abs(float(y[0, 0, 1, 1]) - exact) < exact / 100 else LARGEST_IN_16_BITS


@functools.cache
def available():
    """Whether this torch, on this CPU, has convolutions of int8."""
    conv = nn.Conv2d(1, 1, 3, padding=1)
    conv.weight.data.fill_(1.0)
    conv.bias.data.fill_(0.5)
    x = torch.full((1, 1, 2, 2), 2.0)
    x[0, 0, 0, 0] = -2
    try:
        # Torch warns, once for a process, of what `quantised` does without where it must.
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            y = Int8Conv2d(conv)(x)
    # Operators of torch's own compiler, of which it promises nothing.
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False
    return bool((y - 4.5).abs().max() < 0.05)


def quantise(net):
    """Puts int8 convolutions in place of those of a U-Net that bear it; it goes image by image.

    So an image is the same to the bit whatever else is in its batch. Which convolutions stay
    float32: those of few channels, those of 1 x 1, and the blocks that read the image and write v.

    Args:
        net: a `models.unet.UNet` without gradients, with float32 weights on the CPU.
    Returns:
        The network.
    Raises:
        ValueError: where this torch has no such convolutions.
    """
    if not available():
        raise ValueError("int8: this torch has no int8 convolutions for this CPU")
    reading, blocks = Reading(), [block for block in net.modules() if isinstance(block, Block)]
    for block in [block for block in blocks if any(map(_is_wide, block.main.values()))][1:-1]:
        convs = [name for name, layer in block.main.items() if isinstance(layer, nn.Conv2d)]
        for name in convs:
            if _is_wide(conv := block.main[name]):
                block.main[name] = Int8Conv2d(conv, follows_relu=name != convs[0])
                reading.has_read(conv.weight)
                conv.weight = None  # of a file that is not mapped, the weight itself
    net.forward = functools.partial(one_by_one, net.forward)
    return net


def _is_wide(layer):
    """Whether a layer of a block is a convolution that is worth quantising."""
    is_conv = isinstance(layer, nn.Conv2d)
    return is_conv and min(layer.in_channels, layer.out_channels) >= LEAST


def one_by_one(forward, *inputs):
    """What a network makes of tensors [N, ...], image by image."""
    if torch.is_grad_enabled() and any(a.requires_grad for a in inputs):
        raise RuntimeError("a network in int8 has no gradients")
    images = [forward(*image) for image in zip(*(a.split(1) for a in inputs), strict=True)]
    return images[0] if len(images) == 1 else torch.cat(images)


@torch.inference_mode()
def error(net, exact, shape):
    """How far v of a network is off from that of the same one in float32, on one evaluation.

    Args:
        net, exact: the two, on the CPU.
        shape: (channels, height, width) of an image, in pixels.
    Returns:
        RMS of the difference by RMS of v, for noise at t = 0.75 and no prompt.
    """
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    inputs = [x, torch.tensor([0.75])]
    if exact.arch.clip_dim:
        inputs.append(torch.zeros(1, exact.arch.clip_dim))
    if exact.arch.takes_weight:
        inputs.append(torch.ones(1))
    v = exact(*inputs)
    return float((net(*inputs) - v).norm() / v.norm())
