import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import diffusion
import models
from models import int8, networks
from models.int8 import Int8Conv2d

if not int8.available():
    pytest.skip("no int8 convolutions here", allow_module_level=True)


def conv(channels_in=64, channels_out=48):
    torch.manual_seed(1)
    return nn.Conv2d(channels_in, channels_out, 3, padding=1).requires_grad_(False)


def image(height=8, width=12, channels=64):
    x = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(2))
    return x.contiguous(memory_format=torch.channels_last)


def inputs(net, n, size=64):
    source = torch.Generator().manual_seed(n)
    x = torch.randn(n, 3, size, size, generator=source)
    return x, torch.linspace(0.1, 1, n), torch.randn(n, net.arch.clip_dim, generator=source)


def evaluated(net, *given):
    with torch.inference_mode():
        return net(*given)


def off(y, exact):
    return float((y - exact).norm() / exact.norm())


@pytest.mark.parametrize("follows_relu", [False, True])
@pytest.mark.parametrize("shift", [0, 3])
def test_convolution_is_that_of_float32_but_for_rounding(follows_relu, shift):
    plain, x = conv(), image() + shift
    exact = plain(x.relu() if follows_relu else x)
    y = evaluated(Int8Conv2d(plain, follows_relu), x)
    assert y.dtype == torch.float32
    assert y.shape == exact.shape
    assert off(y, exact) < 0.02
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    # Zeros are joined there, which are no zeros of uint8.
    border = torch.ones_like(y, dtype=torch.bool)
    border[inner] = False
    assert off(y[border], exact[border]) < 0.02


def test_convolution_is_exact_where_nothing_has_to_be_rounded():
    plain = conv(32, 32)
    largest = int8.largest_weight()
    plain.weight.copy_(torch.randint(-largest, largest + 1, plain.weight.shape))
    plain.weight[:, 0, 0, 0] = largest
    x = torch.randint(-100, 101, (1, 32, 6, 6)).float()
    x[0, 0, 0, :2] = torch.tensor([-100.0, 155.0])  # 255 steps of 1
    x = x.contiguous(memory_format=torch.channels_last)
    exact = F.conv2d(x.double(), plain.weight.double(), plain.bias.double(), padding=1)
    assert (evaluated(Int8Conv2d(plain), x) - exact).abs().max() < 0.5


def test_no_sum_of_products_is_cut_off():
    """Without VNNI the largest products of two bytes do not fit into 16 bits, two together."""
    plain = conv(32, 32)
    plain.weight.fill_(1.0)
    plain.bias.zero_()
    x = torch.ones(1, 32, 6, 6).contiguous(memory_format=torch.channels_last)
    exact = plain(x)
    for follows_relu in (False, True):
        y = evaluated(Int8Conv2d(plain, follows_relu), x)
        assert torch.allclose(y, exact, rtol=1e-5)
    assert int8.largest_weight() in (int8.LARGEST_IN_16_BITS, int8.LARGEST)


@pytest.mark.parametrize("largest", [int8.LARGEST_IN_16_BITS, None])
def test_weights_of_one_bit_less_are_as_exact_as_that_bit(largest):
    plain, x = conv(), image()
    y = evaluated(Int8Conv2d(plain, True, largest), x)
    step = 1 / (largest or int8.largest_weight())
    bound = step / 12**0.5 * float(plain.weight.abs().max() / plain.weight.std())
    assert off(y, plain(x.relu())) < 1.2 * bound + 0.01


def test_weights_take_a_byte_each_and_serve_images_of_any_size():
    plain = conv()
    layer = Int8Conv2d(plain)
    first = evaluated(layer, image(8, 8))
    evaluated(layer, image(20, 4))
    assert (layer.packed.dtype, layer.plain) == (torch.int8, None)
    assert torch.equal(evaluated(layer, image(8, 8)), first)


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e9])
def test_images_without_contrast_are_fine(value):
    plain = conv()
    x = torch.full_like(image(), value)
    exact = plain(x)
    assert off(evaluated(Int8Conv2d(plain), x), exact) < 0.02


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(value):
    x = image()
    x[0, 3, 2, 1] = value
    assert evaluated(Int8Conv2d(conv()), x).isnan().all()


@pytest.mark.parametrize("zero", [0, 100])
def test_quantising_needs_no_quantised_tensors(monkeypatch, zero):
    x = image()
    one = int8.quantised(x, 0.02, zero)

    def gone(*_):
        raise AttributeError("removed")

    monkeypatch.setattr(torch, "quantize_per_tensor", gone)
    other = int8.quantised(x, 0.02, zero)
    assert one.dtype == other.dtype == torch.uint8
    assert one.stride() == other.stride()
    assert (one.int() - other.int()).abs().max() <= 1  # halves, and how 1 / scale is rounded
    assert (one != other).float().mean() < 0.01


def test_torch_does_not_warn_of_it():
    int8.available.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert int8.available()
        evaluated(Int8Conv2d(conv()), image())


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, TypeError, NotImplementedError])
def test_without_the_operators_it_is_refused(error, monkeypatch):
    def forward(self, x):
        raise error("not here")

    monkeypatch.setattr(Int8Conv2d, "forward", forward)
    int8.available.cache_clear()
    try:
        with pytest.raises(ValueError, match="this torch has no int8 convolutions"):
            models.load("emoji", dtype="int8")
    finally:
        int8.available.cache_clear()


def test_other_devices_have_none():
    with pytest.raises(ValueError, match="int8: only on a CPU, not on meta"):
        models.load("emoji", device="meta", dtype=torch.int8)


def test_blocks_that_read_the_image_and_write_v_stay_float32():
    net = models.load("emoji", dtype="int8", packed=True)
    found = [name for name, layer in net.named_modules() if isinstance(layer, Int8Conv2d)]
    assert len(found) == 8
    assert not any(name.startswith(("net.0.", "net.2.")) for name in found)
    after_relu = [name for name in found if net.get_submodule(name).follows_relu]
    assert [name.endswith("main.4") for name in found] == [name in after_relu for name in found]


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_is_the_same_to_the_bit_in_any_batch(packed):
    net = models.load("emoji", dtype="int8", packed=packed)
    given = inputs(net, 4)
    together = evaluated(net, *given)
    alone = [evaluated(net, *(a[i : i + 1] for a in given)) for i in range(4)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(evaluated(net, *(a[2:] for a in given)), together[2:])


def test_v_is_near_that_of_float32():
    exact, net = models.load("emoji"), models.load("emoji", dtype="int8", packed=True)
    assert 1e-4 < off(evaluated(net, *inputs(net, 4)), evaluated(exact, *inputs(net, 4))) < 0.02
    assert 1e-4 < int8.error(net, exact, (3, 64, 64)) < 0.02


def test_networks_of_any_kind_are_quantised(tiny, monkeypatch):
    """Without modulation, with features of the log SNR; of few channels, as it is to be fast."""
    monkeypatch.setattr(int8, "LEAST", 16)
    exact, net = (networks.load("tiny", tiny, dtype=dtype) for dtype in (None, torch.int8))
    assert any(isinstance(layer, Int8Conv2d) for layer in net.modules())
    x, t, _ = inputs(models.build("emoji"), 2, 16)
    assert off(evaluated(net, x, t), evaluated(exact, x, t)) < 0.02
    assert int8.error(net, exact, (3, 16, 16)) < 0.02


def test_drawings_move_by_less_than_a_grey_level():
    drawn = []
    for dtype in (torch.float32, torch.int8):
        net = models.load("emoji", dtype=dtype, packed=True)
        embed = torch.nn.functional.normalize(diffusion.noise([5], (1, 1, 256)).view(1, 256))
        with torch.inference_mode():
            model = diffusion.guided(net, embed, [3.0])
            x = diffusion.noise([1], (3, 64, 64))
            drawn.append(diffusion.sample(model, x, diffusion.schedule("fitted", 17), "ab23"))
    levels = (drawn[0].clamp(-1, 1) - drawn[1].clamp(-1, 1)) * 127.5
    assert levels.square().mean().sqrt() < 1.5


def test_exact_round_trip_stays_exact():
    net = models.load("emoji", dtype="int8", packed=True)
    with torch.inference_mode():
        empty = diffusion.guided(net, torch.zeros(0, 256), [])
        model = diffusion.in_doubles(empty, torch.device("cpu"))
        images = diffusion.noise([3], (3, 64, 64)).double().clamp(-1, 1)
        up = diffusion.ascending("spliced", 5)
        latents = diffusion.to_latents(model, images, up, "exact")
        back = diffusion.from_latents(model, latents, up[::-1], "exact")
    assert (latents.x - images).abs().max() > 0.1
    assert (back - images).abs().max() < 1e-9


def test_gradients_are_refused():
    net = models.load("emoji", dtype="int8")
    x, t, embed = inputs(net, 1)
    with pytest.raises(RuntimeError, match="no gradients"):
        net(x.requires_grad_(), t, embed)
