"""clip_sample.py from its command line to its files, with the bundled model and its CLIP."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

import diffusion
from media.tensors import to_tensor
from models import clip, clip_guidance, cpu
from models.unet import UNet
from models.zoo import NETWORKS
from recipes import recipe as recipes

ROOT = Path(__file__).parent.parent
FAST = ("--model", "emoji", "--steps", "2", "--dtype", "float32", "--size", "32", "32")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_unsteered_large_network_is_called_with_one_image(clip_sample, monkeypatch):
    if not cpu.can_pack(torch.bfloat16):
        pytest.skip("no packed bfloat16 here")
    forward, sizes = UNet.forward, set()

    def counted(net, x, *rest):
        sizes.add(len(x))
        return forward(net, x, *rest)

    monkeypatch.setattr(UNet, "forward", counted)
    monkeypatch.setattr(cpu, "SMALL", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cpu.FEW)
    command = ("a cat", *FAST, "--dtype", "bfloat16", "-cs", 0, "-n", 2, "-bs", 2)
    assert clip_sample(*command)[0] == 0
    assert sizes == {1}
    assert clip_sample(*command, "--chunk", 2, "-o", "two_{seed}.png")[0] == 0
    assert sizes == {1, 2}


def test_draws_with_the_defaults_of_the_published_script(clip_sample):
    assert clip_sample(*FAST, "a cat")[1] == ["out_00000.png"]
    recipe = recipes.read("out_00000.png")
    wanted = {
        "script": "clip_sample.py",
        "prompts": [["a cat", 1.0]],
        "method": "ddpm",
        "eta": 1.0,
        "clip_guidance_scale": 500.0,
        "cutn": 16,
        "cut_pow": 1.0,
        "guide_every": 1,
        "guidance_interval": [0.0, 1.0],
        "clip_model": "emoji",
    }
    assert {key: recipe[key] for key in wanted} == wanted
    help_text = clip_sample("--help")[1]
    assert "steps to take (1000)" in " ".join(" ".join(help_text).split())


def test_without_a_model_the_published_default_is_used_where_it_is_there(
    clip_sample, monkeypatch, tmp_path
):
    monkeypatch.setattr("models.checkpoints.CHECKPOINTS", tmp_path)
    (tmp_path / "cc12m_1.safetensors").write_bytes(b"damaged")
    status, _, err = clip_sample()
    assert status == 2
    assert "cc12m_1.safetensors is not a checkpoint" in err.splitlines()[-1]


@pytest.mark.slow
def test_the_more_clip_steers_the_more_it_sees_what_was_asked_for(clip_sample):
    prompt = "a red apple on a blue background"
    means = []
    for scale in (0, 25, 100):
        common = ("--model", "emoji", "--method", "ddim", "--steps", 8, "-n", 16, "-bs", 16)
        status, out, err = clip_sample(*common, prompt, "-cs", scale, "-o", f"{scale}_{{seed}}.png")
        assert status == 0, err
        reader = clip.load("emoji")
        with torch.inference_mode():
            wanted = normalize(reader.encode_text([prompt]))
            seen = reader.encode_image(torch.stack([to_tensor(Image.open(name)) for name in out]))
            means.append(float((seen @ wanted.T).mean()))
    assert means[0] + 0.005 < means[1]
    assert means[1] + 0.005 < means[2]


def test_image_of_a_seed_does_not_depend_on_the_run_it_is_in(clip_sample):
    Image.new("RGB", (120, 90), (215, 40, 40)).save("red.png")
    common = (*FAST, "a cat", "--images", "red.png", "--size", 96, 80)
    clip_sample(*common, "--seeds", "3-5", "-bs", 3, "-o", "run_{seed}.png")
    clip_sample(*common, "--seed", 5, "-o", "alone.png")
    assert abs(pixels("run_5.png") - pixels("alone.png")).max() <= 2
    assert abs(pixels("run_5.png") - pixels("run_4.png")).max() > 20


@pytest.mark.parametrize("method", ["ddpm", "plms"])
def test_from_png_draws_the_same_image_again(clip_sample, method):
    Image.new("RGB", (120, 90), (215, 40, 40)).save("red.png")
    common = ("--model", "emoji", "--steps", 3, "--size", 80, 80, "--method", method)
    flags = ("--cutn", 3, "--cut-pow", 0.5, "--guide-every", 2, "--guidance-interval", 0, 0.9)
    clip_sample(*common, *flags, "a cat:2", "--images", "red.png:-0.5", "-n", 2, "-bs", 2)
    status, out, err = clip_sample("--from-png", "out_00001.png", "-o", "again.png")
    assert (status, out) == (0, ["again.png"]), err
    assert np.array_equal(pixels("out_00001.png"), pixels("again.png"))
    first, again = recipes.read("out_00001.png"), recipes.read("again.png")
    assert {**first, "index": 0} == again


def test_png_of_the_other_script_is_refused(clip_sample, cfg_sample):
    cfg_sample(*FAST, "-o", "cfg.png")
    status, _, err = clip_sample("--from-png", "cfg.png")
    assert (status, err.count("\n")) == (2, 1)
    assert "was made by cfg_sample.py" in err


def test_weights_are_divided_by_the_absolute_value_of_their_sum(clip_sample):
    _, _, err = clip_sample(*FAST, "a cat:3", "a dog:-1", "-o", "a.png")
    assert [line.split()[0] for line in err.splitlines() if line[0] == " "] == ["1.5", "-0.5"]
    clip_sample(*FAST, "a cat:1.5", "a dog:-0.5", "-o", "b.png")
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    _, _, err = clip_sample(*FAST, "a cat:-3", "-o", "c.png")
    assert "\n  -1  a cat\n" in f"\n{err}"


@pytest.mark.parametrize("prompts", [("a cat", "a dog:-1"), ("a cat:0",)])
def test_weights_that_sum_to_0_are_refused_before_anything_slow(clip_sample, monkeypatch, prompts):
    monkeypatch.setattr(clip, "load", lambda *_: pytest.fail("a CLIP was loaded"))
    status, _, err = clip_sample(*FAST, *prompts)
    assert (status, err.count("\n")) == (2, 1)
    assert "add up to 0" in err


def test_scale_0_conditions_the_model_without_any_gradient(clip_sample, monkeypatch):
    monkeypatch.setattr(diffusion, "steered", lambda *_: pytest.fail("it steers"))
    monkeypatch.setattr(clip.Clip, "encode_image", lambda *_: pytest.fail("CLIP looks"))
    modes = []
    sample = diffusion.sample
    monkeypatch.setattr(
        diffusion,
        "sample",
        lambda *a, **k: modes.append(torch.is_inference_mode_enabled()) or sample(*a, **k),
    )
    assert clip_sample(*FAST, "a cat", "-cs", 0, "-o", "a.png")[0] == 0
    assert clip_sample(*FAST, "a dog", "-cs", 0, "-o", "b.png")[0] == 0
    assert clip_sample(*FAST, "-o", "c.png")[0] == 0
    assert modes == [True] * 3
    assert abs(pixels("a.png") - pixels("b.png")).max() > 20
    assert abs(pixels("a.png") - pixels("c.png")).max() > 20


def test_conditioned_on_the_weighted_mean_as_cfg_sample_is_at_weight_1(clip_sample, cfg_sample):
    common = (*FAST, "--method", "plms2")
    clip_sample(*common, "a cat:7", "-cs", 0, "-o", "clip.png")
    cfg_sample(*common, "a cat:1", "-o", "cfg.png")
    assert np.array_equal(pixels("clip.png"), pixels("cfg.png"))


def test_adaptive_method_cannot_be_steered_by_crops_that_differ(clip_sample):
    command = ("a cat", "--model", "emoji", "--method", "adaptive")
    status, out, err = clip_sample(*command)
    assert (status, out) == (2, [])
    assert "crops" in err
    assert len(err.splitlines()) == 1
    assert clip_sample(*command, "-cs", 0, "--tolerance", 0.5, "--size", 32, 32)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m, row in diffusion.METHODS.items() if row.evaluations])
def test_every_method_is_steered(clip_sample, method):
    common = (*FAST, "--method", method, "a cat", "--steps", 3)
    for scale in (0, 2000):
        assert clip_sample(*common, "-cs", scale, "-o", f"{scale}.png")[0] == 0
    assert abs(pixels("0.png") - pixels("2000.png")).max() > 5


def test_low_memory_draws_the_same_image(clip_sample):
    common = (*FAST, "a cat", "--size", 80, 80)
    clip_sample(*common, "-o", "plain.png")
    clip_sample(*common, "--low-memory", "-o", "lean.png")
    assert abs(pixels("plain.png") - pixels("lean.png")).max() <= 1
    assert recipes.read("lean.png")["low_memory"] is True


def test_unconditional_model_is_steered_by_the_clip_that_is_named(clip_sample, tiny):
    common = ("--model", "tiny", "--checkpoint", tiny, "--steps", 3, "--clip-model", "emoji")
    for prompt in ("a cat", "a red heart"):
        status, _, err = clip_sample(*common, prompt, "-o", "{prompt}.png")
        assert status == 0, err
    assert abs(pixels("a_cat.png") - pixels("a_red_heart.png")).max() > 5
    recipe = recipes.read("a_cat.png")
    assert (recipe["schedule"], recipe["clip_model"], "clip" in recipe) == ("ddpm", "emoji", False)


def test_clip_checkpoint_is_that_of_the_clip_that_steers(clip_sample):
    Path("mine.pt").write_bytes(b"no weights")
    status, _, err = clip_sample(
        *FAST, "a cat", "--clip-model", "ViT-B-16", "--clip-checkpoint", "mine.pt"
    )
    assert status == 2
    assert "mine.pt" in err


MISTAKES = {
    "-cs -1": "from 0 to",
    "-cs inf": "from 0 to",
    "--cutn 0": "from 1 to 4096",
    "--cut-pow 0": "above 0",
    "--cut-pow nan": "above 0",
    "--guide-every 0": "of at least 1",
    "--guidance-interval 0.5": "expected 2 arguments",
    "--guidance-interval 0.5 0.5": "must be below",
    "--guidance-interval 0 2": "from 0 to 1",
    "--clip-model a:b:c": "no CLIP",
    "--clip-model ViT-B-99:openai": "did you mean",
    "--clip-model ViT-L-14": "name its weights as ViT-L-14:WEIGHTS",
    "--method ddmp": "did you mean ddpm",
    "--eta 0.5": "for eta 0.5 use ddim",
}


@pytest.mark.parametrize("flags", MISTAKES)
def test_mistake_is_one_line_and_exits_with_2(clip_sample, flags):
    status, out, err = clip_sample("a cat", *FAST, *flags.split())
    assert (status, out) == (2, [])
    assert MISTAKES[flags] in err.splitlines()[-1]
    assert not list(Path().glob("*.png"))


def test_help_comes_without_torch():
    program = (
        "import sys, clip_sample; sys.argv[1:] = ['--help']\n"
        "try: clip_sample.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    models = [name for name, row in NETWORKS.items() if not row.teacher]
    for word in (*diffusion.METHODS, *models, "--clip-guidance-scale", "examples:"):
        assert word in done.stdout
    assert "emoji_4" not in done.stdout  # draws with cfg_sample.py alone


def test_image_prompts_are_looked_at_in_crops_of_the_images_own_draw(clip_sample, monkeypatch):
    Image.new("RGB", (300, 200), (215, 40, 40)).save("red.png")
    seen = []
    embed = clip_guidance.embed_crops
    monkeypatch.setattr(
        clip_guidance,
        "embed_crops",
        lambda reader, images, boxes: (
            seen.append((images.shape, boxes)) or embed(reader, images, boxes)
        ),
    )
    common = (*FAST, "--images", "red.png", "--size", 96, 96, "--cutn", 5)
    clip_sample(*common, "-n", 2, "-bs", 2)
    for shape, boxes in seen[:2]:
        assert shape == (1, 3, 96, 144)  # scaled to the side of what is drawn
        assert boxes.shape == (1, 5, 3)
    assert not torch.equal(seen[0][1], seen[1][1])
