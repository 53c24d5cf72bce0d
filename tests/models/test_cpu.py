import math
import weakref

import pytest
import torch
from torch import nn

import models
from models import cpu
from models.cpu import PackedConv2d, can_pack, pack

DTYPES = [torch.float32, torch.bfloat16]


def evaluated(net, n, width, height):
    source = torch.Generator().manual_seed(n)
    x = torch.randn(n, 3, height, width, generator=source)
    cond = torch.randn(n, net.arch.clip_dim, generator=source)
    with torch.inference_mode():
        return net(x, torch.linspace(0.1, 1, n), cond)


def packed_ones(net):
    return [module for module in net.modules() if isinstance(module, PackedConv2d)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_network_computes_the_same_for_any_number_and_size_of_images(dtype):
    if not can_pack(dtype):
        pytest.skip(f"no packed {dtype} here")
    plain, net = (models.load("emoji", dtype=dtype, packed=packed) for packed in (False, True))
    assert len(packed_ones(net)) == sum(isinstance(m, nn.Conv2d) for m in plain.modules())
    bound = {torch.float32: 1e-5, torch.bfloat16: 0.02}[dtype]
    for shape in [(2, 64, 64), (5, 64, 64), (1, 96, 32), (2, 64, 64), (1, 64, 64)]:
        one, other = evaluated(plain, *shape), evaluated(net, *shape)
        assert one.std() > 0.1
        assert (one - other).abs().max() <= bound
        # An image drawn again is the same to the bit, whatever the process has drawn before.
        assert torch.equal(other, evaluated(models.load("emoji", dtype=dtype, packed=True), *shape))


def test_packed_weights_take_the_place_of_plain_ones():
    if not can_pack(torch.float32):
        pytest.skip("no packed weights here")
    net = models.load("emoji", packed=True)
    evaluated(net, 2, 64, 64)
    assert all(m.weight.layout != torch.strided for m in packed_ones(net))
    assert not any(weight.dim() == 4 for weight in net.parameters())


def test_gradients_of_packed_weights_are_refused():
    if not can_pack(torch.float32):
        pytest.skip("no packed weights here")
    net, x, cond = models.load("emoji", packed=True), torch.zeros(1, 3, 64, 64), torch.zeros(1, 256)
    with pytest.raises(RuntimeError, match="no gradients"):
        net(x.requires_grad_(), torch.ones(1), cond)
    with torch.no_grad():
        assert torch.isfinite(net(x, torch.ones(1), cond)).all()


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_weights_of_any_kind_are_packed(tmp_path, kind):
    if not can_pack(torch.float32):
        pytest.skip("no packed weights here")
    state = {key: value.to(kind) for key, value in models.load("emoji").state_dict().items()}
    torch.save(state, tmp_path / "other.pth")
    plain, net = (models.load("emoji", tmp_path / "other.pth", packed=p) for p in (False, True))
    assert packed_ones(net)
    one, other = evaluated(plain, 2, 64, 64), evaluated(net, 2, 64, 64)
    assert (one - other).abs().max() <= 1e-5


def test_weights_are_gone_as_soon_as_they_are_packed(monkeypatch):
    if not can_pack(torch.float32):
        pytest.skip("no packed weights here")
    net, before = models.build("emoji").requires_grad_(False), []

    def has_read(self, weight):
        assert not any(other() is not None for other in before)
        before.append(weakref.ref(weight))

    monkeypatch.setattr(cpu.Reading, "has_read", has_read)
    pack(net, torch.device("cpu"), torch.float32)
    assert len(before) == len(packed_ones(net))


def test_large_networks_see_one_image_at_a_time_where_threads_are_few(monkeypatch):
    if not can_pack(torch.bfloat16):
        pytest.skip("no packed bfloat16 here")
    monkeypatch.setattr(torch, "get_num_threads", lambda: cpu.FEW)
    assert models.load("emoji", dtype=torch.bfloat16, packed=True).chunk is None
    monkeypatch.setattr(cpu, "SMALL", 1)
    assert models.load("emoji", dtype=torch.bfloat16, packed=True).chunk == 1
    assert models.load("emoji", dtype=torch.float32, packed=True).chunk == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: cpu.FEW + 1)
    assert models.load("emoji", dtype=torch.bfloat16, packed=True).chunk is None


def test_loading_draws_no_random_numbers():
    before = torch.random.get_rng_state()
    models.load("emoji", packed=True)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_large_weights_in_float32_are_packed_where_memory_allows(monkeypatch):
    if not can_pack(torch.float32):
        pytest.skip("no packed weights here")
    monkeypatch.setattr(cpu, "SMALL", 1)
    net = models.load("emoji", packed=True)
    size = 4 * sum(m.weight.numel() for m in packed_ones(net))
    for free, packs in ((math.inf, True), (2 * size, True), (2 * size - 1, False)):
        monkeypatch.setattr(cpu, "available_memory", lambda free=free: free)
        assert bool(packed_ones(models.load("emoji", packed=True))) == packs
        assert not packed_ones(models.load("emoji", packed=True, low_memory=True))
        halved = models.load("emoji", dtype=torch.bfloat16, packed=True, low_memory=True)
        assert bool(packed_ones(halved)) == can_pack(torch.bfloat16)


def test_small_weights_are_packed_in_any_case(monkeypatch):
    if not can_pack(torch.float32):
        pytest.skip("no packed weights here")
    monkeypatch.setattr(cpu, "available_memory", lambda: 0)
    assert packed_ones(models.load("emoji", packed=True, low_memory=True))


def test_available_memory_is_what_is_free_within_what_a_container_allows(tmp_path):
    meminfo = tmp_path / "meminfo"
    assert cpu.available_memory(meminfo, tmp_path) == math.inf
    meminfo.write_text("MemTotal:  100 kB\nMemFree:  2 kB\nMemAvailable:   50 kB\nBuffers: 1 kB\n")
    assert cpu.available_memory(meminfo, tmp_path) == 50 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert cpu.available_memory(meminfo, tmp_path) == 50 * 1024
    (tmp_path / "memory.max").write_text("4096\n")
    assert cpu.available_memory(meminfo, tmp_path) == 4096
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("2048\n")
    assert cpu.available_memory(meminfo, tmp_path) == 2048
    meminfo.write_text("nothing of that\n")
    assert cpu.available_memory(meminfo, tmp_path) == 2048


def test_other_devices_are_left_alone():
    with torch.device("meta"):
        net = models.build("emoji")
    assert pack(net, torch.device("meta"), torch.float32) is net
    assert not packed_ones(net)


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, TypeError, NotImplementedError])
def test_without_the_operator_all_stays_plain(error, monkeypatch):
    def forward(self, x):
        raise error("not here")

    monkeypatch.setattr(PackedConv2d, "forward", forward)
    net = models.load("emoji", packed=True)
    assert not packed_ones(net)
    assert evaluated(net, 1, 64, 64).isfinite().all()
