"""cfg_sample.py from its command line to its files, with the bundled model."""

import functools
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

import diffusion
import models
from cli.scripts import CFG
from jobs.jobs import Jobs
from media.tensors import to_image
from models import checkpoints, clip, cpu
from models.weights import read
from models.zoo import NETWORKS
from recipes import recipe as recipes
from runner import latents
from tests import processes

ROOT = Path(__file__).parent.parent
FAST = ("--model", "emoji", "--steps", "2", "--dtype", "float32")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


# What is drawn, and where it goes.


def test_draws_as_many_images_as_asked_and_names_them_on_stdout(cfg_sample):
    status, out, _ = cfg_sample(*FAST, "a red apple", "-n", 3, "-bs", 2, "--size", 64, 32)
    assert (status, out) == (0, [f"out_0000{i}.png" for i in range(3)])
    for name in out:
        with Image.open(name) as image:
            assert (image.size, image.mode) == ((64, 32), "RGB")
    assert not np.array_equal(pixels(out[0]), pixels(out[1]))


def test_conditions_and_their_weights_are_shown_before_sampling(cfg_sample):
    status, _, err = cfg_sample(*FAST, "a cat:5", "oil painting:2", "blurry:-1")
    lines = [line.split(maxsplit=1) for line in err.splitlines() if line.startswith("  ")]
    assert status == 0
    assert lines == [
        ["5", "a cat"],
        ["2", "oil painting"],
        ["-1", "blurry"],
        ["-5", "(no prompt)"],
    ]


def test_same_command_draws_the_same_image(cfg_sample):
    for name in ("a.png", "b.png"):
        cfg_sample(*FAST, "a cat", "--seed", 5, "-o", name)
    assert np.array_equal(pixels("a.png"), pixels("b.png"))


@pytest.mark.parametrize("method", ["ddpm", "plms"])
def test_image_of_a_seed_does_not_depend_on_the_run_it_is_in(cfg_sample, method):
    common = (*FAST, "a cat", "--method", method)
    cfg_sample(*common, "--seeds", "3-5,9", "-bs", 3, "-o", "run_{seed}.png")
    cfg_sample(*common, "--seed", 5, "-o", "alone.png")
    # The noise is the same to the bit; a network may round differently for another batch size.
    assert abs(pixels("run_5.png") - pixels("alone.png")).max() <= 1
    assert sorted(p.name for p in Path().glob("run_*")) == [f"run_{s}.png" for s in (3, 4, 5, 9)]


def test_image_of_a_large_network_is_rounded_alike_in_any_batch(cfg_sample, monkeypatch):
    if not cpu.can_pack(torch.bfloat16):
        pytest.skip("no packed bfloat16 here")
    monkeypatch.setattr(cpu, "SMALL", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cpu.FEW)
    for size in (1, 3):
        command = ("a red apple", *FAST, "--dtype", "bfloat16", "-n", 3, "-bs", size)
        assert cfg_sample(*command, "-o", f"{size}_{{seed}}.png")[0] == 0
    for seed in range(3):
        assert (pixels(f"1_{seed}.png") == pixels(f"3_{seed}.png")).all()


def test_weights_change_the_image_and_a_weight_of_0_is_no_prompt(cfg_sample):
    for name, *prompts in [
        ("none.png",),
        ("zero.png", "a cat:0"),
        ("one.png", "a cat:1"),
        ("six.png", "a cat:6"),
        ("split.png", "a cat:2", "a cat:4"),
    ]:
        assert cfg_sample(*FAST, *prompts, "-o", name)[0] == 0
    assert np.array_equal(pixels("none.png"), pixels("zero.png"))
    assert np.array_equal(pixels("six.png"), pixels("split.png"))
    assert abs(pixels("one.png") - pixels("none.png")).max() > 20
    assert abs(pixels("one.png") - pixels("six.png")).max() > 20


def test_without_prompts_no_clip_is_loaded(cfg_sample, monkeypatch):
    monkeypatch.setattr(clip, "load", lambda *_: pytest.fail("a CLIP was loaded"))
    assert cfg_sample(*FAST)[0] == 0


def test_standard_input_is_a_prompt_where_a_dash_asks_for_it(cfg_sample, monkeypatch):
    def read(text, *flags):
        stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        return cfg_sample(*FAST, *flags, "--dry-run")

    status, out, _ = read(" a rocket, l'été:2\n", "-", "oil:1")
    assert (status, out[1].split("\t")[5]) == (0, "a rocket, l'été:2  oil:1")
    for text, flags, why in [
        ("", ["-"], "standard input holds no prompt"),
        ("a cat\na dog\n", ["-"], "several lines: --from-file - draws each"),
        ("a cat\n", ["-", "-"], "can be read once"),
        ("a cat\n", ["-", "--from-file", "-"], "can be read once"),
    ]:
        status, out, err = read(text, *flags)
        assert (status, out, err.count("\n")) == (2, [], 1)
        assert why in err


def test_a_script_that_is_given_nothing_says_so(cfg_sample, clip_sample):
    for draw in (cfg_sample, clip_sample):
        assert draw("--model", "emoji", "--steps", 1)[2].startswith("no prompt: what is drawn is")
    assert cfg_sample("--from-png", "out_00000.png", "-o", "again.png")[2] == ""


def test_image_prompts_guide_as_text_does(cfg_sample):
    Image.new("RGB", (90, 70), (215, 40, 40)).save("red.png")
    cfg_sample(*FAST, "-o", "free.png")
    status, _, err = cfg_sample(*FAST, "--images", "red.png:4", "-o", "led.png")
    assert status == 0
    assert "4  red.png" in err
    assert abs(pixels("led.png") - pixels("free.png")).max() > 20


@pytest.mark.slow
@pytest.mark.parametrize("method", diffusion.METHODS)
@pytest.mark.parametrize("start", ["1", "0.9", "0.3", "0.001"])
def test_init_works_with_every_method_at_any_start(cfg_sample, method, start):
    Image.new("RGB", (100, 60), (40, 200, 90)).save("green.png")
    common = (*FAST, "--init", "green.png", "-st", start, "--method", method, "--size", 32, 32)
    assert cfg_sample(*common, "-o", "x.png")[0] == 0
    if start == "0.001":  # next to no noise: next to no change
        assert abs(pixels("x.png") - (40, 200, 90)).max() <= 8


@pytest.mark.parametrize("method", diffusion.METHODS)
def test_model_of_a_limited_range_draws_with_every_method(cfg_sample, tiny, method):
    status, out, err = cfg_sample(
        "--model", "tiny", "--checkpoint", tiny, "--steps", 3, "--method", method
    )
    assert (status, out) == (0, ["out_00000.png"]), err
    assert recipes.read(out[0])["schedule"] == (diffusion.METHODS[method].schedule or "ddpm")
    assert pixels(out[0]).std() > 5


def test_prompts_may_stand_between_the_flags(cfg_sample):
    _, _, err = cfg_sample("a cat:2", *FAST, "a dog:1", "-o", "a.png")
    assert "2  a cat" in err
    assert "1  a dog" in err


def test_quiet_and_verbose_are_less_and_more_on_stderr(cfg_sample):
    status, out, err = cfg_sample("(a cat:1.3)", *FAST, "--quiet")
    assert (status, out, err) == (0, ["out_00000.png"], "")
    _, _, usual = cfg_sample("(a cat:1.3)", *FAST)
    assert "the parentheses" in usual
    _, out, err = cfg_sample("(a cat:1.3)", *FAST, "-v")
    assert out == ["out_00002.png"]
    assert " on cpu, from " in err
    assert "out_00002.png: seed 0, " in err
    assert cfg_sample("a cat", "-q", "--steps", "0")[2].count("\n") == 1


def test_published_behaviour_is_one_flag_away(cfg_sample):
    cfg_sample("a cat", "--model", "emoji", "--method", "plms", "--size", 16, 16, "-o", "a.png")
    recipe = recipes.read("a.png")
    assert (recipe["steps"], recipe["schedule"]) == (50, "spliced")
    assert recipe["guidance_interval"] == [0, 1]


def test_guidance_is_the_whole_sum_at_every_timestep_unless_one_says(cfg_sample):
    command = (*FAST, "a cat:6", "--steps", 6)
    intervals = {"usual": (), "whole": (0, 1), "part": (0.2, 0.8), "late": (0.17, 1)}
    for name, interval in intervals.items():
        flags = ("--guidance-interval", *interval) if interval else ()
        _, _, err = cfg_sample(*command, *flags, "-o", f"{name}.png")
        assert ("at t from" in err) == (name in ("part", "late"))
        assert recipes.read(f"{name}.png")["guidance_interval"] == list(interval or (0, 1))
        cfg_sample("--from-png", f"{name}.png", "-o", f"{name}_again.png")
        assert np.array_equal(pixels(f"{name}.png"), pixels(f"{name}_again.png"))
    assert np.array_equal(pixels("usual.png"), pixels("whole.png"))
    for one, other in (("whole", "part"), ("whole", "late"), ("part", "late")):
        assert abs(pixels(f"{one}.png") - pixels(f"{other}.png")).max() > 5


@pytest.mark.parametrize("method", diffusion.METHODS)
def test_default_draws_the_formula_whatever_the_method(cfg_sample, method):
    """v = v0 + w (v1 - v0), written out here, at every timestep and with weights as they are."""
    flags = ("a cat:5", "a dog:-1.5", "--method", method, "--size", 32, 32, "--seed", 3)
    assert cfg_sample(*FAST, *flags, "-o", "a.png")[0] == 0
    net, reader = models.load("emoji"), clip.load("emoji")
    cat, dog = reader.encode_text(["a cat", "a dog"])

    def formula(x, t):
        v0, v1, v2 = (net(x, t, e.expand(len(x), -1)) for e in (torch.zeros_like(cat), cat, dog))
        return v0 + 5 * (v1 - v0) - 1.5 * (v2 - v0)

    recipe = recipes.read("a.png")
    timesteps = diffusion.schedule(recipe["schedule"], recipe["steps"])
    row = diffusion.METHODS[method]
    model = diffusion.in_doubles(formula, "cpu") if row.reversible else formula
    with torch.inference_mode():
        sources = diffusion.generators([3])
        width, height = recipe["size"]
        x = diffusion.noise(sources, (3, height, width))
        how = {"eta": recipe["eta"], "tolerance": recipe.get("tolerance")}
        noise = functools.partial(diffusion.noise, sources, (3, height, width))
        images = diffusion.sample(model, x, timesteps, method, noise=noise, **how)
    drawn = np.asarray(to_image(images[0].float())).astype(int)
    assert abs(drawn - pixels("a.png")).max() <= 1


def test_compiled_network_draws_the_same(cfg_sample, tiny, monkeypatch):
    """As torch traces it; what its compiler makes of that is a minute's work and torch's own."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    command = ("--model", "tiny", "--checkpoint", tiny, "--steps", 3)
    assert cfg_sample(*command, "-o", "plain.png")[0] == 0
    status, _, err = cfg_sample(*command, "--compile", "-o", "compiled.png")
    assert status == 0, err
    assert abs(pixels("plain.png") - pixels("compiled.png")).max() <= 2


def test_network_that_cannot_be_compiled_is_one_line(cfg_sample, tiny, monkeypatch):
    def refuse(net):
        def call(*arguments):
            raise torch._dynamo.exc.InternalTorchDynamoError("no compiler\nand much more")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    status, _, err = cfg_sample("--model", "tiny", "--checkpoint", tiny, "--compile")
    assert status == 2
    assert (
        "--compile: torch cannot compile here (no compiler): leave it out" in err.splitlines()[-1]
    )


def test_latent_is_where_the_run_starts(cfg_sample):
    x = diffusion.noise([7], (3, 64, 64))
    timesteps = diffusion.schedule("fitted", 6)
    latents.save("x.safetensors", x, {"model": "emoji", "timestep": float(timesteps[0])})
    draw = (*FAST, "a cat", "--steps", 6)
    cfg_sample(*draw, "--seed", 7, "-o", "seed.png")
    cfg_sample(*draw, "--latent", "x.safetensors", "-o", "latent.png")
    assert np.array_equal(pixels("seed.png"), pixels("latent.png"))


@pytest.mark.parametrize(
    ("shape", "facts", "message"),
    [
        ((1, 3, 32, 32), {}, "use --size 32 32"),
        ((1, 4, 64, 64), {}, "in 4 channels"),
        ((1, 3, 64, 64), {"model": "yfcc_1"}, "was made for the model yfcc_1"),
        ((1, 3, 64, 64), {"timestep": 7}, "does not say which timestep"),
        ((2, 3, 64, 64), {}, "holds 2 latents, but 1 image is"),
    ],
)
def test_latent_that_does_not_fit_is_refused(cfg_sample, shape, facts, message):
    latents.save("x.safetensors", torch.zeros(shape), {"timestep": 1.0, **facts})
    flags = ("-n", 1, "--size", 64, 64, "--latent", "x.safetensors")
    status, out, err = cfg_sample(*FAST, *flags)
    assert (status, out) == (2, [])
    assert message in err


def test_latent_that_is_not_finite_is_refused(cfg_sample):
    latents.save("x.safetensors", torch.full((1, 3, 64, 64), torch.nan), {"timestep": 1.0})
    assert "not finite" in cfg_sample(*FAST, "--latent", "x.safetensors")[2]


# Files and recipes.


def test_default_names_go_on_and_nothing_is_replaced(cfg_sample):
    cfg_sample(*FAST)
    before = Path("out_00000.png").read_bytes()
    assert cfg_sample(*FAST, "--seed", 1)[1] == ["out_00001.png"]
    assert Path("out_00000.png").read_bytes() == before


def test_existing_explicit_name_stops_before_any_work(cfg_sample, monkeypatch):
    Path("x.png").write_bytes(b"mine")
    monkeypatch.setattr(models, "load", lambda *_: pytest.fail("a model was loaded"))
    status, out, err = cfg_sample(*FAST, "-o", "x.png")
    assert (status, out) == (2, [])
    assert "x.png already exists" in err
    assert Path("x.png").read_bytes() == b"mine"


def test_skip_existing_draws_what_is_missing(cfg_sample):
    Path("1.png").write_bytes(b"mine")
    status, out, _ = cfg_sample(*FAST, "-n", 3, "-o", "{seed}.png", "--skip-existing")
    assert (status, out) == (0, ["0.png", "2.png"])
    assert Path("1.png").read_bytes() == b"mine"
    assert cfg_sample(*FAST, "-n", 3, "-o", "{seed}.png", "--skip-existing")[1] == []


def test_overwrite_replaces(cfg_sample):
    Path("x.png").write_bytes(b"mine")
    assert cfg_sample(*FAST, "-o", "x.png", "--overwrite")[1] == ["x.png"]
    assert pixels("x.png").shape == (64, 64, 3)


def test_recipe_says_how_the_image_was_made(cfg_sample):
    cfg_sample(*FAST, "a cat:2", "blurry:-1", "--seeds", "4,8", "-o", "{seed}.png")
    recipe = recipes.read("8.png")
    assert recipe["prompts"] == [["a cat", 2.0], ["blurry", -1.0]]
    wanted = {
        "seed": 8,
        "index": 1,
        "steps": 2,
        "method": "ab23",
        "schedule": "fitted",
        "eta": 0.0,
        "size": [64, 64],
        "model": "emoji",
        "dtype": "float32",
        "script": "cfg_sample.py",
    }
    assert {key: recipe[key] for key in wanted} == wanted
    assert recipe["model_sha256"] == checkpoints.sha256(checkpoints.find(NETWORKS["emoji"]))
    with Image.open("8.png") as image:
        assert image.info["parameters"].startswith("a cat")
        assert "Negative prompt: " in image.info["parameters"]


def test_no_metadata_leaves_both_texts_out(cfg_sample):
    cfg_sample(*FAST, "a secret", "--no-metadata", "-o", "x.png")
    with Image.open("x.png") as image:
        assert not image.info
    assert b"secret" not in Path("x.png").read_bytes()


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_other_formats_hold_the_recipe(cfg_sample, png_info, name):
    assert cfg_sample("a cat", *FAST, "--seed", 7, "-o", name)[:2] == (0, [name])
    assert cfg_sample("a cat", *FAST, "--seed", 7)[0] == 0
    assert cfg_sample("--from-png", name, "-o", "b.png")[0] == 0
    assert np.array_equal(pixels("b.png"), pixels("out_00000.png"))
    assert abs(pixels(name) - pixels("b.png")).max() <= (60 if name == "a.jpg" else 0)
    assert "--seed 7" in png_info("--command", name)[1][0]


def test_a_folder_gets_the_usual_names(cfg_sample):
    assert cfg_sample("a cat", *FAST, "-o", "new/")[1] == ["new/out_00000.png"]
    assert cfg_sample("a cat", *FAST, "-o", "new")[1] == ["new/out_00001.png"]
    assert "--overwrite needs to know" in cfg_sample("a", *FAST, "-o", "new/", "--overwrite")[2]


@pytest.mark.parametrize(
    "flags",
    [
        ("a cat:5", "blurry:-1"),
        ("--method", "ddim", "--eta", "0.7", "--seed", "3"),
        ("--method", "ddpm", "--schedule", "log", "--size", "32", "64"),
        ("a cat", "--init", "green.png", "-st", "0.6"),
        ("--images", "green.png:2"),
        (),
    ],
)
def test_from_png_draws_the_same_image_again(cfg_sample, flags):
    Image.new("RGB", (100, 60), (40, 200, 90)).save("green.png")
    assert cfg_sample(*FAST, *flags, "-o", "first.png")[0] == 0
    status, out, err = cfg_sample("--from-png", "first.png", "-o", "again.png")
    assert (status, out) == (0, ["again.png"]), err
    assert np.array_equal(pixels("first.png"), pixels("again.png"))
    assert recipes.read("first.png") == recipes.read("again.png")


@pytest.mark.parametrize("method", ["plms", "ddpm"])
def test_image_of_a_batch_is_drawn_again_to_the_bit(cfg_sample, method):
    common = ("--model", "emoji", "--steps", "6", "--method", method)
    cfg_sample(*common, "a red apple", "-n", 3, "-bs", 3, "-o", "{seed}.png")
    for seed in (0, 1, 2):
        cfg_sample("--from-png", f"{seed}.png", "-o", f"again_{seed}.png")
        assert np.array_equal(pixels(f"{seed}.png"), pixels(f"again_{seed}.png"))
        assert recipes.read(f"{seed}.png")["batch"] == [3, seed]
        assert recipes.read(f"again_{seed}.png")["batch"] == [3, seed]


def test_image_from_a_latent_is_drawn_again_from_the_same_one(cfg_sample):
    x = diffusion.noise([7, 8, 9], (3, 64, 64))
    latents.save("x.safetensors", x, {"model": "emoji", "timestep": 0.9})
    cfg_sample(*FAST, "a cat", "--latent", "x.safetensors", "-o", "{index}.png")
    for i in (0, 2):
        status, out, err = cfg_sample("--from-png", f"{i}.png", "-o", f"again_{i}.png")
        assert (status, out) == (0, [f"again_{i}.png"]), err
        assert np.array_equal(pixels(f"{i}.png"), pixels(f"again_{i}.png"))
    assert not np.array_equal(pixels("0.png"), pixels("2.png"))


HOSTILE = {
    "starting_timestep": (-5, "above 0 and up to 1"),
    "steps": (10**13, "too large: at most 100000"),
    "size": ([2**20, 2**20], "from 1 to 16384"),
    "prompts": ([["", 3]], "is empty"),
    "images": ([["/etc/passwd", 3]], "is not here: give --images"),
    "method": ("euler", "no method"),
    "dtype": ("float8", "no dtype"),
    "eta": (7, "from 0 to 1"),
    "model": ("evil", "not known here"),
    "init": ("x" * 5000, "is not here: give --init"),
    "latent": ("a\0b", "is not here: give --latent"),
}


@pytest.mark.parametrize("field", HOSTILE)
def test_recipe_passes_the_same_checks_as_flags(cfg_sample, field):
    value, message = HOSTILE[field]
    info = PngInfo()
    info.add_text(recipes.KEY, json.dumps({"version": 1, "model": "emoji", field: value}))
    Image.new("RGB", (8, 8)).save("hostile.png", pnginfo=info)
    status, out, err = cfg_sample("--from-png", "hostile.png")
    assert (status, out, err.count("\n")) == (2, [], 1)
    assert message in err


def test_recipe_with_a_thousand_prompts_too_many_is_refused(cfg_sample):
    info = PngInfo()
    pairs = [[f"prompt {i}", 1] for i in range(1001)]
    info.add_text(recipes.KEY, json.dumps({"version": 1, "model": "emoji", "prompts": pairs}))
    Image.new("RGB", (8, 8)).save("hostile.png", pnginfo=info)
    assert "too many" in cfg_sample("--from-png", "hostile.png")[2]


def test_recipe_downloads_nothing_unasked(cfg_sample, monkeypatch, tmp_path):
    monkeypatch.setattr("models.checkpoints.CHECKPOINTS", tmp_path)
    info = PngInfo()
    info.add_text(recipes.KEY, json.dumps({"version": 1, "model": "yfcc_2"}))
    Image.new("RGB", (8, 8)).save("large.png", pnginfo=info)
    status, _, err = cfg_sample("--from-png", "large.png")
    assert status == 2
    assert "--model yfcc_2 downloads it" in err


def test_checkpoint_without_a_model_is_the_published_one(cfg_sample, tiny):
    status, _, err = cfg_sample("--checkpoint", tiny)
    assert status == 2
    assert "is of another network" in err
    assert Jobs(CFG, ["--checkpoint", str(tiny)]).run.model == "cc12m_1_cfg"


def test_other_weights_than_those_of_the_recipe_are_noted(cfg_sample):
    cfg_sample(*FAST, "-o", "first.png")
    weights = {k: v.float() for k, v in read(checkpoints.find(NETWORKS["emoji"])).items()}
    save_file(weights, "mine.safetensors")
    status, _, err = cfg_sample("--from-png", "first.png", "--checkpoint", "mine.safetensors")
    assert status == 0
    assert "note: the model's weights are not those of the recipe" in err


def test_other_files_than_those_of_the_recipe_are_noted(cfg_sample):
    Image.new("RGB", (64, 64), (215, 40, 40)).save("prompt.png")
    Image.new("RGB", (64, 64), (40, 40, 215)).save("start.png")
    files = ("--images", "prompt.png:2", "--init", "start.png", "-st", "0.8")
    assert cfg_sample(*FAST, *files, "-o", "first.png")[0] == 0
    recipe = recipes.read("first.png")
    assert recipe["files_sha256"] == {
        name: [hashlib.sha256(Path(name).read_bytes()).hexdigest()]
        for name in ("prompt.png", "start.png")
    }
    Path("prompt.png").write_bytes(Path("start.png").read_bytes())
    status, _, err = cfg_sample("--from-png", "first.png", "-o", "second.png")
    assert status == 0
    told = [line for line in err.splitlines() if "not the file" in line]
    assert told == ["note: prompt.png is not the file that it was for the recipe"]


def test_files_of_one_name_are_told_apart(cfg_sample):
    for folder, colour in (("a", "red"), ("b", "blue")):
        Path(folder).mkdir()
        Image.new("RGB", (64, 64), colour).save(f"{folder}/x.png")
    assert cfg_sample(*FAST, "--images", "a/x.png", "b/x.png", "-o", "first.png")[0] == 0
    assert len(recipes.read("first.png")["files_sha256"]["x.png"]) == 2
    Path("x.png").write_bytes(Path("b/x.png").read_bytes())
    _, _, err = cfg_sample("--from-png", "first.png", "-o", "second.png")  # takes it for both
    assert "note: x.png is not the file that it was for the recipe" in err


def test_image_prompts_leave_no_folders_in_file_names(cfg_sample):
    Path("secret").mkdir()
    Image.new("RGB", (90, 70), (215, 40, 40)).save("secret/red.png")
    assert cfg_sample(*FAST, "--images", "secret/red.png", "-o", "{prompt}.png")[1] == [
        "red_png.png"
    ]


def test_flags_beside_from_png_win(cfg_sample):
    cfg_sample(*FAST, "a cat:5", "--seed", 3, "-o", "first.png")
    cfg_sample("--from-png", "first.png", "a dog", "--steps", 3, "-n", 2, "-o", "{seed}.png")
    recipe = recipes.read("4.png")
    assert (recipe["prompts"], recipe["steps"]) == ([["a dog", 3.0]], 3)
    assert (recipe["seed"], recipe["dtype"]) == (4, "float32")


def test_from_png_asks_for_a_file_that_its_recipe_needs(cfg_sample):
    Image.new("RGB", (100, 60), (40, 200, 90)).save("green.png")
    cfg_sample(*FAST, "--init", "green.png", "-o", "first.png")
    Path("green.png").unlink()
    status, _, err = cfg_sample("--from-png", "first.png")
    assert status == 2
    assert '"green.png", which is not here: give --init' in err


# Mistakes and mishaps.

MISTAKES = {
    "-n 0": "not a whole number",
    "-n 1.5": "not a whole number",
    "--steps 0": "at least 1",
    "--batch-size 0": "not a whole number",
    "--chunk 0": "not a whole number",
    "--guidance-interval 0.5 0.5": "must be below",
    "--guidance-interval 0.2 0.9 a:1 b:-1": "add up to 0",
    "--size": "expected 2 arguments",
    "--size 0 64": "not a whole number",
    "--size 60 64": "the nearest are 48 64 and 64 64",
    "--seed -1": "write random",
    "--seed 18446744073709551616": "too large: at most 18446744073709551615",
    "--seed 18446744073709551615 -n 2": "largest seed",
    "--seeds 3-1": "names no seeds",
    "--seeds 1-5 -n 3": "exclude each other",
    "--seeds 1-5 --seed 3": "exclude each other",
    "--mirror foo": "not an http or https address",
    "--mirror http://[": "not an http or https address",
    "--seeds 1,,2": "names no seeds",
    "--seeds 0-9999999": "more than 1,000,000",
    "--seeds 0-9223372036854775807": "more than 1,000,000",
    "-st 0": "above 0 and up to 1",
    "-st 1.1": "above 0 and up to 1",
    "-st nan": "above 0 and up to 1",
    "--eta 2": "from 0 to 1",
    "--eta 0.5": "ab23 adds no noise",
    "--method ddpm --eta 0": "ddpm is ddim with eta 1",
    "--method eular": "no method",
    "--schedule karas": "no schedule",
    "--model cc12m": "did you mean cc12m_1",
    "--model yfcc_1 cat": "takes no prompts",
    "--dtype half": "no dtype",
    "--device gpu": "no device",
    "cat:nan": "not finite",
    "cat:1e999": "not finite",
    "cat:1e308 dog:1e308": "too large to add up",
    "-o x.gif": "must end in",
    "-o {who}.png": "unknown field",
    "-o {seed.real}.png": "unknown field",
    "-o x.png -n 2": "two images would be saved under one name, such as",
    "-o /dev/null/x.png": "not a folder",
    "--overwrite": "give them with --output",
    "--overwrite --skip-existing -o x.png": "exclude each other",
    "--checkpoint nothing.pth": "no such file",
    "--clip-checkpoint nothing.pt": "no such file",
    "--init nothing.png": "no such file",
    "--images nothing.png": "no such file",
    "--latent nothing.safetensors": "no such file",
    "--from-png nothing.png": "no such file",
    "--latent broken": "damaged",
    "--from-png broken": "not a PNG",
    "--init broken": "broken",
    "--images broken": "broken",
    "--init broken --latent broken": "exclude each other",
    "--morph cat -o x.gif": "goes nowhere",
    "--morph cat fox": "an animation needs a name",
    "--morph cat fox --frames 1 -o x.gif": "from 2 to 1000",
    "--morph cat fox -o x.mpeg": "must end in",
    "--morph cat fox -o {frame}.gif": "no {frame}",
    "--morph cat fox -n 2 -o x.gif": "two images would be saved under one name",
    "--morph cat fox --weight 2 -o x.gif": "exclude each other",
    "--frames 5 cat -o x.gif": "nothing moves",
    "--fps 5 cat": "of an animation",
    "--variation 7": "write SEED:SHARE",
    "--variation 7:1.5": "from 0 to 1",
    "--variation 7:-0.1": "write SEED:SHARE",
    "--variation 7:0-2": "from 0 to 1",
    "--variation x:0.5": "write SEED:SHARE",
    "--variation nothing.safetensors:0.5": "no such file",
    "--morph nothing.safetensors none.safetensors -o x.gif": "no such file",
    "--nonsense": "unrecognized",
    "--step 5": "unrecognized",
}


def test_every_mistake_is_one_line_before_torch_is_imported(tmp_path):
    program = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
import cfg_sample
from runner.exit import script
results = {}
for line in json.loads(sys.stdin.read()):
    sys.argv = ["cfg_sample.py", *line.split()]
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        try:
            script(cfg_sample.main)
            status = 0
        except SystemExit as stop:
            status = stop.code
    heavy = [m for m in ("torch", "open_clip", "torchvision") if m in sys.modules]
    results[line] = [status, err.getvalue(), heavy]
print(json.dumps(results))
"""
    (tmp_path / "broken").write_bytes(b"this is no image")
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT)],
        input=json.dumps(list(MISTAKES)),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    results = json.loads(done.stdout)
    for line, message in MISTAKES.items():
        status, err, heavy = results[line]
        assert (status, heavy) == (2, []), (line, err)
        assert message in err, (line, err)
        assert err.startswith("cfg_sample.py: error: "), (line, err)
        assert err.count("\n") == 1, (line, err)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken"]


def test_help_needs_no_torch_and_names_every_method():
    program = (
        "import sys, runpy; sys.argv[1:] = ['--help']\n"
        "try: runpy.run_path('cfg_sample.py', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for word in (*diffusion.METHODS, *diffusion.SCHEDULES, *NETWORKS, "examples:"):
        assert word in done.stdout


def test_weights_that_give_nan_stop_the_run_with_the_step(cfg_sample, tiny):
    weights = models.build("tiny").state_dict()
    weights["net.0.main.0.weight"][0] = torch.nan
    save_file(weights, "nan.safetensors")
    status, out, err = cfg_sample("--model", "tiny", "--checkpoint", "nan.safetensors")
    assert (status, out) == (1, [])
    assert "NaN or infinity in step 1 of 18, at timestep 1" in err
    assert list(Path().glob("out_*")) == []


def test_checkpoint_of_another_network_is_one_line(cfg_sample, tiny):
    status, _, err = cfg_sample("--model", "emoji", "--checkpoint", tiny)
    assert status == 2
    assert "is of another network" in err.splitlines()[-1]


def test_out_of_memory_names_the_flags_that_help(cfg_sample, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(diffusion, "sample", full)
    status, _, err = cfg_sample(*FAST)
    assert status == 1
    assert "lower --batch-size" in err.splitlines()[-1]


def test_a_device_that_is_not_there_is_refused(cfg_sample):
    status, _, err = cfg_sample(*FAST, "--device", "cuda:77")
    assert status == 2
    assert "--device cuda:77 is not there: this machine, or this torch, has" in err


def test_ctrl_c_keeps_finished_images_and_the_process_dies_of_it(tmp_path):
    run = subprocess.Popen(
        [sys.executable, ROOT / "cfg_sample.py", *FAST, "a cat", "-n", "100000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout.readline() == "out_00000.png\n"
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=1000)
    assert run.returncode == -signal.SIGINT
    assert "Traceback" not in err
    assert "finished images are kept" in err
    names = ["out_00000.png", *out.split()]
    assert sorted(os.listdir(tmp_path)) == names
    assert all(pixels(tmp_path / name).shape == (64, 64, 3) for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.5, 2.5])
def test_ctrl_c_before_the_first_image_is_one_line(tmp_path, seconds):
    run = subprocess.Popen(
        [sys.executable, ROOT / "cfg_sample.py", *FAST, "a cat", "-n", "100000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    processes.work(run, seconds)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=1000)
    assert run.returncode == -signal.SIGINT
    assert err.splitlines()[-1].startswith("cfg_sample.py: stopped")
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_closed_stream_does_not_stop_the_drawing(tmp_path, stream):
    number = {"stdout": 1, "stderr": 2}[stream]
    command = f'exec "{sys.executable}" "{ROOT}/cfg_sample.py" {" ".join(FAST)} {number}>&-'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out_00000.png").is_file()


def test_full_disk_behind_stdout_is_one_line(tmp_path):
    command = f'exec "{sys.executable}" "{ROOT}/cfg_sample.py" {" ".join(FAST)} >/dev/full'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"No space left on device" in done.stderr.splitlines()[-1]


def test_script_runs_from_any_folder_by_its_own_name(tmp_path):
    done = subprocess.run(
        [ROOT / "cfg_sample.py", "--help"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert done.stdout.startswith(b"usage: cfg_sample.py")
