"""Until when larger images are drawn small: flags, recipes, latents and defaults."""

import json
import re

import pytest
from PIL import Image

import diffusion
from cli.parser import parse
from cli.scripts import CFG, CLIP, MODIFY, RESTORE
from jobs.remarks import of_images
from jobs.resolve import resolve
from media.saving import save_png
from models.zoo import NETWORKS
from recipes import commands
from recipes import recipe as recipes
from runner import latents
from values.errors import UserError

LARGE = {"script": CFG.name, "model": "emoji", "prompts": [["a cat", 3.0]], "size": [128, 128]}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def resolved(*argv, script=CFG):
    return resolve(script, parse(script, list(argv)))


def until(*argv, model="emoji"):
    return resolved(*argv, "--model", model)[1].coarse_until


@pytest.mark.parametrize(
    ("name", "size", "times"),
    [
        ("emoji", (64, 64), 1),
        ("emoji", (112, 128), 1),  # too narrow
        ("emoji", (128, 128), 2),
        ("emoji", (192, 128), 2),
        ("emoji", (192, 192), 3),
        ("emoji", (256, 192), 2),  # a third of 256 is no whole number, a half of 192 is
        ("emoji", (144, 144), 1),  # half of it is no multiple of 16
        ("cc12m_1_cfg", (512, 512), 2),
        ("cc12m_1_cfg", (448, 512), 1),
    ],
)
def test_times_is_the_largest_reduction_that_the_network_draws(name, size, times):
    assert NETWORKS[name].times(size) == times


@pytest.mark.parametrize(
    ("argv", "model", "expected"),
    [
        ((), "emoji", None),
        (("--size", "64x96"), "emoji", None),
        (("--size", "128"), "emoji", 0.2),
        (("--size", "128", "--coarse-until", "0.5"), "emoji", 0.5),
        (("--size", "128", "--coarse-until", "1"), "emoji", 1),
        (("--size", "512"), "cc12m_1_cfg", 1),
        (("--size", "128"), "emoji_4", 1),
    ],
)
def test_default_is_that_of_the_network_where_images_are_larger(argv, model, expected):
    assert until("a cat", *argv, model=model) == expected


@pytest.mark.parametrize(
    ("recipe", "argv", "expected"),
    [
        (LARGE, (), 1),  # older than the option
        (LARGE | {"coarse_until": 0.3}, (), 0.3),
        (LARGE | {"coarse_until": 0.3}, ("--coarse-until", "0.2"), 0.2),
        (LARGE | {"coarse_until": 0.3}, ("--size", "64"), None),
        (LARGE, ("--size", "192"), 0.2),
        (LARGE | {"size": [64, 64]}, (), None),
        (LARGE | {"size": [64, 64]}, ("--size", "128"), 0.2),
        (LARGE | {"coarse_until": 0.2}, ("--model", "emoji_4"), None),  # its own size
    ],
)
def test_recipes_are_drawn_as_they_were(recipe, argv, expected):
    model = () if "--model" in argv else ("--model", "emoji")
    save_png(Image.new("RGB", (64, 64)), "x.png", recipes.texts(recipe))
    image = resolved("--from-png", "x.png", *argv, *model)[1]
    assert image.coarse_until == expected


def test_latents_are_taken_back_at_full_size():
    latents.save("x.safetensors", diffusion.noise([0], (3, 128, 128)), {"timestep": 1.0})
    assert until("a cat", "--latent", "x.safetensors") == 1
    assert until("a cat", "--latent", "x.safetensors", "--coarse-until", "0.3") == 0.3


def test_photos_that_are_drawn_on_keep_their_details():
    Image.new("RGB", (128, 128)).save("x.png")
    assert until("a cat", "--size", "128", "--init", "x.png") == 1
    assert until("a cat", "--size", "128", "--init", "x.png", "--coarse-until", "0.3") == 0.3


def test_command_says_it_where_it_is_not_the_default():
    def command(recipe):
        save_png(Image.new("RGB", (64, 64)), "x.png", recipes.texts(recipe), overwrite=True)
        return commands.command(recipes.read("x.png"), "x.png").line()

    assert command(LARGE | {"coarse_until": 0.2}).endswith("--size 128 128")
    assert command(LARGE | {"coarse_until": 0.3}).endswith("--size 128 128 --coarse-until 0.3")
    assert command(LARGE).endswith("--size 128 128 --coarse-until 1")
    assert "coarse" not in command(LARGE | {"size": [64, 64]})


@pytest.mark.parametrize("script", [CFG, CLIP, RESTORE, MODIFY])
def test_recipes_from_before_are_those_of_images_drawn_large(script):
    recipe = recipes.parse(json.dumps({"version": 1, **LARGE, "script": script.name}), "x.png")
    assert recipe.get("coarse_until") == (None if script is MODIFY else 1.0)


RESTORED = ("x.png", "a cat", "--model", "emoji", "--size", "128", "--task")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("colourise",), 0.2),
        (("colourise", "--noise", "5"), 0.2),  # by mmps
        (("upscale", "--factor", "2", "--noise", "5"), 1),  # by pigdm
        (("colourise", "--by", "pigdm"), 1),
        (("colourise", "--by", "pigdm", "--coarse-until", "0.3"), 0.3),
        (("denoise", "--noise", "5"), 1),  # by level
        (("colourise", "--size", "64"), None),
    ],
)
def test_photos_to_restore_are_drawn_small_first_where_that_is_better(argv, expected):
    Image.new("L", (128, 128)).save("x.png")
    assert resolved(*RESTORED, *argv, script=RESTORE)[1].coarse_until == expected


@pytest.mark.parametrize("by", ["level", "inversion"])
def test_what_starts_from_a_photo_keeps_its_details(by):
    Image.new("RGB", (128, 128)).save("x.png")
    task = ("denoise", "--noise", "5") if by == "level" else ("upscale", "--factor", "2")
    argv = (*RESTORED, *task, "--by", by)
    run, image = resolved(*argv, script=RESTORE)
    assert not any("--coarse-until" in line for line in of_images(run, [image]))
    with pytest.raises(UserError, match=f"--coarse-until 0.3: --by {by} starts from the photo"):
        resolved(*argv, "--coarse-until", "0.3", script=RESTORE)


def test_command_of_a_restored_photo_says_it_where_it_is_not_the_default():
    def command(**more):
        recipe = LARGE | {"script": RESTORE.name, "init": "x.png", "task": ["colourise"], **more}
        save_png(Image.new("RGB", (64, 64)), "x.png", recipes.texts(recipe), overwrite=True)
        return commands.command(recipes.read("x.png"), "x.png").line()

    assert "coarse" not in command(by="ddnm", coarse_until=0.2)
    assert "coarse" not in command(by="pigdm", coarse_until=1.0)
    assert "--coarse-until 0.2" in command(by="pigdm", coarse_until=0.2)


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (("--coarse-until", "0.3"), "128 x 128 and up, not for 64 x 64"),
        (("--coarse-until", "0.3", "--size", "144"), "multiples of 32, like 128 x 128"),
        (
            ("--coarse-until", "0.3", "--size", "128", "--init", "x.png", "-st", "0.2"),
            "starts at 0.2, below it",
        ),
        (("--coarse-until", "0", "--size", "128"), "above 0"),
    ],
)
def test_what_could_do_nothing_is_refused(argv, error):
    Image.new("RGB", (128, 128)).save("x.png")
    with pytest.raises(UserError, match=error):
        until("a cat", *argv)


@pytest.mark.parametrize("argv", [(), ("--size", "144"), ("--size", "128", "--init", "x.png")])
def test_1_is_what_all_sizes_may_be_given(argv):
    Image.new("RGB", (128, 128)).save("x.png")
    assert until("a cat", *argv, "--coarse-until", "1") == 1


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ((), 0.3),
        (("--init", "x.png"), 1),
        (("--init", "x.png", "-st", "0.1"), 1),
        (("--init", "x.png", "--coarse-until", "0.2"), 0.2),
        (("--latent", "x.safetensors"), 1),
    ],
)
def test_a_recipe_s_is_not_that_of_a_photo_or_a_latent(argv, expected):
    latents.save("x.safetensors", diffusion.noise([0], (3, 128, 128)), {"timestep": 1.0})
    recipe = recipes.texts(LARGE | {"coarse_until": 0.3})
    save_png(Image.new("RGB", (128, 128)), "x.png", recipe)
    assert until("--from-png", "x.png", *argv) == expected


@pytest.mark.parametrize(
    ("argv", "by", "expected"),
    [
        ((), "ddnm", 0.3),
        (("--noise", "5"), "mmps", 0.2),
        (("--by", "pigdm"), "pigdm", 1),
        (("--task", "denoise", "--noise", "20"), "level", 1),
    ],
)
def test_a_recipe_s_is_of_its_own_way_to_restore(argv, by, expected):
    recipe = LARGE | {"script": RESTORE.name, "init": "x.png", "task": ["colourise"], "by": "ddnm"}
    save_png(Image.new("L", (128, 128)), "x.png", recipes.texts(recipe | {"coarse_until": 0.3}))
    image = resolved("--from-png", "x.png", *argv, script=RESTORE)[1]
    assert (image.by, image.coarse_until) == (by, expected)


def test_student_leaves_it_to_its_teacher():
    with pytest.raises(UserError, match=r"--model emoji$"):
        until("a cat", "--size", "128", "--coarse-until", "0.3", model="emoji_4")


@pytest.mark.parametrize(
    ("argv", "remark"),
    [
        (("--size", "128"), None),
        (("--size", "192x128"), None),  # 96 x 64 it knows
        (("--size", "160"), "at 80 x 80 it may draw nothing that one knows$"),
        (("--size", "144"), "at 144 x 144 it may draw nothing that one knows$"),
        (("--size", "128", "--coarse-until", "1"), "knows: --coarse-until 0.2 may draw one thing$"),
        (("--size", "128", "--init", "x.png"), "at 128 x 128 it may draw nothing that one knows$"),
        (("--size", "96", "--coarse-until", "1"), "at 96 x 96 it may draw nothing that one knows$"),
        (("--size", "160", "--coarse-until", "1"), "at 160 x 160 .* that one knows$"),
        (("--size", "512", "--model", "cc12m_1_cfg"), "at 512 x 512 it may draw nothing that one"),
        (("--size", "128", "--model", "emoji_4"), "at 128 x 128 it may draw nothing that one"),
    ],
)
def test_a_size_that_it_was_not_trained_on_is_noted(argv, remark):
    Image.new("RGB", (128, 128)).save("x.png")
    model = () if "--model" in argv else ("--model", "emoji")
    run, image = resolved("a red heart", *argv, *model)
    said = [line for line in of_images(run, [image]) if "trained on" in line]
    if remark is None:
        assert said == []
    else:
        (line,) = said
        assert re.search(remark, line)
