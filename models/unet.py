"""The one U-Net that every network of the zoo is, described by a row of numbers.

The nesting of the modules mirrors the published state_dicts (`net.4.main.1.main.0.weight`), so
their keys load without a mapping: a level is a list of layers with the next level in its middle.
"""

import functools
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from diffusion.objective import log_snr
from models.cpu import quick_backward

TIMESTEP_CHANNELS = 16  # Fourier features of the timestep that join the colour channels
MAPPING_TIMESTEP_FEATURES = 128
SKETCH_PLANES = 4  # red, green and blue of a thing, and how much of it there is
WEIGHT_RANGE = 8  # Fourier features see weights of guidance from 0 to 8 as timesteps from 0 to 1


class FourierFeatures(nn.Module):
    """A scalar as cosines and sines of its multiples (Tancik et al., 2020, arXiv 2006.10739)."""

    full_precision = True  # phases are multiplied by 2 pi and more: half precision would blur them

    def __init__(self, features):
        super().__init__()
        weight = torch.empty(features // 2, 1)
        # Drawing on the meta device would import half of torch's compiler first.
        self.weight = nn.Parameter(weight if weight.is_meta else weight.normal_())

    def forward(self, s):
        """s [N] -> [N, features]."""
        phases = 2 * math.pi * s[:, None] * self.weight.T
        return torch.cat([phases.cos(), phases.sin()], dim=1)


class WeightEmbedding(nn.Module):
    """The weight of guidance as features to add to those of the timestep (arXiv 2210.03142).

    All of them are 0 before the first step of training, so that a network that is given this
    embedding goes on as it was.
    """

    full_precision = True

    def __init__(self, features):
        super().__init__()
        self.fourier = FourierFeatures(features)
        weight = torch.empty(features, features)
        self.weight = nn.Parameter(weight if weight.is_meta else weight.zero_())

    def forward(self, weight):
        """weight [N] -> [N, features]."""
        return F.linear(self.fourier(weight / WEIGHT_RANGE), self.weight)


class Modulation(nn.Module):
    """Normalises x over an image, then scales and shifts each channel as the features say."""

    def __init__(self, features, channels):
        super().__init__()
        self.layer = nn.Linear(features, channels * 2, bias=False)

    def forward(self, x, features):
        features = features.to(self.layer.weight.dtype)
        scale, shift = self.layer(features)[:, :, None, None].chunk(2, dim=1)
        x = F.group_norm(x, 1)
        # A new tensor costs as much time as what is computed: its pages are fresh ones.
        out = None if x.requires_grad or scale.requires_grad else x
        return torch.addcmul(shift, x, scale + 1, out=out)


class Block(nn.Module):
    """Two 3x3 convolutions beside a skip; modulated by the mapping's features if there are any."""

    def __init__(self, c_in, c_mid, c_out, features, relu=True):
        super().__init__()
        first, second = nn.Conv2d(c_in, c_mid, 3, padding=1), nn.Conv2d(c_mid, c_out, 3, padding=1)
        if features:
            layers = {"0": first, "2": Modulation(features, c_mid), "4": second}
            # The last block of a network ends with its convolution: nothing to modulate there.
            if relu:
                layers["6"] = Modulation(features, c_out)
        else:
            layers = {"0": first, "2": second}
        self.main = nn.ModuleDict(layers)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1, bias=False)
        self.relu = relu

    def forward(self, x, features):
        first, *modulation, second = (m for key, m in self.main.items() if key != "6")
        h = first(x)
        for modulate in modulation:
            h = modulate(h, features)
        h = second(F.relu_(h))
        if "6" in self.main:
            h = self.main["6"](h, features)
        if self.relu:
            h = F.relu_(h)
        skip = self.skip(x)
        return h + skip if h.requires_grad or skip.requires_grad else h.add_(skip)


class Attention(nn.Module):
    """Self-attention over the pixels, added to its input."""

    def __init__(self, channels, head_channels, norm):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels) if norm else nn.Identity()
        self.qkv_proj = nn.Conv2d(channels, channels * 3, 1)
        self.out_proj = nn.Conv2d(channels, channels, 1)
        self.heads = channels // head_channels

    def forward(self, x, features):
        n, c, h, w = x.shape
        qkv = self.qkv_proj(self.norm(x)).view(n, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(3, 4).unbind(1)
        with quick_backward(q):
            y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out_proj(y.transpose(2, 3).reshape(n, c, h, w))


class Level(nn.Module):
    """Half the resolution, the layers of this level, the resolution again, joined to the input."""

    def __init__(self, arch, layers):
        super().__init__()
        # Where pooling and upsampling stand in the published numbering there is nothing to hold.
        self.main = nn.ModuleDict({str(i): layer for i, layer in enumerate(layers, start=1)})
        self.upsampling, self.skip_first = arch.upsampling, arch.skip_first

    def forward(self, x, features):
        h = F.avg_pool2d(x, 2)
        for layer in self.main.values():
            h = layer(h, features)
        corners = None if self.upsampling == "nearest" else False
        h = F.interpolate(h, scale_factor=2, mode=self.upsampling, align_corners=corners)
        return torch.cat([x, h] if self.skip_first else [h, x], dim=1)


def level_layers(arch, level, c_in, c_out):
    """The layers of a level and, in their middle, of all levels below it."""
    c, bottom = arch.channels[level], level == len(arch.channels) - 1
    features = arch.features if arch.clip_dim else 0
    outermost = level == 0

    def blocks(c_in, c_out, count, last=False):
        layers = []
        for i in range(count):
            first, final = i == 0, i == count - 1
            c_end = c_out if final else c
            relu = not (last and final) or arch.final_relu
            layers.append(Block(c_in if first else c, c, c_end, features, relu))
            if arch.attention_from is not None and level >= arch.attention_from:
                layers.append(Attention(c_end, arch.head_channels, arch.attention_norm))
        return layers

    if bottom:
        return blocks(c_in, c_out, arch.blocks * 2)
    inner = Level(arch, level_layers(arch, level + 1, c, c))
    return [
        *blocks(c_in, c, arch.blocks),
        inner,
        *blocks(c * 2, c_out, arch.blocks, last=outermost),
    ]


class MappingBlock(nn.Module):
    """A residual block of the mapping network."""

    def __init__(self, c_in, c_out, relu=True):
        super().__init__()
        self.main = nn.ModuleDict({"0": nn.Linear(c_in, c_out), "2": nn.Linear(c_out, c_out)})
        self.skip = nn.Identity() if c_in == c_out else nn.Linear(c_in, c_out, bias=False)
        self.relu = relu

    def forward(self, x):
        h = self.main["2"](F.relu(self.main["0"](x)))
        return self.skip(x) + (F.relu(h) if self.relu else h)


class Sketch(nn.Module):
    """What a condition looks like on average, by its embedding alone: a thing over a plain ground.

    The mean of the images of a condition is what the best model predicts where there is only noise
    (t = 1). Modulated convolutions are slow to remember a picture; a linear layer is quick, and the
    U-Net that is shown it has to sharpen it, not to remember it.
    """

    def __init__(self, clip_dim, features, side):
        super().__init__()
        self.side = side
        self.main = nn.Sequential(
            MappingBlock(clip_dim, features), nn.Linear(features, SKETCH_PLANES * side**2 + 3)
        )
        for module in self.modules():
            module.full_precision = True

    def forward(self, embed, height, width):
        """Sketches of embeddings.

        Args:
            embed: normalised embeddings [N, clip_dim].
            height, width: of the sketches; the thing is in the square in their middle.
        Returns:
            [N, 4, height, width] in float32: colours in [-1, 1] or so, and the mask of the thing.
        """
        ground, planes = self.main(embed).split([3, SKETCH_PLANES * self.side**2], dim=1)
        planes = planes.view(-1, SKETCH_PLANES, self.side, self.side)
        mask = planes[:, 3:].sigmoid()
        planes = torch.cat([planes[:, :3] * mask, mask], dim=1)
        square = min(height, width)
        planes = F.interpolate(planes, (square, square), mode="bilinear", align_corners=False)
        left, top = (width - square) // 2, (height - square) // 2
        planes = F.pad(planes, (left, width - square - left, top, height - square - top))
        thing, mask = planes.split([3, 1], dim=1)
        return torch.cat([thing + (1 - mask) * ground[:, :, None, None], mask], dim=1)


class UNet(nn.Module):
    """A network that predicts v. Its convolutions compute in the dtype of their weights.

    Args:
        arch: a `models.zoo.Architecture`. Weights are random, to be trained or replaced.
    """

    def __init__(self, arch):
        super().__init__()
        self.arch = arch
        colours = 3 * arch.patch**2
        if arch.clip_dim:
            self.mapping_timestep_embed = FourierFeatures(MAPPING_TIMESTEP_FEATURES)
            self.mapping = nn.Sequential(
                MappingBlock(arch.clip_dim + MAPPING_TIMESTEP_FEATURES, arch.features),
                MappingBlock(arch.features, arch.features, relu=False),
            )
            if arch.takes_weight:
                self.mapping_weight_embed = WeightEmbedding(MAPPING_TIMESTEP_FEATURES)
            # It is small, and every block of the network multiplies by what comes out of it.
            for module in self.mapping.modules():
                module.full_precision = True
        self.timestep_embed = FourierFeatures(TIMESTEP_CHANNELS)
        c_in = colours + TIMESTEP_CHANNELS
        if arch.sketch:
            self.sketch = Sketch(arch.clip_dim, arch.sketch_features, arch.sketch)
            c_in += SKETCH_PLANES
        self.net = nn.ModuleList(level_layers(arch, 0, c_in, colours))

    def normalised(self, clip_embed):
        """CLIP embeddings [N, clip_dim] of any length as the layers take them; zeros stay zeros."""
        return F.normalize(clip_embed.float(), dim=1) * math.sqrt(self.arch.clip_dim)

    def map(self, t, clip_embed, weight=None):
        """The features that modulate the blocks.

        Args:
            t: timesteps [N].
            clip_embed: CLIP embeddings [N, clip_dim] of any length; zeros: no condition.
            weight: weights of guidance [N], for a network that takes them.
        Returns:
            Features [N, features] in float32.
        """
        embed = self.normalised(clip_embed)
        timestep = self.mapping_timestep_embed(t.float())
        if weight is not None:
            timestep = timestep + self.mapping_weight_embed(weight.float())
        return self.mapping(torch.cat([embed, timestep], dim=1))

    def forward(self, x, t, clip_embed=None, weight=None):
        """v of noised images.

        Args:
            x: noised images [N, 3, H, W]; H and W multiples of `arch.size_multiple` pixels.
            t: timesteps [N] in [0, 1].
            clip_embed: CLIP embeddings [N, clip_dim], for a conditional network.
            weight: weights of guidance [N], for a network that takes them (`arch.takes_weight`).
        Returns:
            v [N, 3, H, W] in the dtype of x.
        Raises:
            ValueError: for a conditional network without embeddings, for one that takes weights
                without them, and for weights that a network does not take.
        """
        if self.arch.clip_dim and clip_embed is None:
            raise ValueError(
                "this network is conditional: diffusion.guided(net, embeds, weights) makes the "
                "model to sample; with zeros for an embedding it draws without a prompt"
            )
        if self.arch.takes_weight != (weight is not None):
            raise ValueError(
                "this network takes the weight of its prompt: diffusion.distilled(net, embeds, "
                "weights) makes the model to sample"
                if self.arch.takes_weight
                else "this network takes no weights: diffusion.guided is its guidance"
            )
        dtype = self.net[0].main["0"].weight.dtype
        features = self.map(t, clip_embed, weight) if self.arch.clip_dim else None
        # In double precision: 1 - cos^2 near t = 0 leaves nothing of a float32.
        s = log_snr(t.double()) if self.arch.timestep == "log_snr" else t
        h = F.pixel_unshuffle(x, self.arch.patch)
        planes = self.timestep_embed(s.float())[:, :, None, None].expand(-1, -1, *h.shape[2:])
        inputs = [h, planes.to(h.dtype)]
        if self.arch.sketch:
            inputs.append(self.sketch(self.normalised(clip_embed), *h.shape[2:]).to(h.dtype))
        h = torch.cat(inputs, dim=1).to(dtype, memory_format=torch.channels_last)
        for layer in self.net:
            h = layer(h, features)
        return F.pixel_shuffle(h, self.arch.patch).to(x.dtype)


def recompute_gradients(net):
    """Makes a U-Net keep only the inputs of its layers for the way back, and compute the rest anew.

    Gradient checkpointing (Chen et al., 2016, arXiv 1604.06174): less memory, one more evaluation.
    """
    for layer in net.modules():
        if isinstance(layer, Block | Attention):
            layer.forward = functools.partial(
                checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
            )
