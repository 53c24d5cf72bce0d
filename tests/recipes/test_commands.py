import subprocess

import pytest

from cli.options import PNGS
from cli.parser import parse
from cli.scripts import CFG, CLIP, GRID, MODIFY, RESTORE, REVERSE
from jobs.jobs import Jobs, items
from recipes import commands
from recipes import recipe as recipes
from recipes.commands import command, quote
from tests.shell import arguments_in_bash
from values.errors import UserError, printable

PLAIN = {"script": CFG.name, "model": "emoji"}
NASTY = [
    "it's",
    '"quoted" $HOME `id` $(id) \\ ! # ~ * ? [a] {b,c} <d> & ; |',
    "two\nlines\r\tand a tab",
    "\x1b[2J\x1b]0;title\x07\x7f",
    "\x1b[201~; id\n",
    "'\n\\'",
    "-dash",
    "--",
    "-o out",
    "12:30",
    "a:",
    "a\\:\\",
    " spaces  ",
    "ein Käfer 猫 👩‍🚀",
    "mirrored \u202egnp.exe",
    "no-break\u00a0space\u3000wide",
    "a" * 5000,
]


def line(recipe, png="x.png"):
    return command({**PLAIN, **recipe}, png).line()


# What is said, and what need not be.


def test_what_is_as_usual_is_left_out():
    usual = {"prompts": [["a cat", 3.0]], "guidance_interval": [0.0, 1.0]}
    assert line(usual) == "./cfg_sample.py 'a cat:3' --model emoji"
    assert line({"prompts": [["a cat", 1.0]]}) == "./cfg_sample.py 'a cat:1' --model emoji"
    usual = {"seed": 0, "method": "ab23", "steps": 18, "schedule": "fitted", "eta": 0.0}
    usual |= {"size": [64, 64], "images": [], "device": "cuda", "batch": [1, 0], "index": 3}
    assert line(usual) == "./cfg_sample.py --model emoji"


def test_a_recipe_of_an_earlier_default_says_what_it_was():
    recipe = {"prompts": [["a cat", 3.0]], "guidance_interval": [0.17, 1.0], "steps": 17}
    assert line(recipe) == (
        "./cfg_sample.py 'a cat:3' --guidance-interval 0.17 1 --model emoji --steps 17"
    )
    del recipe["guidance_interval"]  # then it was guided at all timesteps
    assert line(recipe) == "./cfg_sample.py 'a cat:3' --model emoji --steps 17"


def test_what_differs_is_said():
    recipe = {
        "seed": 10**6,
        "method": "ddim",
        "steps": 9,
        "schedule": "log",
        "eta": 0.5,
        "chunk": 2,
        "size": [64, 32],
        "guidance_interval": [0.25, 1.0],
        "dtype": "float32",
        "device": "cpu",
    }
    assert line(recipe) == (
        "./cfg_sample.py --guidance-interval 0.25 1 --model emoji --device cpu --dtype float32 "
        "--seed 1000000 --size 64 32 --method ddim --steps 9 --schedule log --eta 0.5 --chunk 2"
    )


def test_usual_is_what_the_script_and_the_method_have_for_it():
    steering = {"clip_guidance_scale": 500.0, "cutn": 16, "cut_pow": 1.0, "clip_model": "emoji"}
    usual = {"script": CLIP.name, "method": "ddpm", "steps": 1000, "eta": 1.0}
    usual |= {"schedule": "spliced", "guidance_interval": [0.0, 1.0], "low_memory": False}
    assert line({**usual, **steering}) == "./clip_sample.py --model emoji"
    assert line({"method": "unipc", "steps": 20, "schedule": "logit"}).endswith("--method unipc")
    other = {**usual, "low_memory": True, "steps": 20, "cutn": 8}
    assert line(other) == "./clip_sample.py --cutn 8 --model emoji --low-memory --steps 20"


def test_edit_names_its_photo_first_and_a_free_name_for_the_result(tmp_path):
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "head.png").touch()
    recipe = {
        **PLAIN,
        "script": MODIFY.name,
        "prompts": [["a tiger", 3.0]],
        "source": [["a cat", 1.0]],
        "init": "photo.jpg",
        "mask": "head.png",
        "direct": True,
        "starting_timestep": 0.7,
    }
    made = command(recipe, tmp_path / "x.png")
    assert made.notes == []
    assert made.line() == (
        f"./cfg_modify_image.py {tmp_path}/photo.jpg 'a tiger:3' --source 'a cat:1' "
        f"--mask {tmp_path}/head.png --strength 0.7 --direct --model emoji -n 1"
    )


def test_restored_photo_is_named_with_its_task(tmp_path):
    (tmp_path / "photo.png").touch()
    recipe = {**PLAIN, "script": RESTORE.name, "init": "photo.png", "method": "ddpm", "steps": 25}
    recipe |= {"task": ["outpaint", "colourise"], "pad": [8, 0, 8, 0], "schedule": "spliced"}

    def line(**more):
        return command({**recipe, **more}, tmp_path / "x.png").line()

    start = (
        f"./restore_sample.py {tmp_path}/photo.png --task outpaint --task colourise --pad 8 0 8 0"
    )
    assert line(by="ddnm", travel=2) == f"{start} --model emoji"
    assert line(by="mmps", travel=2) == f"{start} --by mmps --travel 2 --model emoji"
    assert line(by="mmps", travel=1, noise=5) == f"{start} --noise 5 --model emoji"


def test_image_of_a_batch_or_from_a_latent_is_drawn_from_its_png(tmp_path):
    made = command({**PLAIN, "batch": [4, 2], "seed": 2}, "runs/x.png")
    assert made.line() == "./cfg_sample.py --from-png runs/x.png --model emoji --seed 2"
    assert made.notes == []
    made = command({**PLAIN, "latent": "x.safetensors", "latent_index": 2}, "-x.png")
    assert made.line() == "./cfg_sample.py --from-png ./-x.png --model emoji"
    assert "latent" in made.notes[0]


def test_files_that_are_not_found_are_spoken_of():
    made = command({**PLAIN, "init": "gone.png", "images": [["-odd.png", 1.0]]}, "x.png")
    assert made.arguments[1:5] == ["--images", "./-odd.png:1", "--init", "gone.png"]
    assert made.notes == ["it needs -odd.png: give its path", "it needs gone.png: give its path"]


def test_own_checkpoint_is_named():
    assert "--checkpoint mine.pth" in line({"checkpoint": "mine.pth"})
    assert "--checkpoint" not in line({"checkpoint": "emoji.safetensors"})
    assert "--checkpoint emoji.safetensors" in line(
        {"checkpoint": "emoji.safetensors", "model_sha256": "0" * 64}
    )


def test_scripts_may_lie_elsewhere_or_be_named_alone():
    for folder, start in [
        ("..", "../"),
        ("/opt/my suite", "'/opt/my suite/"),
        (None, ""),
        ("~/a b", "~/'a b/"),
    ]:
        assert command(PLAIN, "x.png", folder).line().startswith(f"{start}cfg_sample.py")


# It says what the recipe says.

RUNS = {
    CFG: [
        (),
        ("a cat", "blurry:-1", "a cat:0.1"),
        ("a cat:1e-7", "--seed", str(2**63 - 1), "--steps", "7"),
        ("--method", "ddpm", "--schedule", "log", "--chunk", "3", "--size", "32", "64"),
        ("--method", "ddim", "--eta", "0.3", "--guidance-interval", "0", "0.7", "a:2"),
        ("--method", "adaptive", "--tolerance", "0.004"),
        ("--init", "photo.png", "-st", "0.4", "--images", "photo.png:2", "photo.png:-0.5"),
        ("--images", "photo.png", "--dtype", "bfloat16", "--", "-a", "-b:1"),
    ],
    CLIP: [
        (),
        ("a cat", "--images", "photo.png:-0.5", "-cs", "123.5", "--cutn", "7"),
        ("--cut-pow", "0.5", "--guide-every", "3", "--low-memory", "a:2"),
        ("--clip-model", "ViT-B-16", "--guidance-interval", "0.2", "0.9", "--steps", "9"),
    ],
    MODIFY: [
        ("photo.png", "a tiger", "fur:1", "--source", "a cat", "tame:-1", "-mt", "0.8"),
        ("photo.png", "--source=-x", "--source", "a cat", "--source=--steps:2"),
        (
            "photo.png",
            "a cat",
            "--direct",
            "--seed",
            "4",
            "--mask",
            "photo.png",
            "--method",
            "exact",
        ),
        ("photo.png", "--source", "x", "--", "-a tiger"),
    ],
}


@pytest.mark.parametrize(("script", "argv"), [(s, argv) for s in RUNS for argv in RUNS[s]])
def test_line_of_a_recipe_is_read_as_the_run_that_wrote_it(script, argv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").touch()

    def recipe_of(argv):
        jobs = Jobs(script, argv)
        run, image = jobs.run, jobs.all[0].image
        dtype = None if run.dtype == "auto" else run.dtype  # what it comes to is known to the run
        own = {"script": script.name, "init": image.init, "dtype": dtype}
        return recipes.checked({**recipes.of(run, image), **own})

    recipe = recipe_of([*argv, "--model", "emoji"])
    made = command(recipe, "x.png")
    assert made.notes == []
    name, *arguments = arguments_in_bash(f"./{made.line()}")
    assert name.endswith(script.name)
    assert recipe_of(arguments) == recipe


# Whatever a prompt is, it stays one.


@pytest.mark.parametrize("text", NASTY)
def test_prompts_reach_the_script_as_they_are_and_no_terminal(text):
    for texts in ([text], ["first", text, text[::-1].strip("\\") + "!"]):
        recipe = {**PLAIN, "prompts": [[t, 3.0 + i] for i, t in enumerate(texts)], "seed": 1}
        made = command(recipe, "x.png").line()
        assert printable(made, 10**6) == made
        (item,) = items(Jobs(CFG, arguments_in_bash(made)[1:]))
        assert [[p.text, p.weight] for p in item.prompts] == recipe["prompts"]
        assert item.seed == 1


@pytest.mark.parametrize("text", [*NASTY, "", "plain", "\udce4\udcff"])
def test_quoted_is_one_argument_of_a_shell(text):
    script = f"printf %s {quote(text)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout == text.encode("utf-8", "surrogateescape")
    assert printable(quote(text), 10**6) == quote(text)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"script": "rm"}, 'the script "rm", not known here'),
        ({"model": "evil\x1b"}, r'the model "evil\x1b", not known here'),
        ({"method": "--overwrite"}, 'the method "--overwrite", not known here'),
        ({"schedule": "odd"}, 'the schedule "odd", not known here'),
        ({"dtype": "float8"}, 'the dtype "float8", not known here'),
        ({"prompts": [["a\0b", 3.0]]}, "no command line can hold"),
        ({"prompts": [["\ud800", 3.0]]}, "no command line can hold"),
        ({"script": MODIFY.name}, "does not name its init"),
    ],
)
def test_what_no_command_can_say_is_refused(wrong, words):
    with pytest.raises(UserError) as refused:
        command({**PLAIN, **wrong}, "x.png")
    assert words in str(refused.value)


def test_all_scripts_that_save_pngs_are_known():
    assert set(commands.SCRIPTS) == {script.name for script in PNGS}


# What makes that possible: no flags behind `--`.


@pytest.mark.parametrize("before", [[], ["--steps", "3"], ["a"], ["--images", "x.png"]])
def test_behind_two_dashes_all_are_prompts(before):
    said = parse(CFG, [*before, "--model", "emoji", "--", "-n", "--steps:2", "-o x"])
    assert [p.text for p in said["prompts"]][-3:] == ["-n", "--steps", "-o x"]
    assert "n" not in said


def test_behind_two_dashes_prompts_are_checked_alike():
    with pytest.raises(UserError, match="is empty"):
        parse(CFG, ["--", ":3"])
    with pytest.raises(UserError, match="name the photo"):
        Jobs(REVERSE, ["--model", "emoji", "--"])
    with pytest.raises(UserError, match="required"):
        parse(GRID, ["--nrow", "2", "--"])


def test_behind_two_dashes_there_may_be_all_photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.png").touch()
    assert parse(REVERSE, ["--model", "emoji", "--", "-x.png"])["photos"] == ["-x.png"]
