"""Prompts that change on the way and prompts in places, from the command line to the files."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import diffusion
import models
from diffusion import Span, Weight
from media.tensors import to_image
from recipes import recipe as recipes
from tests.test_students import student  # noqa: F401

ROOT = Path(__file__).parent.parent
FAST = ("--model", "emoji", "--steps", "3", "--dtype", "float32", "--device", "cpu")
LATE, EARLY = Span(0.0, 0.6), Span(0.6, 1.0, 0.6, above=True)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def left_half(name="left.png", size=(64, 64)):
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((0, 0, size[0] // 2 - 1, size[1]), fill=255)
    mask.save(name)


def by_hand(texts, weights, method="ddim", size=(64, 64)):
    """The image of seed 0, drawn with the library."""
    with torch.inference_mode():
        embeds = models.clip.load("emoji").encode_text(texts)
        model = diffusion.guided(models.load("emoji", dtype=torch.float32), embeds, weights, 1)
        x = diffusion.noise([0], (3, size[1], size[0]))
        timesteps = diffusion.schedule("linear", 3)
        return np.asarray(to_image(diffusion.sample(model, x, timesteps, method)[0])).astype(int)


LIKE_IT = (*FAST, "--method", "ddim", "--schedule", "linear")


def test_a_prompt_that_changes_is_drawn_as_the_library_does(cfg_sample):
    cfg_sample("a cat->a fox:2@0.6", *LIKE_IT, "-o", "x.png")
    expected = by_hand(["a cat", "a fox"], [Weight(2.0, EARLY), Weight(2.0, LATE)])
    assert abs(pixels("x.png") - expected).max() <= 1
    assert abs(pixels("x.png") - by_hand(["a cat"], [2.0])).max() > 10


def test_prompts_in_places_are_drawn_as_the_library_does(cfg_sample):
    left_half(size=(64, 32))
    how = (*LIKE_IT, "--size", "64", "32", "--soft-edge", "0.2", "-o", "x.png")
    args = ("a cat:2[0.5,0,1,1]", "a dog:-1", "--region", "a fox:2@0-0.6", "left.png")
    assert cfg_sample(*args, *how)[0] == 0
    mask = torch.zeros(32, 64)
    mask[:, :32] = 1
    box = diffusion.box_mask((0.5, 0, 1, 1), (64, 32), 0.2)
    weights = [Weight(2.0, mask=box), -1.0, Weight(2.0, LATE, mask)]
    expected = by_hand(["a cat", "a dog", "a fox"], weights, size=(64, 32))
    assert abs(pixels("x.png") - expected).max() <= 1
    left_half(size=(128, 128))
    _, _, err = cfg_sample(*args, *how[:-2], "--dry-run")
    assert "128 x 128 pixels are scaled to 64 x 32" in err


@pytest.mark.parametrize("method", list(diffusion.METHODS))
def test_every_method_draws_and_redraws_to_the_bit(cfg_sample, method):
    left_half()
    asked = ("a cat->a fox@0.6", "a hat:2@0.1~0.3-0.9[0,0,1,0.5]", "--negative", "dark@0-0.5")
    asked += ("--region", "a star:2", "left.png", "--images", "left.png:1@0.2-1")
    how = ("--method", method, "-n", 2, "-bs", 2, "-o", "{seed}.png", "-q", "--size", 32, 32)
    assert cfg_sample(*asked, *FAST, *how)[0] == 0
    assert cfg_sample("--from-png", "1.png", "-o", "again.png")[0] == 0
    assert np.array_equal(pixels("1.png"), pixels("again.png"))


def test_recipe_and_command_say_it_all(cfg_sample, png_info):
    left_half()
    asked = ("a cat->a fox:2@0.5~0.7", r"user\@0-1", "a {b} hat[0,0,1,0.5]", "--soft-edge", 0.3)
    asked += ("--region", r"a \{red,blue} heart:2@0-0.6", "left.png")
    cfg_sample(*asked, *FAST, "-o", "x.png", "-q")
    found = recipes.read("x.png")
    assert found["prompts"] == [
        ["a cat", 2.0, "@0.5~0.7-1"],
        ["a fox", 2.0, "@0-0.5~0.7"],
        ["user@0-1", 3.0],
        ["a {b} hat", 3.0, "[0,0,1,0.5]"],
    ]
    assert found["region"] == [["a {red,blue} heart", 2.0, "@0-0.6", "left.png"]]
    assert found["soft_edge"] == 0.3
    _, (line,), _ = png_info("--command", "x.png")
    words = shlex.split(line)[1:]
    assert cfg_sample(*words, "-o", "y.png", "-q")[0] == 0
    assert np.array_equal(pixels("x.png"), pixels("y.png"))
    assert recipes.read("y.png")["region"] == found["region"]
    _, shown, _ = png_info("x.png")
    assert any(row.split(None, 1) == ["2", "a fox  @0-0.5~0.7"] for row in shown)


def test_recipes_of_prompts_that_always_count_stay_as_they_were(cfg_sample):
    cfg_sample("a cat:2", "a dog", *FAST, "-o", "x.png", "-q")
    found = recipes.read("x.png")
    assert found["prompts"] == [["a cat", 2.0], ["a dog", 3.0]]
    assert not {"region", "soft_edge"} & set(found)


def test_a_mask_that_a_recipe_names_lies_beside_the_image(cfg_sample, tmp_path):
    left_half()
    cfg_sample("--region", "a cat", "left.png", *FAST, "-o", "x.png", "-q")
    Path("left.png").rename("moved.png")
    status, _, err = cfg_sample("--from-png", "x.png", "-o", "y.png")
    assert status == 2
    assert 'it needs "left.png", which is not here' in err
    status, _, _ = cfg_sample(
        "--from-png", "x.png", "--region", "a cat", "moved.png", "-o", "y.png"
    )
    assert status == 0
    assert np.array_equal(pixels("x.png"), pixels("y.png"))


def test_flags_beside_a_recipe_win(cfg_sample):
    cfg_sample("a cat->a fox@0.6", *FAST, "-o", "x.png", "-q")
    cfg_sample("--from-png", "x.png", "a dog@0-0.5", "-o", "y.png", "-q")
    assert recipes.read("y.png")["prompts"] == [["a dog", 3.0, "@0-0.5"]]
    cfg_sample("a cat->a fox@0.6", "a dog", "--weight", 1, *FAST, "-o", "z.png", "-q")
    assert [p[1] for p in recipes.read("z.png")["prompts"]] == [1, 1, 3]


def test_jobs_of_all_kinds_say_it(cfg_sample):
    left_half()
    Path("jobs.txt").write_text(
        "a cat->a fox@0.6\n"
        "a cat[0,0,0.5,1]\n"
        '"a cat:2@0-0.6" --region "a dog:2" left.png --seed 3\n'
        '{"prompts": ["a cat@0-0.6", ["a {x,y}", 1, "[0,0,0.5,1]"]], "seed": 4}\n'
        '{"region": [["a dog", "left.png"], ["a {x,y}", 2.0, "@0-0.6", "left.png"]]}\n'
    )
    Path("jobs.csv").write_text(
        'prompts,seed,region\na cat->a fox@0.6,1,a dog:2 left.png\n"a cat[0,0,0.5,1]",2,\n'
    )
    expected = {
        "jobs.txt": [
            "a cat:3@>0.6-1  a fox:3@0-0.6",
            "a cat:3[0,0,0.5,1]",
            "a cat:2@0-0.6  a dog:2 left.png",
            "a cat:3@0-0.6  a {x,y}:1[0,0,0.5,1]",
            "a dog:3 left.png  a {x,y}:2@0-0.6 left.png",
        ],
        "jobs.csv": ["a cat:3@>0.6-1  a fox:3@0-0.6  a dog:2 left.png", "a cat:3[0,0,0.5,1]"],
    }
    for name, prompts in expected.items():
        status, out, _ = cfg_sample("--from-file", name, *FAST, "--dry-run", "-q")
        assert status == 0
        assert [line.split("\t")[5] for line in out[1:]] == prompts
    sweep = ("prompt=a cat[0,0,0.5,1],a dog->a fox@0.5", "region=a hat left.png,a star:1 left.png")
    _, out, _ = cfg_sample("--sweep", *sweep, *FAST, "--dry-run", "-q")
    assert [line.split("\t")[5] for line in out[1:]] == [
        "a cat:3[0,0,0.5,1]  a hat:3 left.png",
        "a cat:3[0,0,0.5,1]  a star:1 left.png",
        "a dog:3@>0.5-1  a fox:3@0-0.5  a hat:3 left.png",
        "a dog:3@>0.5-1  a fox:3@0-0.5  a star:1 left.png",
    ]


def test_choices_are_made_in_all_parts(cfg_sample):
    left_half()
    asked = ("a {red,blue} cat->a {red,blue} fox@0.6", "--region", "a {hat,star}", "left.png")
    cfg_sample(*asked, *FAST, "-n", 8, "--dry-run")
    _, out, _ = cfg_sample(*asked, *FAST, "-n", 8, "--dry-run", "-q")
    told = {line.split("\t")[5] for line in out[1:]}
    assert len(told) > 3
    assert not any("{" in line for line in told)


def test_results_say_it(cfg_sample):
    left_half()
    asked = ("a cat@0-0.6", "--region", "a dog", "left.png", "--results", "r.json")
    cfg_sample(*asked, *FAST, "-q", "-o", "x.png")
    line = json.loads(Path("r.json").read_text())
    assert line["prompts"] == [["a cat", 3.0, "@0-0.6"]]
    assert line["region"] == [["a dog", 3.0, "", "left.png"]]


def test_images_are_drawn_together_where_the_same_counts(cfg_sample):
    Path("jobs.txt").write_text("a cat@0-0.6\na dog@0-0.6\na fox@0-0.7\na hat[0,0,1,0.5]\na star\n")
    _, out, _ = cfg_sample("--from-file", "jobs.txt", *FAST, "-bs", 8, "--dry-run", "-q")
    assert len({line.split("\t")[0] for line in out[1:]}) == 4


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["a cat@0-1.5"], "timesteps go from 0"),
        (["a cat[0,0,0,1]"], "the box is empty"),
        (["--region", "a cat", "nowhere.png"], "nowhere.png: no such file"),
        (["--region", "a cat", "black.png"], "is all black"),
        (["--region", "a cat"], "has no mask"),
        (["a cat", "--soft-edge", "0.2"], "no prompt has one"),
        (["a cat[0,0,1,0.5]", "--guidance-interval", "0.2", "1"], "prompts in places have none"),
        (["a cat@0.5-1", "a dog:-1", "--guidance-interval", "0.2", "1"], "add up to -1 at t = 0:"),
    ],
)
def test_mistakes_are_told_before_torch_is_imported(tmp_path, argv, told):
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    code = (
        "import sys\n"
        "from cli.scripts import CFG\n"
        "from jobs.jobs import Jobs\n"
        "import runner\n"
        "from values.errors import UserError\n"
        "try:\n"
        "    runner.Plan(Jobs(CFG, sys.argv[1:]))\n"
        "except UserError as error:\n"
        "    print(error)\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, *argv, "--model", "emoji"]
    run = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert told in run.stdout
    assert len(run.stdout.splitlines()) == 1


def test_interval_and_timesteps_go_together(cfg_sample):
    asked = ("a cat->a fox@0.6", "--negative", "dark@0.3-0.8", "--guidance-interval", 0.2, 1)
    assert cfg_sample(*asked, *FAST, "-q", "-o", "x.png")[0] == 0
    assert cfg_sample("--from-png", "x.png", "-q", "-o", "y.png")[0] == 0
    assert np.array_equal(pixels("x.png"), pixels("y.png"))


def test_clip_steers_by_all_prompts_everywhere(clip_sample):
    for asked in (
        ["a cat@0-0.5"],
        ["a cat[0,0,0.5,1]"],
        ["a->b@0.5"],
        ["a", "--images", "b.png@0-1"],
    ):
        status, _, err = clip_sample(*asked, *FAST)
        if asked[-1] == "b.png@0-1":  # which is always
            assert "no such file" in err
            continue
        assert status == 2
        assert "clip_sample.py steers by all prompts" in err
    status, _, err = clip_sample("a", "--region", "a cat", "left.png", *FAST)
    assert (status, "cfg_sample.py has it" in err) == (2, True)


def test_student_takes_its_prompt_at_all_times_everywhere(cfg_sample, student):  # noqa: F811
    of_student = ("--model", "emoji_4", "--checkpoint", student)
    left_half()
    for asked in (["a cat@0-0.5"], ["a cat[0,0,0.5,1]"], ["--region", "a cat", "left.png"]):
        status, _, err = cfg_sample(*asked, *of_student)
        assert status == 2
        assert "take its teacher" in err
    status, _, err = cfg_sample("a cat->a fox@0.5", *of_student)
    assert (status, "has learnt one prompt for all timesteps" in err) == (2, True)


def test_an_edit_may_change_on_the_way_and_in_places(cfg_modify_image, cfg_sample, png_info):
    left_half()
    cfg_sample("a red heart", *FAST, "-o", "heart.png", "-q")
    asked = ("heart.png", "a blue heart->a star@0.6", "--source", "a red heart[0,0,0.5,1]")
    asked += ("--region", "a hat:2", "left.png")
    for way in (["--direct"], ["--method", "ab23"], []):
        assert cfg_modify_image(*asked, *way, *FAST, "-o", "x.png", "--overwrite", "-q")[0] == 0
        assert cfg_modify_image("--from-png", "x.png", "-o", "y.png", "--overwrite", "-q")[0] == 0
        assert np.array_equal(pixels("x.png"), pixels("y.png"))
        _, (line,), _ = png_info("--command", "x.png")
        cfg_modify_image(*shlex.split(line)[1:], "-o", "y.png", "--overwrite", "-q")
        assert np.array_equal(pixels("x.png"), pixels("y.png"))


def test_a_photos_noise_under_such_prompts_yields_it_again(reverse_sample, cfg_sample):
    left_half()
    cfg_sample("a red heart", *FAST, "-o", "heart.png", "-q")
    asked = ("heart.png", "a red heart->a star:1@0.6", "a cat:1[0,0,1,0.5]")
    asked += ("--region", "a hat:1@0.2-1", "left.png", "--soft-edge", 0.3)
    assert reverse_sample(*asked, *FAST, "-o", "heart.safetensors")[0] == 0
    assert cfg_sample("--latent", "heart.safetensors", "-o", "again.png")[0] == 0
    assert np.array_equal(pixels("heart.png"), pixels("again.png"))
