import functools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import diffusion
import models
from models import clip
from models.clip_guidance import clip_gradient
from models.networks import convert
from runner import memory
from tests.weights import deterministic_state_dict

DATA = Path(__file__).parent.parent / "data"
PUBLISHED = json.loads((DATA / "checkpoints.json").read_text())
CPU = torch.device("cpu")
# Imitated, bfloat16 takes minutes, and no run chooses it.
CAPABILITIES = getattr(torch.cpu, "get_capabilities", dict)()
NATIVE = CAPABILITIES.get("avx512_bf16") or CAPABILITIES.get("amx_bf16") or False
HALF = torch.bfloat16 if NATIVE else torch.float32  # for what need not be exact
# The network of cc12m_1_cfg is that of cc12m_1: one set of figures holds for both.
MEASURED = [name for name in PUBLISHED if name != "cc12m_1_cfg"]


def meta(name):
    with torch.device("meta"):
        return models.build(name)


@pytest.fixture(scope="module", params=MEASURED)
def published(request):
    """(the name of a network, function () -> that network with deterministic weights)."""
    weights = deterministic_state_dict(PUBLISHED[request.param]["state_dict"])

    def build():
        net = meta(request.param)
        net.load_state_dict(weights, strict=True, assign=True)
        return net.eval().requires_grad_(False)

    yield request.param, build
    weights.clear()
    memory.give_back_freed_memory()  # of the gigabytes of one, the next gets nothing


def figures(name):
    """The reference (inputs, v) of a network."""
    with np.load(DATA / "networks.npz") as arrays:
        keys = [k for k in ("x", "t", "clip_embed") if f"{name}/{k}" in arrays]
        inputs = [torch.from_numpy(arrays[f"{name}/{k}"]) for k in keys]
        return inputs, torch.from_numpy(arrays[f"{name}/v"])


def rms(x):
    return x.float().square().mean().sqrt()


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_and_shapes_are_the_published_ones(name):
    ours = {key: list(value.shape) for key, value in meta(name).state_dict().items()}
    assert ours == PUBLISHED[name]["state_dict"]
    assert sum(np.prod(s) for s in ours.values()) == PUBLISHED[name]["parameters"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_row_of_the_table_is_the_published_one(name):
    row, facts = models.NETWORKS[name], PUBLISHED[name]
    assert [row.file, row.url, row.sha256] == [facts["file"], facts["url"], facts["sha256"]]
    assert list(row.shape) == facts["shape"]
    assert [row.min_t, row.max_t] == [facts["min_t"], facts["max_t"]]
    assert row.clip == (facts["clip_model"] and facts["clip_model"].replace("/", "-"))
    assert row.size_multiple == facts["size_multiple"]


@pytest.mark.slow
def test_output_is_the_published_one(published):
    name, build = published
    inputs, v = figures(name)
    with torch.inference_mode():
        ours = build()(*inputs)
    assert (ours - v).abs().max() <= 1e-4 * v.abs().max()


def small():
    torch.manual_seed(0)
    return models.build("emoji").eval().requires_grad_(False)


def test_network_serves_several_threads_at_once():
    net = small()
    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(8, 1, 3, 64, 64, generator=generator), torch.linspace(0, 1, 8)
    embeds = torch.randn(8, 1, net.arch.clip_dim, generator=generator)

    def run(i):
        return net(x[i], t[i : i + 1], embeds[i])

    alone = [run(i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, list(range(8)) * 3))
    for i, v in enumerate(together):
        assert torch.equal(v, alone[i % 8])


def test_network_takes_any_multiple_of_its_size():
    net, multiple = small(), models.NETWORKS["emoji"].size_multiple
    for h, w in [(multiple, multiple), (multiple * 3, multiple * 2), (64, 96)]:
        embed = torch.zeros(1, net.arch.clip_dim)
        assert net(torch.zeros(1, 3, h, w), torch.ones(1), embed).shape == (1, 3, h, w)


def test_length_of_an_embedding_does_not_matter_but_its_direction_does():
    net = small()
    x, t = torch.randn(1, 3, 64, 64), torch.tensor([0.5])
    embed = torch.randn(1, net.arch.clip_dim)
    assert torch.allclose(net(x, t, embed), net(x, t, embed * 7), atol=1e-5)
    assert not torch.allclose(net(x, t, embed), net(x, t, -embed), atol=1e-3)
    assert not torch.allclose(net(x, t, embed), net(x, t, embed * 0), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("published", ["cc12m_1"], indirect=True)
def test_half_precision_stays_within_1_percent(published):
    name, build = published
    inputs, v = figures(name)
    for dtype in (torch.float16, torch.bfloat16)[: 1 + NATIVE]:
        net = convert(build(), CPU, dtype)
        with torch.inference_mode():
            ours = net(*inputs)
        assert ours.dtype == torch.float32
        assert rms(ours - v) <= 0.01 * rms(v)


@pytest.mark.slow
@pytest.mark.parametrize("published", ["cc12m_1", "danbooru_128"], indirect=True)
def test_published_network_is_steered(published):
    """Two steps at the smallest size, with a loss that the bundled CLIP sees."""
    name, build = published
    row, reader = models.NETWORKS[name], clip.load("emoji")
    target = normalize(reader.encode_text(["a red apple"]))
    reader.read_images_in(HALF)
    net = convert(build(), CPU, HALF)
    cond = [normalize(torch.ones(1, 512))] if row.clip else []
    model = diffusion.clamp_t(lambda x, t: net(x, t, *cond), row.min_t, row.max_t)
    timesteps = diffusion.schedule("ddpm" if row.min_t else "spliced", 2)
    shape = (3, row.size_multiple, row.size_multiple)
    drawn = []
    for scale in (0.0, 500.0):
        gradient = clip_gradient(reader, target, diffusion.generators([0]), cutn=2, scale=scale)
        noise = functools.partial(diffusion.noise, diffusion.generators([1]), shape)
        with torch.no_grad():
            steered = diffusion.steered(model, gradient)
            drawn.append(diffusion.sample(steered, noise(), timesteps, "ddpm", noise=noise))
    assert all(images.isfinite().all() for images in drawn)
    assert not torch.equal(*drawn)


def test_conditional_network_says_that_it_wants_embeddings():
    net = models.build("emoji")
    x, timesteps = torch.zeros(1, 3, 16, 16), diffusion.schedule("linear", 2)
    with pytest.raises(ValueError, match=r"conditional: diffusion\.guided\(net, embeds, weights\)"):
        diffusion.sample(net, x, timesteps)
