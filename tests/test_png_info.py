"""png_info.py: recipes read back, and commands that draw the same images again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import diffusion
from media.saving import save_png
from recipes import recipe as recipes
from runner import latents
from tests.shell import arguments_in_bash

ROOT = Path(__file__).parent.parent
FAST = ("--model", "emoji", "--steps", "2")
OTHER = (
    "a lighthouse\nin a storm\nNegative prompt: lowres\n"
    'Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8, Lora hashes: "a: 12, b: 3"'
)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def picture(name, **texts):
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    image = Image.new("RGB", (8, 8), (215, 40, 40))
    image.save(name, pnginfo=info)
    return name


def recipe(name, **fields):
    texts = recipes.texts({"model": "emoji", **fields})
    save_png(Image.new("RGB", (8, 8)), name, texts, overwrite=True)
    return name


# The image is drawn again, equal to the bit.

HOLE = ("--task", "inpaint", "--mask", "hole.png")
RUNS = {
    "plain": ("cfg_sample", "a red apple"),
    "prompts": ("cfg_sample", "it's $HOME: 3:2", "a\nb:-1", "--seed", 7, "--", "-n"),
    "flags": ("cfg_sample", "a cat", "--method", "ddim", "--eta", 0.5, "--size", 32, 64),
    "batch": ("cfg_sample", "a cat", "-n", 3, "-bs", 3),
    "pictures": ("cfg_sample", "--images", "red.png:2", "--init", "red.png", "-st", 0.6),
    "latents": ("cfg_sample", "a cat", "--latent", "noise.safetensors"),
    "unsteered": ("clip_sample", "a fox", "-cs", 0),
    "steered": ("clip_sample", "a fox:2", "a dog:-1", "--cutn", 3, "--guide-every", 2),
    "edit": ("cfg_modify_image", "red.png", "a banana", "--source", "a heart", "--size", 64, 64),
    "mask": ("cfg_modify_image", "red.png", "a cat", "--mask", "red.png", "--direct", "-mt", 0.8),
    "edits": ("cfg_modify_image", "red.png", "a banana", "--direct", "-n", 2, "-bs", 2),
    "hole": ("restore_sample", "red.png", "a cat", *HOLE, "--eta", 0.5, "--method", "ddim"),
    "around": ("restore_sample", "red.png", "a cat", "--task", "outpaint", "--pad", 8, 0, 0, 24),
    "large": ("restore_sample", "red.png", "--task", "upscale", "colourise", "--factor", 2),
    "sharp": ("restore_sample", "red.png", "a:2", "--task", "deblur", "--blur", 1.5, "--noise", 3),
    "again": ("restore_sample", "red.png", *HOLE, "--by", "mmps", "--travel", 2, "-n", 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_command_draws_the_same_image(script, run):
    picture("red.png")
    hole = Image.new("L", (64, 64))
    hole.paste(255, (20, 10, 50, 40))
    hole.save("hole.png")
    latents.save("noise.safetensors", diffusion.noise([7, 8], (3, 64, 64)), LATENT)
    name, *argv = RUNS[run]
    draw, png_info = script(name), script("png_info")
    status, drawn, err = draw(*FAST, *argv)
    assert status == 0, err
    path = drawn[-1]
    status, (line,), err = png_info("--command", path)
    assert status == 0
    assert ("--from-png" in line) == (run in ("batch", "latents", "edits"))
    os.rename(path, "first.png")
    line = line.replace(path, "first.png")
    script_name, *arguments = arguments_in_bash(line)
    assert script_name == f"./{name}.py"
    status, again, err = draw(*arguments)
    assert (status, len(again)) == (0, 1), err
    assert np.array_equal(pixels("first.png"), pixels(again[0]))
    first, second = recipes.read("first.png"), recipes.read(again[0])
    assert {**first, "index": 0} == {**second, "index": 0}


LATENT = {"model": "emoji", "timestep": 0.9}


@pytest.mark.slow
def test_command_can_be_pasted_into_a_shell(tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def shell(line):
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    draw = [f"{ROOT}/cfg_sample.py", *FAST, "-o", "first.png", "--", "-$HOME 'a'", "new\nline:2"]
    subprocess.run([sys.executable, *draw], cwd=tmp_path, check=True, capture_output=True)
    line = shell(f"'{ROOT}/png_info.py' --command first.png")
    assert line.count("\n") == 1
    assert shell(line) == "out_00000.png\n"
    assert np.array_equal(pixels(tmp_path / "first.png"), pixels(tmp_path / "out_00000.png"))


# What is printed.


def test_recipe_is_shown_in_two_columns(png_info):
    path = recipe("x.png", prompts=[["a cat", 3.0], ["a\x1b[2Jb\n", -0.5]], seed=5, size=[64, 32])
    assert png_info(path)[:2] == (
        0,
        [
            "prompts     3  a cat",
            "         -0.5  a\\x1b[2Jb\\n",
            "model    emoji",
            "seed     5",
            "size     64 x 32",
        ],
    )


def test_lists_of_a_recipe_are_shown_as_words(png_info):
    path = recipe("x.png", task=["upscale", "colourise"], pad=[8, 0, 8, 0])
    assert png_info(path)[1][-2:] == ["task   upscale colourise", "pad    8 0 8 0"]


def test_recipe_of_another_tool_is_shown_alike(png_info):
    assert png_info(picture("x.png", parameters=OTHER))[1] == [
        "prompt           a lighthouse",
        "                 in a storm",
        "negative prompt  lowres",
        "Steps            20",
        "Sampler          Euler a",
        "CFG scale        7",
        "Seed             1",
        "Size             8x8",
        "Lora hashes      a: 12, b: 3",
    ]


@pytest.mark.parametrize("key", ["Comment", "invokeai_metadata", "sd-metadata"])
def test_settings_in_json_of_other_tools_are_shown(png_info, key):
    text = json.dumps({"prompt": "a lighthouse", "steps": 28})
    _, out, _ = png_info(picture("x.png", **{key: text}))
    assert [line.split() for line in out] == [["prompt", "a", "lighthouse"], ["steps", "28"]]


def test_a_comment_is_no_recipe(png_info):
    assert "holds no recipe" in png_info(picture("x.png", Comment="made by hand"))[2]


def test_nothing_drives_the_terminal(png_info):
    evil = "a\x1b[2J\u202e\nSteps: 1, S\x9bx: \x07, C: \u2028"
    _, out, _ = png_info(picture("x.png", parameters=evil), recipe("y.png", method="\x1b[2J"))
    assert all(line.isprintable() for line in out)
    assert "prompt  a\\x1b[2J\\u202e" in out


def test_json_is_an_object_for_each_file_and_line(png_info):
    ours, other = recipe("ö.png", seed=2**63 - 1), picture("x.png", parameters=OTHER)
    status, out, _ = png_info("--json", ours, other)
    assert status == 0
    assert [json.loads(line) for line in out] == [
        {"file": ours, "size": [8, 8], "recipe": {"model": "emoji", "seed": 2**63 - 1}},
        {
            "file": other,
            "size": [8, 8],
            "parameters": {
                "prompt": "a lighthouse\nin a storm",
                "negative_prompt": "lowres",
                "settings": {
                    "Steps": "20",
                    "Sampler": "Euler a",
                    "CFG scale": "7",
                    "Seed": "1",
                    "Size": "8x8",
                    "Lora hashes": "a: 12, b: 3",
                },
            },
        },
    ]


def test_several_files_are_titled(png_info):
    _, out, _ = png_info(recipe("x.png", seed=1), recipe("y.png", seed=2))
    assert out == ["x.png", "model  emoji", "seed   1", "", "y.png", "model  emoji", "seed   2"]


def test_download_that_a_command_would_start_is_spoken_of(png_info, monkeypatch, tmp_path):
    monkeypatch.setattr("models.checkpoints.CHECKPOINTS", tmp_path)
    path = recipe("x.png", model="cc12m_1_cfg")
    status, out, err = png_info("--command", path)
    assert (status, out) == (0, ["./cfg_sample.py --model cc12m_1_cfg"])
    assert err == (
        "note: x.png: the checkpoint of cc12m_1_cfg is not here: the command downloads it\n"
    )


# Mistakes.


def test_file_without_a_recipe_is_one_line_and_the_others_are_shown(png_info):
    status, out, err = png_info("--json", picture("plain.png"), recipe("x.png"), "gone.png")
    assert (status, len(out)) == (2, 1)
    assert err.splitlines() == [
        'png_info.py: error: plain.png: holds no recipe: neither ours nor a "parameters" text',
        "png_info.py: error: gone.png: no such file: check the path",
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "evil"}, 'x.png: the recipe names the model "evil", not known here'),
        ({"prompts": [["a\0", 3.0]]}, "x.png: no command line can hold"),
    ],
)
def test_recipe_without_a_command_is_one_line(png_info, fields, words):
    status, out, err = png_info("--command", recipe("x.png", **fields))
    assert (status, out, err.count("\n")) == (2, [], 1)
    assert words in err


def test_no_command_draws_what_another_tool_made(png_info):
    status, out, err = png_info("--command", picture("x.png", parameters=OTHER))
    assert (status, out, err.count("\n")) == (2, [], 1)
    assert "was not made by these scripts" in err


@pytest.mark.parametrize("argv", [[], ["--json", "--command", "x.png"], ["--all", "x.png"]])
def test_wrong_arguments_are_one_line(png_info, argv):
    status, _, err = png_info(*argv)
    assert (status, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("name", ["png_info", "make_gallery"])
def test_torch_is_not_imported(name, tmp_path):
    code = (
        f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({str(ROOT / name)!r} + '.py', run_name='__main__')\n"
        "finally: assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples:" in done.stdout
