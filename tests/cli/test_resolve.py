"""Which timesteps a run guides at, from flags, recipes and defaults."""

import re

import pytest
from PIL import Image

import diffusion
from cli import recipe as recipes
from cli.parser import parse
from cli.resolve import resolve
from cli.scripts import CFG, CLIP, MODIFY, REVERSE
from media.images import save_png
from runner import latents
from values.errors import UserError

CAT = {"prompts": [["a cat", 3.0]]}
HALF = {"prompts": [["a cat", 0.5]]}
WHOLE = {"guidance_interval": [0.0, 1.0]}
USUAL = {"guidance_interval": [0.17, 1.0]}
OWN = {"guidance_interval": [0.2, 1.0]}
PLMS = {"method": "plms"}
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


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("a cat",), [0.17, 1]),
        (("a cat:4", "blurry:-1"), [0.17, 1]),
        (("a cat:1.001",), [0.17, 1]),
        (("a cat", "--method", "unipc"), [0.17, 1]),
        (("a cat", "--method", "plms"), [0, 1]),
        (("a cat", "--method", "adaptive"), [0, 1]),
        ((), [0, 1]),
        (("a cat:1",), [0, 1]),
        (("a cat:0.3", "a dog:0.7"), [0, 1]),
        (("--", "blurry:-1"), [0, 1]),
        (("a cat", "--guidance-interval", "0.4", "0.9"), [0.4, 0.9]),
        (("a cat:0.5", "--guidance-interval", "0.4", "0.9"), [0.4, 0.9]),
    ],
)
def test_newer_methods_leave_guidance_out_late_if_no_prompt_pushes_away(interval, argv, expected):
    assert interval(*argv) == expected


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
    ],
)
def test_a_text_that_names_a_picture_is_not_drawn(script, argv, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("white.png")
    tmp_path.joinpath("cat").touch()
    argv = [*argv[:1], "--model", "emoji", *argv[1:]]
    if told is None:
        resolve(script, parse(script, argv))
    else:
        with pytest.raises(UserError, match=re.escape(told)):
            resolve(script, parse(script, argv))


def test_steering_has_no_such_default(interval):
    assert interval("a cat:5", "--method", "ab23", script=CLIP) == [0, 1]


@pytest.mark.parametrize(
    ("recipe", "argv", "expected"),
    [
        (CAT | USUAL, (), [0.17, 1]),
        (CAT | USUAL, ("--seed", "5", "--steps", "50"), [0.17, 1]),
        (CAT | USUAL, ("--guidance-interval", "0", "1"), [0, 1]),
        # The usual one gives way to what is usual now.
        (CAT | USUAL, ("a dog:9",), [0.17, 1]),
        (CAT | USUAL, ("a dog:0.5",), [0, 1]),
        (CAT | USUAL, ("a dog:5", "a fox:-4.999"), [0, 1]),
        (CAT | USUAL, ("--", "a dog:-1"), [0, 1]),
        (CAT | USUAL, ("--method", "plms"), [0, 1]),
        (CAT | WHOLE | PLMS, ("--method", "deis"), [0.17, 1]),
        (HALF | WHOLE, ("a dog:3",), [0.17, 1]),
        # Another one stays.
        (CAT | WHOLE, ("a dog:3",), [0, 1]),
        (CAT | OWN, ("a dog:2",), [0.2, 1]),
        (HALF | OWN, ("--seed", "3"), [0.2, 1]),
        # Without one, it was guided everywhere.
        (CAT, (), [0, 1]),
        (CAT, ("a dog:9",), [0, 1]),
    ],
)
def test_interval_of_a_recipe_stays_unless_it_was_the_usual_one(interval, recipe, argv, expected):
    assert interval(*argv, recipe=AB23 | recipe) == expected


def test_interval_of_a_recipe_must_suit_other_prompts(interval):
    with pytest.raises(UserError, match="or take --guidance-interval 0 1"):
        interval("--", "a dog:-1", recipe=AB23 | CAT | OWN)


@pytest.mark.parametrize(
    ("recipe", "argv", "expected"),
    [
        ({}, ("a cat",), [0.17, 1]),
        ({"model": "emoji"}, ("a cat",), [0.17, 1]),
        ({"model": "emoji", "method": "exact"}, ("a cat",), [0, 1]),
        ({"model": "emoji", **CAT, "method": "ab23"}, (), [0, 1]),  # as the way there was
    ],
)
def test_latents_are_guided_as_the_way_to_them_was(interval, recipe, argv, expected):
    x = diffusion.noise([0], (3, 64, 64))
    latents.save("x.safetensors", x, {"timestep": 1.0, **recipe})
    assert interval("--latent", "x.safetensors", *argv) == expected
