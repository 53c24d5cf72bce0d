"""Which timesteps a run guides at, from flags, recipes and defaults."""

import re

import pytest
from PIL import Image

import diffusion
from cli.parser import parse
from cli.scripts import CFG, CLIP, MODIFY, REVERSE
from diffusion.methods import METHODS
from jobs.resolve import resolve
from media.saving import save_png
from recipes import recipe as recipes
from runner import latents
from values.errors import UserError

CAT = {"prompts": [["a cat", 3.0]]}
WHOLE = {"guidance_interval": [0.0, 1.0]}
EARLIER = {"guidance_interval": [0.17, 1.0]}
OWN = {"guidance_interval": [0.2, 1.0]}
AB23 = {"method": "ab23", "script": "cfg_sample.py", "model": "emoji"}


@pytest.fixture
def interval(tmp_path, monkeypatch):
    """A function (flags, the recipe of x.png) -> the interval of the run."""
    monkeypatch.chdir(tmp_path)

    def call(*argv, recipe=None, script=CFG):
        if recipe is not None:
            save_png(Image.new("RGB", (64, 64)), "x.png", recipes.texts(recipe), overwrite=True)
            argv = ("--from-png", "x.png", *argv)
        _, image = resolve(script, parse(script, ["--model", "emoji", *argv]))
        return image.guidance_interval

    return call


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prompts", [(), ("a cat",), ("a cat:4", "blurry:-1"), ("a cat:0.5",)])
def test_all_timesteps_are_guided_unless_one_says_otherwise(interval, method, prompts):
    assert interval(*prompts, "--method", method) == [0, 1]
    assert interval(*prompts, "--method", method, "--guidance-interval", "0", "0.9") == [0, 0.9]


@pytest.mark.parametrize("script", [REVERSE, MODIFY])
@pytest.mark.parametrize("text", ["a cat", "x" * 5_000, "a/" * 5_000, "a\0b", "nowhere/photo"])
def test_first_word_is_a_photo(script, text):
    with pytest.raises(UserError, match="no such file: the first is a photo"):
        resolve(script, parse(script, [text]))


@pytest.mark.parametrize(
    ("script", "argv", "told"),
    [
        (
            CFG,
            ["a cat", "white.png"],
            'is a picture and no text: give it with --images "white.png"',
        ),
        (CLIP, ["white.png:2"], 'is a picture and no text: give it with --images "white.png"'),
        (CFG, ["https://host/cat.png"], "is a picture and no text"),
        (MODIFY, ["white.png", "a cat", "--source", "white.png"], '--source "white.png": that is'),
        (CFG, ["a cat", "missing.png"], None),
        (CFG, ["cat"], None),
        (CFG, ["jobs.txt"], 'is a file and no text: give it with --from-file "jobs.txt"'),
        (CLIP, ["jobs.txt:2"], 'is a file and no text: give it with --from-file "jobs.txt"'),
        (CFG, ["a cat", "x.SafeTensors"], 'no text: give it with --latent "x.SafeTensors"'),
        (CFG, ["missing.txt"], None),
    ],
)
def test_a_text_that_names_a_file_is_not_drawn(script, argv, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("white.png")
    for name in ("cat", "jobs.txt", "x.SafeTensors"):
        tmp_path.joinpath(name).touch()
    argv = [*argv[:1], "--model", "emoji", *argv[1:]]
    if told is None:
        resolve(script, parse(script, argv))
    else:
        with pytest.raises(UserError, match=re.escape(told)):
            resolve(script, parse(script, argv))


def test_steering_knows_no_other_default(interval):
    assert interval("a cat:5", "--method", "ab23", script=CLIP) == [0, 1]


@pytest.mark.parametrize(
    ("recipe", "argv", "expected"),
    [
        (CAT | EARLIER, (), [0.17, 1]),
        (CAT | EARLIER, ("--seed", "5", "--steps", "50"), [0.17, 1]),
        (CAT | EARLIER, ("a dog:9",), [0.17, 1]),
        (CAT | EARLIER, ("--method", "plms"), [0.17, 1]),
        (CAT | EARLIER, ("--guidance-interval", "0", "1"), [0, 1]),
        (CAT | OWN, ("a dog:2",), [0.2, 1]),
        (CAT | WHOLE, ("a dog:3",), [0, 1]),
        # Without one, it was guided everywhere.
        (CAT, (), [0, 1]),
        (CAT, ("a dog:9",), [0, 1]),
    ],
)
def test_interval_of_a_recipe_stays(interval, recipe, argv, expected):
    assert interval(*argv, recipe=AB23 | recipe) == expected


def test_interval_of_a_recipe_must_suit_other_prompts(interval):
    with pytest.raises(UserError, match="or take --guidance-interval 0 1"):
        interval("--", "a dog:-1", recipe=AB23 | CAT | OWN)


@pytest.mark.parametrize(
    ("recipe", "argv", "expected"),
    [
        ({}, ("a cat",), [0, 1]),
        ({}, ("a cat", "--guidance-interval", "0", "0.9"), [0, 0.9]),
        ({"model": "emoji", "method": "exact"}, ("a cat",), [0, 1]),
        ({"model": "emoji", **CAT, "method": "ab23"}, (), [0, 1]),  # as the way there was
    ],
)
def test_latents_are_guided_as_the_way_to_them_was(interval, recipe, argv, expected):
    x = diffusion.noise([0], (3, 64, 64))
    latents.save("x.safetensors", x, {"timestep": 1.0, **recipe})
    assert interval("--latent", "x.safetensors", *argv) == expected
