"""Many photos in a run of reverse_sample.py or cfg_modify_image.py: files of jobs, shares."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

ROOT = Path(__file__).parent.parent
FAST = ("--model", "emoji", "--steps", "3", "--dtype", "float32", "--size", "16", "16")
EDITS = ("--from-file", "jobs.txt", *FAST, "-o", "out/{line}.png")
LATENTS = ("--from-file", "jobs.txt", *FAST, "-o", "out/{line}_{photo}.safetensors")
BOTH = {"cfg_modify_image": EDITS, "reverse_sample": LATENTS}
# torchrun gives each process one thread.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def jobs(script, tmp_path):
    """Four photos, and a job for each with prompts of its own, in the folder of the test."""
    for i, colour in enumerate([(220, 30, 30), (30, 220, 30), (30, 30, 220), (220, 220, 30)]):
        image = Image.new("RGB", (16, 16), (40, 60, 200))
        ImageDraw.Draw(image).ellipse((4 + i, 4, 12, 12), fill=colour)
        image.save(tmp_path / f"p{i}.png")
    lines = [
        "'p0.png' 'a red apple:2'",
        "'p1.png' 'a leaf:1.5'",
        "'p2.png' sea",
        "'p3.png' sun:1.2",
    ]
    Path("jobs.txt").write_text("".join(f"{line}\n" for line in lines))


def contents():
    """The pixels or the latents of each file in `out`, by name."""
    return {path.name: content(path) for path in sorted(Path("out").iterdir())}


def content(path):
    if path.suffix == ".safetensors":
        return load_file(path)["latents"].numpy()
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def draw(script, name, *flags):
    """Draws into `out` anew; what is then in it."""
    for path in Path("out").glob("*"):
        path.unlink()
    status, _, err = script(name)(*BOTH[name], *flags)
    assert status == 0, err
    return contents()


def equal(found, expected):
    assert found.keys() == expected.keys()
    return all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", BOTH)
def test_photos_of_many_lines_are_drawn_together_as_one_by_one(script, name):
    alone = draw(script, name)
    assert len(alone) == 4
    together = draw(script, name, "-bs", 4)
    most = 1 if name == "cfg_modify_image" else 1e-3  # grey levels, or noise of deviation 1
    for file in alone:
        assert abs(alone[file] - together[file]).max() <= most
    assert equal(draw(script, name, "-bs", 4), together)


@pytest.mark.parametrize("name", BOTH)
def test_neighbours_in_a_batch_change_no_bit(script, name):
    """Where a batch has the same shape, whatever else is in it."""
    before = draw(script, name, "-bs", 2)
    lines = Path("jobs.txt").read_text().splitlines()
    Path("jobs.txt").write_text("\n".join([lines[0], lines[2], lines[1], lines[3]]))
    after = draw(script, name, "-bs", 2)
    first = min(before)
    assert np.array_equal(before[first], after[first])


@pytest.mark.parametrize("way", [(), ("--direct",)], ids=["by latents", "directly"])
def test_edits_with_and_without_a_source_share_a_batch(script, way):
    lines = ["p0.png sea:1 --source cat", "'p1.png' sun:1", "p2.png sun:1 --source fox"]
    Path("jobs.txt").write_text("\n".join(lines))
    alone = draw(script, "cfg_modify_image", *way)
    together = draw(script, "cfg_modify_image", "-bs", 3, *way)
    assert all(abs(alone[file] - together[file]).max() <= 1 for file in alone)
    assert abs(alone["2.png"] - content(Path("p1.png"))).mean() > 1


@pytest.mark.parametrize("way", [(), ("--direct",)], ids=["by latents", "directly"])
def test_edit_of_a_batch_is_drawn_from_its_png_to_the_bit(script, way):
    found = draw(script, "cfg_modify_image", "-bs", 2, "--mask", "mask.png", *way)
    status, _, err = script("cfg_modify_image")("--from-png", "out/2.png", "-o", "again.png")
    assert status == 0, err
    assert np.array_equal(content(Path("again.png")), found["2.png"])


@pytest.fixture(autouse=True)
def mask(jobs):
    mask = Image.new("L", (16, 16), 0)
    ImageDraw.Draw(mask).rectangle((4, 4, 12, 12), fill=255)
    mask.save("mask.png")


@pytest.mark.parametrize("name", BOTH)
def test_each_finished_image_is_a_line_of_results(script, name):
    draw(script, name, "-bs", 2, "--results", "r.jsonl")
    lines = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert [line["line"] for line in lines] == [1, 2, 3, 4]
    assert sorted(line["file"] for line in lines) == sorted(f"out/{n}" for n in contents())
    assert [line["prompts"] for line in lines][1] == [["a leaf", 1.5]]
    assert all(line["evaluations"] > 0 for line in lines)


@pytest.mark.parametrize("name", BOTH)
def test_run_goes_on_where_it_was(script, name):
    expected = draw(script, name, "-bs", 2)
    files = sorted(Path("out").iterdir())
    for path in files[1:3]:
        path.unlink()
    before = files[0].stat().st_mtime_ns
    status, out, err = script(name)(*BOTH[name], "-bs", "2", "--skip-existing")
    assert (status, out) == (0, [str(path) for path in files[1:3]]), err
    assert files[0].stat().st_mtime_ns == before
    assert equal(contents(), expected)
    status, out, err = script(name)(*BOTH[name], "-bs", "2", "--skip-existing")
    assert (status, out) == (0, [])
    assert "nothing to draw" in err
    assert script(name)(*BOTH[name])[0] == 2


@pytest.mark.parametrize("name", BOTH)
def test_shares_are_the_whole(script, name):
    expected = draw(script, name, "-bs", 2)
    assert len(draw(script, name, "-bs", 2, "--shard", "1/2")) == 2
    status, out, _ = script(name)(*BOTH[name], "-bs", 2, "--shard", "2/2")
    assert (status, len(out)) == (0, 2)
    assert equal(contents(), expected)


@pytest.mark.parametrize("name", BOTH)
def test_line_that_fails_is_left_out(script, name):
    Path("text.png").write_text("no image")
    with open("jobs.txt", "a") as file:
        file.write("'text.png' sun\n'p0.png' 'a:1e38' 'b:-1e38'\n")
    status, out, err = script(name)(*BOTH[name])
    assert (status, out) == (2, [])
    assert "line 5" in err
    status, out, err = script(name)(*BOTH[name], "-bs", 4, "--keep-going")
    assert (status, len(out), len(contents())) == (3, 4, 4), err
    assert "left out: jobs.txt, line 5" in err
    assert "left out: line 6, seed 0" in err
    assert "1 image and 1 line of the job file were left out" in err


def test_results_say_what_was_swept(script):
    flags = (*FAST, "--sweep", "strength=0.5,1", "method=ddim,plms", "-o", "{index}.png")
    status, _, err = script("cfg_modify_image")("p0.png", "a leaf", *flags, "--results", "r.jsonl")
    assert status == 0, err
    lines = map(json.loads, Path("r.jsonl").read_text().splitlines())
    found = [(line["strength"], line["method"]) for line in lines]
    assert found == [(0.5, "ddim"), (0.5, "plms"), (1.0, "ddim"), (1.0, "plms")]


def test_strength_of_an_edit_is_swept_onto_a_grid(script):
    flags = (*FAST, "--sweep", "strength=0.3,0.6,1", "-o", "{index}.png", "--grid", "grid.png")
    status, out, err = script("cfg_modify_image")("p0.png", "a leaf", *flags)
    assert (status, out) == (0, ["0.png", "1.png", "2.png", "grid.png"]), err
    photo = content(Path("p0.png"))
    changes = [abs(content(Path(f"{i}.png")) - photo).mean() for i in range(3)]
    assert changes[0] < changes[1] < changes[2]
    assert content(Path("grid.png")).shape[1] >= 3 * 16
    argv = ("p0.png", "a leaf", *FAST, "--strength", "0.6", "-o", "x.png")
    assert script("cfg_modify_image")(*argv)[0] == 0
    assert np.array_equal(content(Path("x.png")), content(Path("1.png")))


def test_grid_of_edits_of_several_photos(script):
    draw(script, "cfg_modify_image", "--grid", "grid.png")
    assert content(Path("grid.png")).shape[:2] == (32, 32)


def test_timesteps_of_a_way_to_latents_are_swept(script):
    flags = (
        *FAST,
        "--sweep",
        "max_timestep=0.5,1",
        "method=ddim,exact",
        "-o",
        "{index}.safetensors",
    )
    status, out, err = script("reverse_sample")("p0.png", *flags)
    assert (status, out) == (0, [f"{i}.safetensors" for i in range(4)]), err
    parts = [torch.from_numpy(content(Path(name))) for name in out]
    assert not torch.equal(parts[0], parts[2])


def test_lines_are_prompts_for_the_photo_of_the_command_line(script):
    Path("jobs.txt").write_text("a leaf\nthe sea:1\n")
    status, out, err = script("cfg_modify_image")("p0.png", *EDITS, "-bs", 2)
    assert (status, out) == (0, ["out/1.png", "out/2.png"]), err
    argv = ("p0.png", "the sea:1", *FAST, "-o", "x.png")
    assert script("cfg_modify_image")(*argv)[0] == 0
    assert abs(content(Path("x.png")) - contents()["2.png"]).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
def test_processes_of_torchrun_share_the_photos(script, name):
    expected = draw(script, name, "-bs", 2)
    for path in Path("out").iterdir():
        path.unlink()
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    run += [str(ROOT / f"{name}.py"), *BOTH[name], "-bs", "2"]
    done = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(done.stdout.splitlines()) == sorted(f"out/{file}" for file in expected)
    assert equal(contents(), expected)
