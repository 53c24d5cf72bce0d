"""restore_sample.py from its command line to its files."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

import diffusion
import models
from recipes import commands
from recipes import recipe as recipes
from tests.models.server import Server

ROOT = Path(__file__).parent.parent
FAST = ("--model", "emoji", "--steps", "4", "--dtype", "float32", "--size", "32", "32")
METHODS = [name for name, row in diffusion.METHODS.items() if row.evaluations]
SMALL_HOLE = "small_hole.png"
TASKS = {
    "inpaint": ("photo.png", "--task", "inpaint", "--mask", "hole.png"),
    "outpaint": ("small.png", "--task", "outpaint", "--pad", 4, 2, 12, 14),
    "upscale": ("small.png", "--task", "upscale", "--factor", 2),
    "colourise": ("grey.png", "--task", "colourise"),
    "both": ("small.png", "--task", "upscale", "colourise", "--factor", 2),
    "hole": ("small.png", "--task", "inpaint", "upscale", "--factor", 2, "--mask", SMALL_HOLE),
}
EXACT = r"degraded again: at most (\d\.\d\d) of 255 grey levels off"


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.fixture(autouse=True)
def photo(tmp_path):
    """A red disc on blue with all kinds of colours, small, grey, blurred; masks with a hole."""
    random = np.random.default_rng(0)
    image = Image.new("RGB", (32, 32), (40, 60, 255))
    ImageDraw.Draw(image).ellipse((8, 8, 24, 24), fill=(255, 0, 30))
    levels = np.array(image)
    levels[:8, :8] = random.integers(0, 256, (8, 8, 3))
    image = Image.fromarray(levels)
    image.save(tmp_path / "photo.png")
    image.reduce(2).save(tmp_path / "small.png")
    image.convert("L").save(tmp_path / "grey.png")
    image.filter(ImageFilter.GaussianBlur(1)).save(tmp_path / "blurred.png")
    hole = Image.new("L", (32, 32))
    ImageDraw.Draw(hole).rectangle((12, 4, 31, 20), fill=255)
    hole.save(tmp_path / "hole.png")
    hole.reduce(2).save(tmp_path / "small_hole.png")


def restored(run, *argv):
    status, out, err = run(*argv, *FAST)
    assert status == 0, err
    return [pixels(name) for name in out], err


def luma(levels):
    return levels @ np.array([0.299, 0.587, 0.114])


def means(levels, factor=2):
    height, width = levels.shape[0] // factor, levels.shape[1] // factor
    return levels.reshape(height, factor, width, factor, -1).mean((1, 3))


@pytest.mark.parametrize("flags", [(), ("--by", "mmps"), ("--travel", 1)])
def test_what_is_around_a_hole_stays_to_the_bit(restore_sample, flags):
    (found,), err = restored(restore_sample, *TASKS["inpaint"], "a cat", *flags)
    known = pixels("hole.png") == 0
    assert np.array_equal(found[known], pixels("photo.png")[known])
    assert abs(found - pixels("photo.png"))[~known].mean() > 3
    assert "photo.png: what is known is kept to the bit\n" in err


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_draws_in_a_hole(restore_sample, method):
    (found,), _ = restored(restore_sample, *TASKS["inpaint"], "a cat", "--method", method)
    known = pixels("hole.png") == 0
    assert np.array_equal(found[known], pixels("photo.png")[known])
    assert abs(found - pixels("photo.png"))[~known].mean() > 3


def test_photo_lies_where_the_pads_leave_room(restore_sample):
    (found,), err = restored(restore_sample, *TASKS["outpaint"], "a cat")
    assert np.array_equal(found[2:18, 4:20], pixels("small.png"))
    assert found.shape == (32, 32, 3)
    assert "to the bit" in err
    assert "scaled" not in err


@pytest.mark.parametrize("flags", [(), ("--by", "mmps")])
def test_enlarged_image_is_the_small_one_when_it_is_made_small(restore_sample, flags):
    (found,), err = restored(restore_sample, *TASKS["upscale"], "a cat:8", *flags)
    off = abs(means(found) - pixels("small.png")).max()
    assert off <= 0.5
    assert float(re.search(EXACT, err)[1]) == pytest.approx(off, abs=0.01)
    assert means(found).std() < found.reshape(-1, 3).std()


def test_colours_have_the_brightness_of_the_grey_photo(restore_sample):
    (found,), err = restored(restore_sample, *TASKS["colourise"], "a cat:8")
    off = abs(luma(found) - pixels("grey.png")).max()
    assert off <= 0.5
    assert float(re.search(EXACT, err)[1]) == pytest.approx(off, abs=0.01)
    assert (found.max(2) - found.min(2)).mean() > 3


@pytest.mark.parametrize("by", ["ddnm", "mmps", "pigdm"])
def test_network_without_prompts_restores_too(restore_sample, tiny, by):
    """Of the first published generation, which knows no timestep at either end."""
    flags = ("--model", "tiny", "--checkpoint", tiny, "--size", 32, "--steps", 4, "--by", by)
    status, out, err = restore_sample(*TASKS["inpaint"], *flags)
    assert status == 0, err
    found, known = pixels(out[0]), pixels("hole.png") == 0
    assert np.array_equal(found[known], pixels("photo.png")[known])
    assert abs(found - pixels("photo.png"))[~known].mean() > 3


def test_two_tasks_at_once(restore_sample):
    (found,), err = restored(restore_sample, *TASKS["both"], "a cat:8")
    assert abs(luma(means(found)) - luma(pixels("small.png"))).max() <= 0.5
    (found,), err = restored(restore_sample, *TASKS["hole"], "a cat:8")
    known = pixels(SMALL_HOLE) == 0
    assert abs(means(found) - pixels("small.png"))[known].max() <= 0.5
    assert re.search(EXACT, err)


@pytest.mark.parametrize("by", ["level", "mmps"])
def test_noise_becomes_less(restore_sample, by):
    image = Image.new("RGB", (64, 64), (60, 90, 190))
    ImageDraw.Draw(image).ellipse((12, 12, 52, 52), fill=(190, 70, 60))
    photo = np.asarray(image).astype(int)
    noise = np.random.default_rng(1).normal(0, 25, photo.shape)
    Image.fromarray((photo + noise).clip(0, 255).round().astype(np.uint8)).save("noisy.png")
    argv = ("noisy.png", "a red ball on a blue background:1", "--task", "denoise", "--noise", 25)
    size = ("--size", 64, "--steps", 8, "--method", "ab23", "--by", by)
    status, out, err = restore_sample(*argv, *FAST[:2], *size)
    assert status == 0, err
    found = pixels(out[0])
    assert (found - photo).std() < noise.std() * 0.6
    off = np.sqrt(np.square(found - pixels("noisy.png")).mean())
    told = re.search(r"degraded again: (\S+) grey levels off \(RMS\), noise 25", err)
    assert float(told[1]) == pytest.approx(off, abs=0.1)


@pytest.mark.parametrize("by", ["ddnm", "mmps"])
def test_blur_becomes_less(restore_sample, by):
    photo = pixels("photo.png")
    (found,), err = restored(
        restore_sample, "blurred.png", "--task", "deblur", "--blur", 1, "--by", by
    )
    assert (found - photo).std() < (pixels("blurred.png") - photo).std()
    assert re.search(EXACT, err)


@pytest.mark.parametrize("task", TASKS)
def test_seeds_give_several_answers_whatever_the_batch(restore_sample, task):
    argv = (*TASKS[task], "a cat")
    several, _ = restored(restore_sample, *argv, "-n", 3, "-bs", 2, "--seed", 4)
    assert abs(several[0] - several[1]).mean() > 0.3
    (alone,), _ = restored(restore_sample, *argv, "--seed", 5)
    assert abs(alone - several[1]).max() <= 2


def test_recipe_restores_again(restore_sample):
    argv = (*TASKS["inpaint"], "a banana:2", "--negative", "a cat", "--travel", 2, "-n", 2)
    restored(restore_sample, *argv, "-bs", 2, "--guidance-interval", 0.1, 0.9)
    recipe = recipes.read("out_00001.png")
    wanted = {"task": ["inpaint"], "mask": "hole.png", "init": "photo.png", "by": "ddnm"}
    assert {name: recipe[name] for name in wanted} == wanted
    assert (recipe["travel"], recipe["seed"], recipe["method"]) == (2, 1, "ddpm")
    status, out, err = restore_sample("--from-png", "out_00001.png")
    assert status == 0, err
    assert np.array_equal(pixels(out[0]), pixels("out_00001.png"))
    status, out, err = restore_sample("--from-png", "out_00001.png", "--noise", 5)
    assert status == 0, err
    assert recipes.read(out[0])["by"] == "mmps"  # that of a recipe is for its own noise


@pytest.mark.parametrize(
    ("argv", "by"),
    [
        (("--task", "upscale", "--factor", 2), "pigdm"),
        (("--task", "upscale", "deblur", "--factor", 2, "--blur", 1), "pigdm"),
        (("--task", "upscale", "--factor", 2, "--method", "ab23"), "mmps"),
        (("--task", "upscale", "--factor", 2, "--travel", 2), "mmps"),
        (("--task", "upscale", "colourise", "--factor", 2), "mmps"),
        (("--task", "colourise"), "mmps"),
        (("--task", "denoise"), "level"),
    ],
)
def test_noise_is_taken_into_account_in_the_way_that_suits_the_task(restore_sample, argv, by):
    status, out, err = restore_sample("small.png", *argv, "--noise", 5, *FAST)
    assert status == 0, err
    assert recipes.read(out[0])["by"] == by
    status, out, err = restore_sample("--from-png", out[0])
    assert status == 0, err
    assert recipes.read(out[0])["by"] == by


def test_a_recipe_of_another_task_leaves_what_is_of_its_own(restore_sample):
    """The blur of a deblurred photo is none of a hole's, and a hole stays one."""
    argv = ("blurred.png", "a cat", "--task", "deblur", "--blur", 1, *FAST)
    assert restore_sample(*argv, "-o", "sharp.png")[0] == 0
    status, _, err = restore_sample("--from-png", "sharp.png", "--task", "colourise", "-o", "c.png")
    assert status == 0, err
    assert "blur" not in recipes.read("c.png")
    hole = (*TASKS["inpaint"], "a cat", *FAST, "-o", "hole_0.png")
    assert restore_sample(*hole)[0] == 0
    more = ("--task", "inpaint", "colourise", "-o", "d.png")
    status, _, err = restore_sample("--from-png", "hole_0.png", *more)
    assert status == 0, err
    assert recipes.read("d.png")["mask"] == "hole.png"


@pytest.fixture
def loaded(monkeypatch):
    """Whether each network that is loaded is packed, and so has no gradients."""
    load, packed = models.load, []

    def recorded(*args):
        packed.append(args[4])
        return load(*args)

    monkeypatch.setattr(models, "load", recorded)
    return packed


def test_what_was_drawn_beside_others_that_need_gradients_is_drawn_again_as_it_was(
    restore_sample, loaded
):
    argv = ("photo.png", "a cat", "--task", "colourise", *FAST)
    status, _, err = restore_sample(*argv, "--sweep", "by=ddnm,mmps", "-o", "{index}.png")
    assert status == 0, err
    assert [recipes.read(name).get("unpacked") for name in ("0.png", "1.png")] == [True, None]
    assert restore_sample("--from-png", "0.png", "-o", "again.png")[0] == 0
    assert recipes.read("again.png")["unpacked"] is True
    assert np.array_equal(pixels("again.png"), pixels("0.png"))
    assert loaded == [False, False]
    assert "--from-png" in commands.command(recipes.read("0.png"), "0.png").arguments
    assert restore_sample(*argv, "-o", "alone.png")[0] == 0
    assert loaded[2:] == [True]
    assert "unpacked" not in recipes.read("alone.png")


@pytest.mark.parametrize("by", ["mmps", "pigdm"])
def test_gradients_go_through_a_guide(restore_sample, by):
    """Guided by itself a network draws as at weight 1."""
    argv = ("grey.png", "--task", "colourise", "--by", by, *FAST)
    guide = ROOT / "checkpoints" / "emoji.safetensors"
    assert restore_sample(*argv, "a cat:3", "--guide", guide, "-o", "guided.png")[0] == 0
    assert restore_sample(*argv, "a cat:1", "-o", "plain.png")[0] == 0
    assert abs(pixels("guided.png") - pixels("plain.png")).mean() < 0.5


def test_jobs_and_sweeps_are_those_of_all_scripts(restore_sample):
    Path("jobs.txt").write_text(
        "photo.png 'a cat' --task inpaint --mask hole.png\n"
        '{"photo": "grey.png", "prompt": "a cat", "task": "colourise", "seed": 7}\n'
        '{"photo": "small.png", "task": ["upscale", "colourise"], "factor": 2}\n'
    )
    named = ("-o", "runs/{line}_{photo}_{seed}.png")
    status, out, err = restore_sample("--from-file", "jobs.txt", *named, "-bs", 2, *FAST)
    assert status == 0, err
    names = {"runs/1_photo_0.png", "runs/2_grey_7.png", "runs/3_small_0.png"}
    assert set(out) == names
    status, out, err = restore_sample(
        "--from-file", "jobs.txt", *named, "-bs", 2, *FAST, "--skip-existing"
    )
    assert (status, out) == (0, []), err
    assert "nothing to draw" in err
    swept = ("--sweep", "by=ddnm,mmps", "travel=1,2", "-o", "{index}.png", "--grid", "g.png")
    status, out, err = restore_sample(*TASKS["inpaint"], *swept, *FAST)
    assert (status, out) == (0, ["0.png", "1.png", "2.png", "3.png", "g.png"]), err


@pytest.mark.parametrize("by", [("inversion",), ("inversion", "--strength", 0.8), ("pigdm",)])
def test_other_ways_to_enlarge_keep_the_small_photo_too(restore_sample, by):
    (found,), _ = restored(restore_sample, *TASKS["upscale"], "a cat", "--by", *by)
    assert abs(means(found) - pixels("small.png")).max() <= 0.5
    recipe = recipes.read("out_00000.png")
    assert recipe["by"] == by[0]
    assert recipe.get("strength") == ({1: 0.5, 3: 0.8}[len(by)] if by[0] == "inversion" else None)


def test_trajectory_shows_each_step_of_the_way(restore_sample):
    flags = ("--trajectory", "t.png", "--travel", 2, "--preview-every", 2)
    status, out, err = restore_sample(*TASKS["inpaint"], *FAST, *flags, "-o", "a.png")
    assert (status, out) == (0, ["a.png", "t.png"]), err
    assert Path("preview.png").exists()


def test_jpeg_is_told_to_keep_less(restore_sample):
    status, out, err = restore_sample(*TASKS["inpaint"], *FAST, "-o", "a.jpg")
    assert (status, out) == (0, ["a.jpg"]), err
    assert "a JPEG changes what is known" in err
    assert "JPEG" not in restore_sample(*TASKS["inpaint"], *FAST, "-o", "a.webp")[2]
    known = pixels("hole.png") == 0
    assert np.array_equal(pixels("a.webp")[known], pixels("photo.png")[known])


def test_what_is_told_of_a_jpeg_is_what_is_in_it(restore_sample):
    err = restore_sample(*TASKS["inpaint"], *FAST, "-o", "a.jpg")[2]
    known = pixels("hole.png") == 0
    off = abs(pixels("a.jpg") - pixels("photo.png"))[known].max()
    assert off > 1
    assert float(re.search(EXACT.replace(r"\d\.", r"\d+\."), err)[1]) == pytest.approx(
        off, abs=0.01
    )
    assert "to the bit" not in err


def test_a_photo_that_no_such_blur_has_made_is_told(restore_sample):
    flags = ("photo.png", "--task", "deblur", *FAST)
    sharp = restore_sample(*flags, "--blur", 2, "-o", "sharp.png")[2]
    assert "the photo is hardly one that --blur 2 has made" in sharp
    Image.new("RGB", (32, 32), (200, 90, 40)).save("photo.png")  # which any blur leaves as it is
    assert "hardly" not in restore_sample(*flags, "--blur", 2, "-o", "even.jpg")[2]


def test_what_a_photo_loses_is_told_before(restore_sample):
    photo = Image.open("photo.png")
    photo.save("moving.gif", save_all=True, append_images=[Image.new("RGB", (32, 32))])
    photo.putalpha(Image.linear_gradient("L").resize((32, 32)))
    photo.save("clear.png")

    def told(*argv):
        status, _, err = restore_sample(*argv, *FAST, "--dry-run")
        assert status == 0, err
        return [
            line for line in err.splitlines() if line.startswith("note: ") and "emoji" not in line
        ]

    hole = ("--task", "inpaint", "--mask", "hole.png")
    assert told("photo.png", *hole) == []
    assert told("moving.gif", *hole) == [
        "note: moving.gif: of the pictures in it the first alone counts"
    ]
    assert told("clear.png", *hole) == [
        "note: clear.png: what is transparent in it counts as white"
    ]
    clear = Image.new("RGBA", (32, 32), (9, 9, 9, 0))
    clear.paste("white", (8, 8, 20, 20))
    clear.save("clear_hole.png")
    assert told("photo.png", *hole[:3], "clear_hole.png") == [
        "note: --mask clear_hole.png: what is transparent in it counts as black: it stays"
    ]
    masks = [Image.open("hole.png"), Image.new("L", (32, 32))]
    masks[0].save("hole.gif", save_all=True, append_images=masks[1:])
    assert told("photo.png", *hole[:3], "hole.gif") == [
        "note: --mask hole.gif: of the pictures in it the first alone counts"
    ]
    Image.open("photo.png").resize((128, 128)).save("big.png")
    assert told("big.png", "--task", "deblur", "--blur", "2")[1:] == [
        "note: --blur 2 is of big.png as it is scaled, 32 x 32: of its own pixels these are 8"
    ]
    assert told("big.png", "--task", "denoise", "--noise", "9")[1:] == [
        "note: --noise 9 is of big.png as it is scaled, which leaves less noise"
    ]
    assert "alike" in told(*TASKS["upscale"], "--by", "inversion", "-n", 2)[0]
    assert told(*TASKS["colourise"]) == []
    assert "looks at their brightness alone" in told("photo.png", "--task", "colourise")[0]
    assert told(*TASKS["upscale"]) == []
    assert "made smaller before it is enlarged" in told("photo.png", *UPSCALE[1:])[-1]


def test_what_is_behind_an_address_is_asked_for_once_a_run(restore_sample, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    photo, mask = (Server(Path(name).read_bytes()) for name in ("photo.png", "hole.png"))
    with photo.running(), mask.running():
        region = ("--region", "a dog", mask.url)
        hole = ("--task", "inpaint", "--mask", mask.url)
        argv = (photo.url, "a cat", *hole, *region, "-n", 3)
        status, out, err = restore_sample(*argv, *FAST[:2], *FAST[4:], "--steps", 1)
    assert (status, len(out)) == (0, 3), err
    assert (len(photo.requests), len(mask.requests)) == (1, 1)


HOLE = ("--task", "inpaint", "--mask")
UPSCALE = ("small.png", "--task", "upscale", "--factor", "2")
MISTAKES = {
    (): "name the photo",
    ("a cat",): "the first is a photo",
    ("-", "--task", "colourise"): "a photo cannot be read from standard input",
    ("photo.png", "a cat"): "say what to do, --task and one of ",
    ("photo.png", "--task", "colorize"): "did you mean colourise?",
    ("photo.png", "--task", "inpaint"): "needs --mask IMAGE: a picture as large as the photo",
    ("photo.png", "--task", "outpaint"): "needs --pad LEFT TOP RIGHT BOTTOM: pixels",
    ("photo.png", "--task", "upscale"): "--task upscale needs --factor",
    ("photo.png", "--task", "deblur"): "--task deblur needs --blur",
    ("photo.png", "--task", "denoise"): "needs --noise LEVEL: the standard deviation",
    ("photo.png", "--task", "denoise", "--noise", "0"): "--task denoise needs --noise",
    ("photo.png", "--task", "colourise", "--factor", "2"): "--factor is of --task upscale",
    ("photo.png", "--task", "colourise", "--mask", "hole.png"): "--mask is of --task inpaint",
    (
        "photo.png",
        "--task",
        "colourise",
        "--pad",
        "0",
        "0",
        "0",
        "0",
    ): "--pad is of --task outpaint",
    ("photo.png", *HOLE, "no.png"): "no such file",
    ("photo.png", *HOLE, "black.png"): "is all black",
    ("photo.png", *HOLE, "white.png"): "no black pixel",
    ("photo.png", *HOLE, "odd.png"): "as large as the photo",
    ("photo.png", "--task", "outpaint", "--pad", "0", "0", "0", "0"): "adds nothing",
    ("photo.png", "--task", "outpaint", "--pad", "16", "0", "16", "0"): "leaves no room",
    ("photo.png", "--task", "outpaint", "--pad", "8", "8"): "expected 4 arguments",
    ("photo.png", "--task", "upscale", "--factor", "3"): "no multiples of it",
    ("photo.png", "--task", "upscale", "--factor", "1"): "a whole number from 2",
    ("photo.png", "--task", "deblur", "--blur", "0"): "above 0",
    ("photo.png", "--task", "deblur", "--blur", "0.2"): "nothing to do",
    ("photo.png", "--task", "denoise", "--noise", "0.2"): "nothing to do",
    ("photo.png", "--task", "inpaint", "deblur", "--mask", "hole.png"): "do not fit together",
    ("photo.png", "--task", "denoise", "colourise", "--noise", "9"): "--task colourise --noise",
    ("photo.png", "--task", "colourise", "--noise", "9", "--by", "ddnm"): "leave out --noise",
    ("photo.png", "--task", "colourise", "--by", "level"): "--by level is of --task denoise",
    ("photo.png", "--task", "denoise", "--noise", "9", "--travel", "2"): "would lose the photo",
    ("photo.png", "--task", "colourise", "--by", "mmps", "--dtype", "int8"): "the gradient",
    ("photo.png", "--task", "colourise", "colourise"): "colourise twice",
    ("photo.png", "--task", "colourise", "--by", "pigdm", "--dtype", "int8"): "the gradient",
    ("photo.png", "--task", "colourise", "--by", "pigdm", "--method", "ab23"): "ddpm or ddim",
    ("photo.png", "--task", "colourise", "--by", "pigdm", "--travel", "2"): "or give 1",
    ("photo.png", "--task", "colourise", "--by", "inversion"): "is of --task upscale alone",
    (*UPSCALE, "--by", "inversion", "--noise", "5"): "take mmps or pigdm",
    (*UPSCALE, "--by", "inversion", "--travel", "2"): "leave out --travel",
    (*UPSCALE, "--by", "inversion", "--method", "ddpm"): "take --method exact",
    (*UPSCALE, "--strength", "0.5"): "--strength is of --by inversion",
    ("photo.png", "--task", "colourise", "--method", "adaptive"): "no method",
    ("photo.png", "photo.png", "--task", "colourise"): "one photo at a time",
    ("photo.png", "--task", "colourise", "--travel", "0"): "a whole number from 1",
    ("text.txt", "a cat", "--task", "colourise"): "not a PNG",
    ("folder", "a cat", "--task", "colourise"): "folder: is a folder",
    ("photo.png", "--task", "denoise", "--noise", "9", "--by", "ddnm"): "take level, mmps or pigdm",
    (*UPSCALE, "--noise", "5", "--by", "level"): "take mmps or pigdm",
    ("photo.png", *HOLE, "clear.png"): "may change (what is transparent in it counts as black",
    ("photo.png", *HOLE, "folder"): "folder: is a folder",
}


@pytest.mark.parametrize("argv", MISTAKES)
def test_mistake_is_one_line_and_writes_nothing(restore_sample, argv):
    Path("text.txt").write_text("no image")
    Path("folder").mkdir()
    Image.new("L", (32, 32)).save("black.png")
    Image.new("L", (32, 32), 255).save("white.png")
    Image.new("L", (20, 16), 255).save("odd.png")
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save("clear.png")
    before = set(Path().iterdir())
    flags = [word for word in FAST if "int8" not in argv or word not in ("--dtype", "float32")]
    status, out, err = restore_sample(*argv, *flags)
    assert (status, out, err.count("\n")) == (2, [], 1), err
    assert MISTAKES[argv] in err
    assert set(Path().iterdir()) == before


@pytest.mark.parametrize("flags", ["--help", "photo.png --task outpaint --pad 0 0 0 0"])
def test_help_and_mistakes_come_without_torch(flags):
    program = (
        f"import sys, restore_sample; sys.argv[1:] = {flags.split()!r}\n"
        "from values.errors import UserError\n"
        "try: restore_sample.main()\n"
        "except (SystemExit, UserError): pass\n"  # what those are raises: nothing else may
        "else: sys.exit('it went on')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
