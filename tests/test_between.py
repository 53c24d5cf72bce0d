"""Animations between prompts, seeds and latents, and varied noise, as their users draw them."""

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffusion
from recipes import recipe as recipes

ROOT = Path(__file__).parent.parent
FAST = ("--model", "emoji", "--steps", "4", "--dtype", "float32", "--size", "32", "32")
MORPH = (*FAST, "--morph", "a cat:3", "a fox:3", "--frames", "4")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def frames(path):
    with Image.open(path) as image:
        found, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            found.append(np.asarray(image.convert("RGB")).astype(int))
            durations.append(image.info["duration"])
        return found, durations


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def draw(run, *argv):
    status, out, err = run(*argv)
    assert status == 0, err
    return out


# Between prompts.


def test_ends_are_what_plain_commands_draw_and_frames_do_not_depend_on_batches(
    cfg_sample,
):
    out = draw(cfg_sample, *MORPH, "an oil painting:1", "--negative", "blurry", "-o", "m.gif")
    assert out[-1] == "m.gif"
    assert names("m_frames") == [f"00{i}_of_004.png" for i in range(4)]
    rest = ("an oil painting:1", "--negative", "blurry")
    draw(cfg_sample, *FAST, "a cat:3", *rest, "-o", "cat.png")
    draw(cfg_sample, *FAST, "a fox:3", *rest, "-o", "fox.png")
    draw(cfg_sample, *FAST, "a cat:2", "a fox:1", *rest, "-o", "second.png")
    assert np.array_equal(pixels("m_frames/000_of_004.png"), pixels("cat.png"))
    assert np.array_equal(pixels("m_frames/001_of_004.png"), pixels("second.png"))
    assert np.array_equal(pixels("m_frames/003_of_004.png"), pixels("fox.png"))
    draw(cfg_sample, *MORPH, *rest, "-bs", 3, "-o", "batches.gif")
    for name in names("m_frames"):
        apart = abs(pixels(f"m_frames/{name}") - pixels(f"batches_frames/{name}"))
        assert apart.max() <= 1  # rounding depends on the shape of a batch
    apart = abs(pixels("cat.png") - pixels("fox.png")).mean()
    steps = [pixels(f"m_frames/{name}") for name in names("m_frames")]
    assert all(abs(a - b).mean() < apart for a, b in itertools.pairwise(steps))


@pytest.mark.parametrize(("kind", "at_once"), [("gif", 1), ("webp", 2), ("apng", 3)])
def test_animation_holds_its_frames_and_the_recipe_that_draws_it_again(
    cfg_sample, png_info, kind, at_once
):
    how = ("--dtype", "bfloat16", "-bs", at_once)  # which rounds otherwise in batches
    rest = ("a {red,blue} hat:1", "--seed", 3, "--fps", 20)
    draw(cfg_sample, *MORPH, *rest, *how, "-o", f"m.{kind}")
    shown, durations = frames(f"m.{kind}")
    assert durations == [50] * 4
    for i, frame in enumerate(shown):
        error = abs(frame - pixels(f"m_frames/00{i}_of_004.png")).mean()
        assert error < (1e-9 if kind == "apng" else 12)
    found = recipes.read(Path(f"m.{kind}"))
    assert found["morph"] == [["a cat", 3], ["a fox", 3]]
    assert (found["frames"], found["seed"]) == (4, 3)
    assert found["prompts"] in ([["a red hat", 1]], [["a blue hat", 1]])
    draw(cfg_sample, "--from-png", f"m.{kind}", "-o", f"again.{kind}", "--fps", 20)
    assert Path(f"again.{kind}").read_bytes() == Path(f"m.{kind}").read_bytes()
    for name in names("m_frames"):
        assert np.array_equal(pixels(f"m_frames/{name}"), pixels(f"again_frames/{name}"))
    assert ("frame_batches" in found) == (at_once > 1)
    [line] = draw(png_info, "--command", f"m.{kind}")
    draw(cfg_sample, *shlex.split(line)[1:])
    assert np.array_equal(frames(f"m_again.{kind}")[0], shown)


def test_a_frame_is_an_image_that_can_be_drawn_again_alone(cfg_sample):
    draw(cfg_sample, *MORPH, "--variation", "9:0-0.5", "-o", "m.gif")
    frame = Path("m_frames/002_of_004.png")
    found = recipes.read(frame)
    assert found["prompts"] == [["a cat", 1], ["a fox", 2]]
    assert "morph" not in found
    assert "frames" not in found
    draw(cfg_sample, "--from-png", frame, "-o", "alone.png")
    assert np.array_equal(pixels("alone.png"), pixels(frame))


def test_frames_are_pictures_where_a_picture_is_named(cfg_sample):
    out = draw(cfg_sample, *MORPH, "-o", "f/{frame:02}.webp", "--grid", "all.png")
    assert out == [*(f"f/{i:02}.webp" for i in range(4)), "all.png"]
    assert draw(cfg_sample, *MORPH, "-o", "g/")[-1] == "g/out_00003.png"


def test_each_seed_and_line_has_its_animation(cfg_sample):
    Path("jobs.txt").write_text(
        '--morph "a cat" "a fox" --frames 2 --seeds 4,9\n'
        '{"morph": ["a star", "a heart"], "frames": 3}\n'
    )
    common = ("--from-file", "jobs.txt", *FAST, "-bs", 4, "-o", "{line}_{index:02}.gif")
    status, out, _ = cfg_sample(*common, "--dry-run")
    assert (status, len(out)) == (0, 1 + 7)
    out = draw(cfg_sample, *common, "--results", "r.jsonl")
    assert {name for name in out if name.endswith("gif")} == {"1_00.gif", "1_01.gif", "2_02.gif"}
    lines = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert sorted((line["line"], line["seed"], line["frame"]) for line in lines) == [
        (1, 4, 0), (1, 4, 1), (1, 9, 0), (1, 9, 1), (2, 0, 0), (2, 0, 1), (2, 0, 2),
    ]  # fmt: skip
    assert recipes.read(Path("1_01.gif"))["seed"] == 9


def test_lines_of_a_stream_have_their_animations_as_they_come(cfg_sample, monkeypatch):
    import io

    text = b'--morph "a cat" "a fox"\n--morph "a star" "a cat" --seed 3\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    out = draw(cfg_sample, "--from-file", "-", *FAST, "--frames", 2, "-bs", 2, "-o", "{line}.gif")
    assert out[2] == "1.gif"
    assert out[-1] == "2.gif"


def test_what_is_there_is_kept_and_what_is_missing_is_drawn(cfg_sample):
    draw(cfg_sample, *MORPH, "-o", "m.apng")
    before = Path("m.apng").read_bytes()
    frame = Path("m_frames/001_of_004.png")
    status, _, err = cfg_sample(*MORPH, "-o", "m.apng")
    assert status == 2
    assert "m.apng already exists" in err
    frame.unlink()
    status, out, err = cfg_sample(*MORPH, "-o", "m.apng", "--skip-existing")
    assert (status, out) == (0, [])
    assert "nothing to draw" in err
    assert not frame.exists()  # the animation is finished
    Path("m.apng").unlink()
    assert draw(cfg_sample, *MORPH, "-o", "m.apng", "--skip-existing") == [str(frame), "m.apng"]
    assert Path("m.apng").read_bytes() == before
    Path("m.apng").unlink()
    assert draw(cfg_sample, *MORPH, "-o", "m.apng", "--skip-existing") == ["m.apng"]
    assert Path("m.apng").read_bytes() == before
    out = draw(cfg_sample, *MORPH, "--seed", 5, "-o", "m.apng", "--overwrite")
    assert (len(out), out[-1]) == (5, "m.apng")
    assert recipes.read(Path("m.apng"))["seed"] == 5


def test_shares_leave_the_animation_to_the_one_that_ends_last(cfg_sample):
    common = (*MORPH, "-bs", 2, "-o", "m.apng")
    assert "m.apng" not in draw(cfg_sample, *common, "--shard", "1/2")
    assert draw(cfg_sample, *common, "--shard", "2/2")[-1] == "m.apng"
    draw(cfg_sample, *MORPH, "-bs", 2, "-o", "one.apng")
    assert Path("m.apng").read_bytes() == Path("one.apng").read_bytes()


def test_a_killed_run_keeps_its_frames_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    slow = ("--model", "emoji", "--steps", "20", "--morph", "a cat", "a fox", "--frames", "12")
    command = [sys.executable, str(ROOT / "cfg_sample.py"), *slow, "-o", "m.gif", "--skip-existing"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list(Path().glob("m_frames/*.png")) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    there = {path: path.stat().st_mtime_ns for path in Path().glob("m_frames/*.png")}
    assert 0 < len(there) < 12
    assert not Path("m.gif").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert len(frames("m.gif")[0]) == 12
    assert all(path.stat().st_mtime_ns == time for path, time in there.items())


def test_steering_by_clip_moves_too(clip_sample):
    out = draw(clip_sample, *MORPH, "--cutn", 2, "--clip-model", "emoji", "-o", "m.gif")
    assert out[-1] == "m.gif"


# Varied noise.


def test_noise_turned_wholly_is_the_other_seeds_and_not_at_all_its_own(cfg_sample):
    common = (*FAST, "a cat", "--seed", 3)
    draw(cfg_sample, *common, "--sweep", "variation=7:0,7:0.2,7:1", "-o", "{index}.png")
    draw(cfg_sample, *common, "-o", "own.png")
    draw(cfg_sample, *FAST, "a cat", "--seed", 7, "-o", "other.png")
    assert np.array_equal(pixels("0.png"), pixels("own.png"))
    assert np.array_equal(pixels("2.png"), pixels("other.png"))
    between = pixels("1.png")
    assert 0 < abs(between - pixels("own.png")).mean() < abs(between - pixels("other.png")).mean()
    assert recipes.read(Path("1.png"))["variation"] == "7:0.2"
    assert "variation" not in recipes.read(Path("own.png"))
    draw(cfg_sample, "--from-png", "1.png", "-o", "again.png")
    assert np.array_equal(pixels("again.png"), between)
    draw(cfg_sample, "--from-png", "1.png", "--variation", "7:1", "-o", "one.png")
    assert np.array_equal(pixels("one.png"), pixels("other.png"))


def test_variation_holds_in_lines_in_batches_and_with_a_picture(cfg_sample):
    Path("jobs.txt").write_text(
        '"a cat" --variation 7:0.3\n{"prompts": "a cat", "variation": "7:0.6"}\n"a cat"\n'
    )
    draw(cfg_sample, "--from-file", "jobs.txt", *FAST, "-bs", 3, "-o", "{line}.png")
    for line, share in ((1, "7:0.3"), (2, "7:0.6"), (3, "7:0")):
        draw(cfg_sample, *FAST, "a cat", "--variation", share, "-o", f"alone{line}.png")
        assert abs(pixels(f"{line}.png") - pixels(f"alone{line}.png")).max() <= 1
    assert abs(pixels("1.png") - pixels("2.png")).max() > 1
    init = (*FAST, "a star", "--init", "3.png", "-st", 0.5)
    draw(cfg_sample, *init, "--seed", 2, "--variation", "7:1", "-o", "turned.png")
    draw(cfg_sample, *init, "--seed", 7, "-o", "seed7.png")
    assert np.array_equal(pixels("turned.png"), pixels("seed7.png"))


def test_animation_between_two_seeds(cfg_sample):
    draw(cfg_sample, *FAST, "a cat", "--variation", "7:0-1", "--frames", 3, "-o", "m.apng")
    draw(cfg_sample, *FAST, "a cat", "--seeds", "0,7", "-o", "{seed}.png")
    shown, _ = frames("m.apng")
    assert np.array_equal(shown[0], pixels("0.png"))
    assert np.array_equal(shown[-1], pixels("7.png"))
    found = recipes.read(Path("m.apng"))
    assert (found["variation"], found["frames"]) == ("7:0-1", 3)
    draw(cfg_sample, "--from-png", "m.apng", "-o", "again.apng")
    assert Path("again.apng").read_bytes() == Path("m.apng").read_bytes()


# Between latents.


@pytest.fixture
def latents(cfg_sample, reverse_sample):
    """Two pictures and the latents of each: a.png, a.safetensors, b.png and b.safetensors."""
    for name, seed in (("a", 1), ("b", 2)):
        draw(cfg_sample, *FAST, "a cat", "--seed", seed, "-o", f"{name}.png")
    draw(reverse_sample, "a.png", "b.png", *FAST, "-o", "{photo}.safetensors", "-bs", 2)


def test_one_photo_turns_into_another(cfg_sample, latents):
    draw(cfg_sample, "--morph", "a.safetensors", "b.safetensors", "--frames", 4, "-o", "m.apng")
    shown, _ = frames("m.apng")
    assert np.array_equal(shown[0], pixels("a.png"))
    assert np.array_equal(shown[-1], pixels("b.png"))
    assert all(abs(one - two).mean() > 1 for one, two in itertools.pairwise(shown))
    found = recipes.read(Path("m.apng"))
    assert (found["latent"], found["variation"]) == ("a.safetensors", "b.safetensors:0-1")
    draw(cfg_sample, "--from-png", "m.apng", "-o", "again.apng")
    assert Path("again.apng").read_bytes() == Path("m.apng").read_bytes()
    frame = "m_frames/001_of_004.png"
    status, _, err = cfg_sample("--from-png", frame, "-o", "alone.png")
    assert status == 0, err  # its latents lie in the current folder
    assert np.array_equal(pixels("alone.png"), shown[1])


def test_latents_between_are_as_long_as_their_ends(latents, cfg_sample, monkeypatch):
    seen = []
    real = diffusion.sample

    def sample(model, x, *rest, **more):
        seen.append(more["before"][1])
        return real(model, x, *rest, **more)

    monkeypatch.setattr(diffusion, "sample", sample)
    draw(cfg_sample, "--morph", "a.safetensors", "b.safetensors", "--frames", 3, "-o", "m.gif")
    norms = [float(x.norm()) for x in seen]
    assert norms[1] == pytest.approx((norms[0] + norms[2]) / 2)


def test_latents_and_prompts_move_together(latents, cfg_sample):
    common = ("--latent", "a.safetensors", "-o")
    draw(
        cfg_sample, *common, "m.apng", "--variation", "b.safetensors:0-1",
        "--morph", "a star", "a heart", "--frames", 3,
    )  # fmt: skip
    draw(cfg_sample, "--latent", "b.safetensors", "a heart", "-o", "end.png")
    draw(cfg_sample, *common, "half.png", "--variation", "b.safetensors:0.5", "a star:1.5",
         "a heart:1.5")  # fmt: skip
    shown, _ = frames("m.apng")
    assert np.array_equal(shown[-1], pixels("end.png"))
    assert np.array_equal(shown[1], pixels("half.png"))


def test_latents_that_no_way_joins_are_refused(latents, cfg_sample, reverse_sample):
    draw(reverse_sample, "b.png", *FAST, "-mt", 0.8, "-o", "near.safetensors")
    draw(reverse_sample, "b.png", *FAST[:-3], "--size", 64, "-o", "large.safetensors")
    draw(reverse_sample, "b.png", *FAST, "--steps", 6, "-o", "steps.safetensors")
    draw(reverse_sample, "b.png", *FAST, "--method", "ddim", "-o", "ddim.safetensors")
    draw(reverse_sample, "b.png", *FAST, "--normalise-latent", "-o", "normal.safetensors")
    draw(reverse_sample, "b.png", "a cat:1", *FAST, "-o", "cat.safetensors")
    wrong = {
        "near": "different timesteps, 1 and 0.8",
        "large": "different sizes, 32 x 32 and 64 x 64",
        "steps": "different timesteps: say which",
        "ddim": "one holds two states",
        "normal": "one holds two states",
        "cat": "under different prompts: give prompts, or --morph",
    }
    for name, message in wrong.items():
        status, _, err = cfg_sample(
            "--morph", "a.safetensors", f"{name}.safetensors", "-o", "m.gif"
        )
        assert status == 2, name
        assert message in err
        assert len(err.splitlines()) == 1
    status, _, err = cfg_sample("--latent", "a.safetensors", "--variation", "7:0.5")
    assert status == 2
    assert "turned towards another: FILE.safetensors:SHARE" in err
    status, _, err = cfg_sample(*FAST, "--variation", "b.safetensors:0.5")
    assert status == 2
    assert "give --latent FILE, too" in err
    morph = ("--morph", "a.safetensors", "steps.safetensors", "--frames", 2, "-o", "m.gif")
    assert draw(cfg_sample, *morph, "--steps", 5)[-1] == "m.gif"
