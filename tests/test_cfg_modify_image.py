"""cfg_modify_image.py from its command line to its files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import diffusion
from recipes import recipe as recipes

ROOT = Path(__file__).parent.parent
FAST = ("--model", "emoji", "--steps", "4", "--dtype", "float32", "--size", "32", "32")
METHODS = [name for name, row in diffusion.METHODS.items() if row.eta != 1 and row.evaluations]
WAYS = {"by latents": (), "directly": ("--direct",)}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.fixture
def photo(tmp_path):
    """A red disc on blue, and the mask of the disc, both 32 x 32."""
    image = Image.new("RGB", (32, 32), (40, 60, 200))
    ImageDraw.Draw(image).ellipse((8, 8, 24, 24), fill=(220, 30, 30))
    image.save(tmp_path / "photo.png")
    mask = Image.new("L", (32, 32), 0)
    ImageDraw.Draw(mask).ellipse((6, 6, 26, 26), fill=255)
    mask.save(tmp_path / "mask.png")
    return "photo.png"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_every_method_edits(cfg_modify_image, photo, method, way):
    argv = (photo, "a red apple:3", *FAST, "--method", method, *WAYS[way])
    status, out, err = cfg_modify_image(*argv)
    assert (status, out) == (0, ["out.png"]), err
    assert pixels("out.png").shape == (32, 32, 3)
    assert abs(pixels("out.png") - pixels(photo)).mean() > 3


@pytest.mark.parametrize("way", WAYS)
def test_equal_prompts_change_nothing(cfg_modify_image, photo, way):
    same = ("a red apple:1", "--source", "a red apple", *FAST, "--method", "exact")
    status, _, err = cfg_modify_image(photo, *same, *WAYS[way])
    assert status == 0, err
    assert "from" in err
    assert abs(pixels("out.png") - pixels(photo)).max() <= 1


@pytest.mark.parametrize("way", WAYS)
def test_pixels_outside_the_mask_are_the_photo_s(cfg_modify_image, photo, way):
    argv = (photo, "a banana:5", "--mask", "mask.png", *FAST, *WAYS[way])
    status, _, err = cfg_modify_image(*argv)
    assert status == 0, err
    kept = pixels("mask.png") == 0
    changed = abs(pixels("out.png") - pixels(photo))
    assert changed[kept].max() == 0
    assert changed[~kept].mean() > 3


@pytest.mark.parametrize("way", WAYS)
def test_less_strength_changes_less(cfg_modify_image, photo, way):
    changes = []
    for i, flags in enumerate([("--strength", 0.3), ("-mt", 0.6), ("--max-timestep", 1)]):
        argv = (photo, "a banana:3", *FAST, *flags, *WAYS[way], "-o", f"{i}.png")
        assert cfg_modify_image(*argv)[0] == 0
        changes.append(abs(pixels(f"{i}.png") - pixels(photo)).mean())
    assert changes[0] < changes[1] < changes[2]


def test_seeds_draw_different_edits_directly(cfg_modify_image, photo):
    argv = (photo, "a banana:3", *FAST, "--direct")
    status, out, err = cfg_modify_image(*argv, "-n", 3, "-bs", 2, "--seed", 4)
    assert (status, out) == (0, [f"out_{i:05}.png" for i in range(3)]), err
    edits = [pixels(name) for name in out]
    assert abs(edits[0] - edits[1]).mean() > 1
    assert cfg_modify_image(*argv, "--seed", 5, "-o", "alone.png")[0] == 0
    assert abs(pixels("alone.png") - edits[1]).max() <= 1


@pytest.mark.parametrize("way", WAYS)
def test_recipe_edits_again(cfg_modify_image, photo, way):
    flags = ("--source", "a ball:2", "--mask", "mask.png", "--images", "photo.png:-1", "-mt", 0.8)
    status, _, err = cfg_modify_image(photo, "a banana:3", *flags, *FAST, *WAYS[way], "-o", "a.png")
    assert status == 0, err
    recipe = recipes.read("a.png")
    assert recipe["source"] == [["a ball", 2.0]]
    assert (recipe["init"], recipe["mask"], recipe["starting_timestep"]) == (
        "photo.png",
        "mask.png",
        0.8,
    )
    status, out, err = cfg_modify_image("--from-png", "a.png")
    assert (status, out) == (0, ["out.png"]), err
    assert np.array_equal(pixels("a.png"), pixels("out.png"))
    assert cfg_modify_image("--from-png", "a.png", "-o", "b.png", "--source", "a cat")[0] == 0
    assert not np.array_equal(pixels("a.png"), pixels("b.png"))


def test_changed_photo_and_mask_are_noted_when_an_edit_is_made_again(cfg_modify_image, photo):
    argv = (photo, "a banana:5", "--mask", "mask.png", *FAST)
    assert cfg_modify_image(*argv)[0] == 0
    again = ("--from-png", "out.png", "-o")
    assert "is not the file" not in cfg_modify_image(*again, "same.png")[2]
    with Image.open(photo) as image:
        image.transpose(Image.Transpose.ROTATE_90).save("mask.png")
    status, _, err = cfg_modify_image(*again, "of_another_mask.png")
    assert (status, "note: mask.png is not the file that it was" in err) == (0, True)
    assert "photo.png is not" not in err
    assert pixels("same.png").tolist() == pixels("out.png").tolist()


def test_mask_of_another_shape_than_the_photo_is_told(cfg_modify_image, photo):
    Image.new("RGB", (48, 32)).save("wide.png")
    told = "mask.png is of another shape than the photo: it is laid over the photo as it is scaled"
    status, _, err = cfg_modify_image("wide.png", "a cat", *FAST, "--direct", "--mask", "mask.png")
    assert (status, err.count(told)) == (0, 1), err
    assert told not in cfg_modify_image(photo, "a cat", *FAST, "--mask", "mask.png", "-n", 1)[2]


MISTAKES = {
    (): "name the photo",
    ("a cat",): "the first is a photo",
    ("photo.png",): "nothing to do: say what",
    ("photo.png", "a cat:0", "--direct"): "nothing to do",
    ("photo.png", "--model", "yfcc_1"): "nothing to do",
    ("photo.png", "photo.png", "a cat"): "one photo at a time",
    ("photo.png", "a cat", "--method", "ddpm"): "no method",
    ("photo.png", "a cat", "--strength", "0"): "above 0",
    ("photo.png", "a cat", "-n", "2"): "only --direct draws noise",
    ("photo.png", "a cat", "--mask", "no.png"): "no such file",
    ("photo.png", "a cat", "--mask", "black.png"): "all black",
    ("photo.png", "a cat", "--mask", "small.png"): "as large as the photo",
    ("photo.png", "a cat", "--source", "a dog:nan"): "not finite",
    ("photo.png", "a cat", "-o", "x.gif"): "must end in a name with .png",
    ("text.txt", "a cat"): "not a PNG",
    ("photo.png", "--model", "yfcc_1", "--source", "a cat", "--checkpoint", "text.txt"): (
        "takes no prompts"
    ),
}


@pytest.mark.parametrize("argv", MISTAKES)
def test_mistake_is_one_line_and_writes_nothing(cfg_modify_image, photo, argv):
    Path("text.txt").write_text("no image")
    Image.new("L", (32, 32)).save("black.png")
    Image.new("L", (20, 16), 255).save("small.png")
    before = set(Path().iterdir())
    model = () if "--model" in argv else FAST
    status, out, err = cfg_modify_image(*argv, *model)
    assert (status, out, err.count("\n")) == (2, [], 1), err
    assert MISTAKES[argv] in err
    assert set(Path().iterdir()) == before


def test_existing_file_is_not_replaced_unasked(cfg_modify_image, photo):
    Path("out.png").write_bytes(b"mine")
    status, _, err = cfg_modify_image(photo, "a cat", *FAST)
    assert (status, Path("out.png").read_bytes()) == (2, b"mine"), err
    assert cfg_modify_image(photo, "a cat", *FAST, "--overwrite")[0] == 0


def test_help_comes_without_torch():
    program = (
        "import sys, cfg_modify_image; sys.argv[1:] = ['--help']\n"
        "try: cfg_modify_image.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for word in (*METHODS, "--direct", "--mask", "examples:"):
        assert word in done.stdout
