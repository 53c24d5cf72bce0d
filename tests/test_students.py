"""What the scripts do with a student, a network that takes the weight of guidance as an input."""

import dataclasses

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import diffusion
import models
from cli.parser import parse
from cli.scripts import CFG
from jobs.resolve import resolve
from media.images import open_image
from media.tensors import to_image
from models.zoo import NETWORKS
from recipes import recipe as recipes


@pytest.fixture(autouse=True)
def student(monkeypatch, tmp_path_factory):
    """The checkpoint of `emoji_4`, a tiny network that was never trained."""
    row = NETWORKS["emoji_4"]
    architecture = dataclasses.replace(
        row.architecture, channels=(16, 32), head_channels=16, features=32
    )
    row = dataclasses.replace(row, architecture=architecture)
    monkeypatch.setitem(NETWORKS, "emoji_4", row)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "emoji_4.safetensors"
    weights = models.build("emoji_4").state_dict()
    weights["mapping_weight_embed.weight"].normal_()  # so that the weight makes a difference
    save_file(weights, path)
    return path


def drawn_by_hand(path, prompt, weight):
    net, clip = models.load("emoji_4", path), models.clip.load("emoji")
    model = diffusion.distilled(net, clip.encode_text([prompt]), [weight])
    with torch.inference_mode():
        x = diffusion.noise([0], (3, 64, 64))
        return diffusion.sample(model, x, diffusion.schedule("linear", 4), "ddim")[0]


def test_student_draws_in_the_evaluations_that_it_learnt(cfg_sample, student, tmp_path):
    of_student = ("--model", "emoji_4", "--checkpoint", student, "--device", "cpu")
    of_student += ("--dtype", "float32")
    for weight in (1, 5):
        status, _, err = cfg_sample(f"a cat:{weight}", *of_student, "-o", f"{weight}.png")
        assert (status, "Traceback" in err) == (0, False)
        picture = open_image(tmp_path / f"{weight}.png").convert("RGB")
        by_hand = to_image(drawn_by_hand(student, "a cat", float(weight)))
        difference = [abs(a - b) for a, b in zip(picture.tobytes(), by_hand.tobytes(), strict=True)]
        assert max(difference) <= 1
    assert (tmp_path / "1.png").read_bytes() != (tmp_path / "5.png").read_bytes()
    assert cfg_sample(*of_student, "-o", "none.png")[0] == 0

    again = ("--from-png", "5.png", "--checkpoint", student, "-o", "again.png")
    assert cfg_sample(*again, "--device", "cpu")[0] == 0
    with Image.open(tmp_path / "again.png") as copy, Image.open(tmp_path / "5.png") as picture:
        assert copy.tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    ("model", "argv", "expected"),
    [
        ("emoji_4", (), ("ddim", 4, "linear")),
        ("emoji_4", ("--steps", "2"), ("ddim", 2, "linear")),
        ("emoji_4", ("--method", "plms"), ("plms", 4, "linear")),
        ("emoji", (), None),
    ],
)
def test_defaults_are_what_a_student_was_trained_for(model, argv, expected):
    _, image = resolve(CFG, parse(CFG, ["a cat", "--model", model, *argv]))
    found = image.method, image.steps, image.schedule
    if expected is None:
        method = diffusion.METHODS[image.method]
        expected = (image.method, method.steps, method.schedule)
        assert image.method != "ddim"
    assert found == expected


def test_teacher_draws_again_with_steps_of_its_own(cfg_sample, student):
    of_student = ("--model", "emoji_4", "--checkpoint", student)
    assert cfg_sample("a cat", *of_student, "-o", "student.png")[0] == 0
    again = ("--from-png", "student.png", "--model", "emoji", "--dtype", "float32", "-o")
    status, _, err = cfg_sample(*again, "teacher.png")
    assert (status, "note: emoji draws what emoji_4 has drawn" in err) == (0, True)
    found = recipes.read("teacher.png")
    assert [found[name] for name in ("method", "steps", "schedule")] == ["ab23", 18, "fitted"]
    assert cfg_sample(*again, "few.png", "--steps", "3")[0] == 0
    assert recipes.read("few.png")["steps"] == 3
    _, image = resolve(CFG, parse(CFG, ["--from-png", "teacher.png", "--model", "emoji_4"]))
    assert (image.method, image.steps, image.schedule) == ("ddim", 4, "linear")


@pytest.mark.parametrize("argv", [("--steps", "8"), ("--method", "ab23"), ("--schedule", "log")])
def test_steps_that_it_was_not_trained_for_are_noted(cfg_sample, argv):
    status, _, err = cfg_sample("a cat", "--model", "emoji_4", *argv, "--dry-run")
    told = "note: emoji_4 was trained for 4 steps of ddim on linear, not for "
    assert (status, told in err) == (0, True)
    usual = cfg_sample("a cat", "--model", "emoji_4", "--dry-run")[2]
    assert "trained for" not in usual
    assert "(no prompt)" not in usual


@pytest.mark.parametrize(("weight", "is_noted"), [(0.5, True), (1, False), (6, False), (9, True)])
def test_weights_that_it_has_not_learnt_are_noted(cfg_sample, weight, is_noted):
    status, _, err = cfg_sample(f"a cat:{weight}", "--model", "emoji_4", "--dry-run")
    told = f"note: emoji_4 has learnt weights from 1 to 6: at {weight} its teacher, --model emoji, "
    assert (status, told in err) == (0, is_noted)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("a cat->a dog@0.5",), "has learnt one prompt for all timesteps"),
        (("a cat", "a dog"), "takes one prompt, not 2"),
        (("a cat", "--negative", "a dog"), "takes one prompt, not 2"),
        (("--negative", "a dog"), "takes no weight below 0, like -1"),
        (("a cat", "--guidance-interval", "0.2", "1"), "takes no --guidance-interval"),
        (("a cat", "--guidance", "rescale"), "takes no --guidance rescale:0.7"),
        (("a cat", "--guide", "FILE"), "takes no --guide"),
    ],
)
def test_what_only_a_teacher_can_do_is_refused(cfg_sample, student, argv, told):
    argv = [student if word == "FILE" else word for word in argv]
    status, out, err = cfg_sample("--model", "emoji_4", "--checkpoint", student, *argv)
    assert (status, out) == (2, [])
    (line,) = err.splitlines()
    assert told in line
    assert line.endswith("take its teacher, --model emoji")


@pytest.mark.parametrize("name", ["clip_sample", "reverse_sample", "cfg_modify_image"])
def test_other_scripts_name_the_teacher(script, student, tmp_path, name):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    photo = [] if name == "clip_sample" else ["photo.png"]
    argv = [*photo, "a cat", "--model", "emoji_4", "--checkpoint", student]
    status, out, err = script(name)(*argv)
    assert (status, out) == (2, [])
    (line,) = err.splitlines()
    assert "draws with cfg_sample.py alone: take its teacher, --model emoji" in line


def test_network_is_told_which_of_the_two_it_is(student):
    x, t, embed = torch.zeros(1, 3, 64, 64), torch.ones(1), torch.zeros(1, 256)
    with pytest.raises(ValueError, match=r"diffusion\.distilled"):
        models.build("emoji_4")(x, t, embed)
    with pytest.raises(ValueError, match="takes no weights"):
        models.build("emoji")(x, t, embed, torch.ones(1))
