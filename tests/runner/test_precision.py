"""`--dtype int8` in the scripts."""

import json
import re

import pytest
import torch
from PIL import Image

from models import NETWORKS, int8
from recipes import recipe as recipes
from runner import precision
from runner.device import pick_dtype
from values.errors import UserError

DRAW = ("--model", "emoji", "--steps", 2, "--dtype", "int8")
needs_int8 = pytest.mark.skipif(not int8.available(), reason="no int8 convolutions here")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("V_DIFFUSION_CACHE", str(tmp_path_factory.mktemp("cache")))


def pixels(name):
    with Image.open(name) as image:
        return image.tobytes()


@needs_int8
def test_error_of_a_checkpoint_is_told_once(cfg_sample):
    status, _, err = cfg_sample("a red apple", *DRAW)
    assert status == 0, err
    told = re.findall(
        r"^--dtype int8: v of emoji with emoji\.safetensors is (.*)% \(RMS\)", err, re.M
    )
    assert 0.01 < float(told[0]) < 2
    status, _, err = cfg_sample("a red apple", *DRAW)
    assert status == 0
    assert "(RMS)" not in err


@needs_int8
def test_images_are_drawn_again_from_their_recipe_in_any_batch(cfg_sample):
    cfg_sample("a red apple", *DRAW, "-n", 3, "-bs", 3)
    recipe = recipes.read("out_00002.png")
    assert (recipe["dtype"], recipe["device"]) == ("int8", "cpu")
    status, out, err = cfg_sample("--from-png", "out_00002.png")
    assert status == 0, err
    assert recipes.read(out[0])["dtype"] == "int8"
    status, other, _ = cfg_sample("a red apple", *DRAW, "--seed", 2, "--chunk", 1)
    assert pixels("out_00002.png") == pixels(out[0]) == pixels(other[0])


@needs_int8
def test_round_trip_by_exact_is_exact(cfg_sample, reverse_sample):
    cfg_sample("a red apple", *DRAW, "--size", 32, 32)
    status, out, err = reverse_sample(
        *("out_00000.png", "--method", "exact", "--steps", 3, "--model", "emoji"),
        *("--dtype", "int8", "--round-trip", "--json"),
    )
    assert status == 0, err
    assert json.loads(out[0])["round_trip"]["largest_error"] < 1e-3


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (
            ("--device", "cuda"),
            "--dtype int8 is for CPUs: leave out --device cuda, or take float16",
        ),
        (("--compile",), "--dtype int8: torch.compile makes it no faster: leave out --compile"),
    ],
)
def test_int8_is_refused_where_it_cannot_be(cfg_sample, flags, reason):
    status, out, err = cfg_sample("a red apple", *DRAW, *flags)
    assert (status, out) == (2, [])
    assert err.splitlines()[-1] == f"cfg_sample.py: error: {reason}"


def test_int8_is_refused_where_gradients_are_needed(clip_sample):
    status, out, err = clip_sample("a red apple", *DRAW)
    assert (status, out) == (2, [])
    assert "the gradient that steers goes through the network, which has none in int8" in err


@needs_int8
def test_clip_sample_draws_in_int8_where_nothing_steers(clip_sample):
    status, out, err = clip_sample("a red apple", *DRAW, "-cs", 0)
    assert status == 0, err
    assert recipes.read(out[0])["dtype"] == "int8"


def test_int8_is_refused_on_a_gpu_and_without_its_operators(monkeypatch):
    with pytest.raises(UserError, match="add --device cpu"):
        pick_dtype("int8", torch.device("cuda"))
    monkeypatch.setattr(int8, "available", lambda: False)
    with pytest.raises(UserError, match="this torch has no int8 convolutions"):
        pick_dtype("int8", torch.device("cpu"))


def test_auto_is_never_int8():
    for device in ("cpu", "cuda"):
        assert pick_dtype("auto", torch.device(device)) != torch.int8


@needs_int8
@pytest.mark.parametrize("vnni", [False, True])
def test_int8_is_told_of_where_it_is_much_faster(monkeypatch, capsys, vnni):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx_vnni": vnni})
    large, cpu = NETWORKS["cc12m_1"], torch.device("cpu")
    precision.hint("auto", cpu, torch.float32, large)
    assert ("--dtype int8" in capsys.readouterr().err) == vnni
    precision.hint("float32", cpu, torch.float32, large)
    precision.hint("auto", cpu, torch.bfloat16, large)
    precision.hint("auto", torch.device("cuda"), torch.float32, large)
    precision.hint("auto", cpu, torch.float32, NETWORKS["emoji"])
    assert capsys.readouterr().err == ""
