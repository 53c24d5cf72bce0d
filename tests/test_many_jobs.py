"""Many jobs in one process and in several, as their users run them, whatever breaks meanwhile."""

import contextlib
import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch
from PIL import Image

from recipes import recipe as recipes
from runner.batch import Batch
from runner.workers import Worker

ROOT = Path(__file__).parent.parent
JOBS = """
"a red heart:3" "blue:1" --seed 7 -n 3
{"prompts": ["a {cat,dog}"], "seeds": "1-6", "n": null}
"a star" --steps 3 -n 2
"a fox" --size 32 32
"""
COUNT = 12
# A process draws to the bit as another with as many threads.
FLAGS = ("--model", "emoji", "--steps", "2", "--dtype", "float32", "-bs", "2", "--threads", "1")
NAMES = "out/{line:03}_{seed:03}.png"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("jobs.txt").write_text(JOBS)


def command(*flags, workers=0, restarts=0):
    run = [sys.executable]
    if workers:
        run += ["-m", "torch.distributed.run", f"--nproc-per-node={workers}", "--standalone"]
        run += [f"--max-restarts={restarts}", "--monitor-interval=0.1"]
    return [*run, str(ROOT / "cfg_sample.py"), *FLAGS, *map(str, flags)]


@pytest.fixture
def cfg_sample(script):
    """A run in this process, with as many threads as the others have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    main = script("cfg_sample")
    yield lambda *flags: main(*FLAGS, *flags)
    torch.set_num_threads(threads)


def process(*flags, **how):
    """A run in a process of its own, or by torchrun."""
    done = subprocess.run(command(*flags, **how), capture_output=True, text=True, timeout=1000)
    return done.returncode, done.stdout.splitlines(), done.stderr


def drawn(folder="out"):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture
def pictures(cfg_sample):
    """A function (flags) -> what one process draws."""

    def draw(*flags):
        names = NAMES.replace("out/", "alone/")
        status, _, err = cfg_sample("--from-file", "jobs.txt", "-o", names, *flags)
        assert status == 0, err
        return drawn("alone")

    return draw


# Batches.


@pytest.mark.slow
def test_jobs_of_many_lines_are_drawn_as_each_by_itself(script, pictures):
    together, draw = pictures(), script("cfg_sample")
    assert len(together) == COUNT
    for name in ("002_008.png", "003_004.png", "004_001.png", "005_000.png"):
        assert draw("--from-png", f"alone/{name}", "-o", f"again/{name}")[0] == 0
        first, again = (recipes.read(Path(folder) / name) for folder in ("alone", "again"))
        assert {**first, "index": 0} == {**again, "index": 0}
        with Image.open(f"alone/{name}") as one, Image.open(f"again/{name}") as other:
            assert one.tobytes() == other.tobytes()
    texts = {tuple(recipes.read(f"alone/003_00{i}.png")["prompts"][0]) for i in range(1, 7)}
    assert texts == {("a cat", 3), ("a dog", 3)}


@pytest.mark.slow
def test_lines_of_results_say_what_was_drawn(cfg_sample):
    flags = ("--from-file", "jobs.txt", "-o", NAMES, "--results", "r.jsonl")
    began = time.monotonic()
    status, out, _ = cfg_sample(*flags, "--json")
    took = time.monotonic() - began
    assert status == 0
    lines = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert lines == [json.loads(line) for line in out]
    assert {line["file"] for line in lines} == {f"out/{name}" for name in drawn()}
    for line in lines:
        recipe = recipes.read(line["file"])
        for field in ("seed", "prompts", "steps", "method", "model"):
            assert line[field] == recipe[field]
        assert line["evaluations"] == line["steps"]
        assert line["seconds"] > 0
    assert sum(line["seconds"] for line in lines) < took
    # An image whose line was lost gets one, and no other gets two.
    Path("r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[1:]))
    os.remove(lines[-1]["file"])
    assert cfg_sample(*flags, "--skip-existing")[0] == 0
    again = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert [line["file"] for line in again[COUNT - 1 :]] == [lines[0]["file"], lines[-1]["file"]]


@pytest.mark.slow
def test_run_keeps_going_past_what_fails_and_says_so(cfg_sample):
    Path("jobs.txt").write_text("cat\ndog --steps 0\n'fox:1e38' 'bee:-1e38'\nowl\n")
    flags = ("--from-file", "jobs.txt", "-o", NAMES)
    status, out, err = cfg_sample(*flags)
    assert (status, out, len(err.splitlines())) == (2, [], 1)
    status, out, err = cfg_sample(*flags, "--keep-going")
    assert status == 3
    assert out == ["out/001_000.png", "out/004_000.png"]
    left_out = [line for line in err.splitlines() if "left out" in line]
    assert "line 2, column 13" in left_out[0]
    assert "line 3, seed 0: the model returned NaN" in left_out[1]
    assert left_out[-1].endswith("1 image and 1 line of the job file were left out")


def test_dry_run_says_what_would_be_drawn(script):
    cfg_sample = script("cfg_sample")
    Path("jobs.txt").write_text(JOBS)
    status, out, err = cfg_sample(
        *FLAGS, "--from-file", "jobs.txt", "-o", NAMES, "--dry-run", "--shard", "1/2"
    )
    assert status == 0
    header, *rows = [line.split("\t") for line in out]
    assert header == ["batch", "file", "seed", "steps", "method", "prompts", "from", "by"]
    assert [row[:3] for row in rows[:2]] == [
        ["0", "out/002_007.png", "7"],
        ["0", "out/002_008.png", "8"],
    ]
    assert rows[0][3:] == ["2", "ab23", "a red heart:3  blue:1", "", ""]
    assert f"{len(rows)} images" in err
    assert not Path("out").exists()


def test_dry_run_tells_what_is_swept(script):
    sweep = ("--sweep", "eta=0,0.5", "weight=1,2", "steps=2,3", "--method", "ddim")
    status, out, _ = script("cfg_sample")("a cat", "--model", "emoji", *sweep, "--dry-run")
    assert status == 0
    told = [line.split("\t")[3::2] for line in out[1:]]  # steps, prompts, by
    assert told[:3] == [
        ["2", "a cat:1", "--eta 0 --weight 1"],
        ["3", "a cat:1", "--eta 0 --weight 1"],
        ["2", "a cat:2", "--eta 0 --weight 2"],
    ]


def test_jobs_of_standard_input_leave_no_copy(tmp_path):
    tmp_path.joinpath("temporary").mkdir()
    done = subprocess.run(
        [sys.executable, ROOT / "cfg_sample.py", *FLAGS, "--from-file", "-", "--dry-run"],
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        input="cat\ndog\n",
        capture_output=True,
        text=True,
    )
    assert len(done.stdout.splitlines()) == 1 + 2, done.stderr
    assert not os.listdir("temporary")


# Several processes.


@pytest.mark.slow
def test_several_workers_draw_the_same_files_as_one_process(pictures):
    flags = ("--from-file", "jobs.txt", "-o", NAMES, "--results", "r.jsonl")
    status, out, err = process(*flags, workers=2)
    assert status == 0, err
    assert drawn() == pictures()
    assert len(out) == COUNT
    assert len(Path("r.jsonl").read_text().splitlines()) == COUNT


@pytest.mark.slow
def test_shards_are_the_run(cfg_sample, pictures):
    expected = pictures()
    for i in (1, 2, 3):
        status, _, err = cfg_sample("--from-file", "jobs.txt", "-o", NAMES, "--shard", f"{i}/3")
        assert status == 0, err
    assert drawn() == expected


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (("jobs.txt", "--skip-existing"), 0, "nothing to draw: all files exist"),
        (("-",), 2, "give a file"),
    ],
)
def test_worker_that_has_nothing_to_do_ends_in_a_line(script, monkeypatch, flags, status, message):
    worker = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    for name, value in worker.items():
        monkeypatch.setenv(name, value)
    Path("jobs.txt").write_text("cat\n")
    Path("out").mkdir()
    Path("out/001_000.png").write_bytes(b"drawn")
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setattr("runner.workers.find", lambda _: Worker(worker))
    found = script("cfg_sample")(*FLAGS, "--from-file", *flags, "-o", NAMES)
    assert found[0] == status
    assert message in found[2]
    assert len(found[2].splitlines()) == 1


def test_workers_must_be_told_the_names_of_files(script, monkeypatch):
    worker = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    for name, value in worker.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("runner.workers.find", lambda _: Worker(worker))
    status, _, err = script("cfg_sample")(*FLAGS, "--from-file", "jobs.txt")
    assert status == 2
    assert "name its files with --output" in err


@pytest.mark.slow
def test_workers_refuse_what_one_process_refuses():
    Path("out").mkdir()
    Path("out/004_001.png").touch()
    status, _, err = process("--from-file", "jobs.txt", "-o", NAMES, workers=2)
    assert status != 0
    assert "already exists" in err
    # torchrun ends the others when the first one has failed, perhaps before they have said so.
    assert re.search(r"\[[01]\] cfg_sample.py: error", err)
    assert drawn() == {"004_001.png": b""}


@pytest.mark.slow
def test_failed_image_stops_no_worker_that_keeps_going():
    Path("jobs.txt").write_text("cat\n'fox:1e38' 'bee:-1e38'\nowl\nstar\nbee\n")
    status, out, err = process(
        "--from-file", "jobs.txt", "-o", NAMES, "--keep-going", "-bs", 1, workers=2
    )
    assert status != 0
    assert sorted(out) == [f"out/00{i}_000.png" for i in (1, 3, 4, 5)]
    assert "1 image was left out" in err


# What breaks.


KILLED = 3  # times torchrun starts workers that do not live for long
MORTAL = f"""
import os, random, runpy, signal, sys

life, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
left = random.Random(f"{{life}} {{rank}}").randrange(24)  # four are an image


def die():
    with open("deaths", "a") as file:
        print(life, file=file)
    os.kill(os.getpid(), signal.SIGKILL)


def look(event, arguments):
    global left
    if event in ("open", "os.link", "os.remove"):
        if str(arguments[0]).startswith(("out/", "r.jsonl")):
            left -= 1
            if left < 0:
                die()


if life < {KILLED}:
    if life % 3 == 2 and rank == 1:
        die()
    sys.addaudithook(look)
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_workers_killed_again_and_again_leave_every_image_once_and_whole(pictures):
    """Each before or after some change of a file, or while it starts."""
    flags = ("--from-file", "jobs.txt", "-o", NAMES, "--results", "r.jsonl", "-n", "10")
    Path("jobs.txt").write_text("cat\nstar\n'a {red,blue} heart'\n'fox' --steps 3\n")
    Path("mortal.py").write_text(MORTAL)
    Path("out").mkdir()
    run = command(*flags, workers=2, restarts=KILLED)
    run.insert(run.index(str(ROOT / "cfg_sample.py")), "mortal.py")
    done = subprocess.run(run, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {int(life) for life in Path("deaths").read_text().split()} == set(range(KILLED))
    expected = pictures("-n", "10")
    assert {name: data for name, data in drawn().items() if name[0] != "."} == expected
    files = [json.loads(line)["file"] for line in Path("r.jsonl").read_text().splitlines()]
    assert sorted(files) == sorted(f"out/{name}" for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_is_finished_by_the_same_command(stop, cfg_sample, pictures):
    flags = ("--from-file", "jobs.txt", "-o", NAMES, "-n", "20", "--skip-existing")
    Path("jobs.txt").write_text("cat\nstar\n'a {red,blue} heart'\n")
    run = subprocess.Popen(
        command(*flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(3):
        run.stdout.readline()
    run.send_signal(stop)
    _, err = run.communicate(timeout=1000)
    assert run.returncode == -stop
    assert "finished images are kept" in err
    assert len(err.splitlines()) == 2  # and the first line of the job file
    assert 3 <= len(drawn()) < 60
    assert not [name for name in drawn() if name.endswith(".part")]
    assert cfg_sample(*flags)[0] == 0
    assert drawn() == pictures("-n", "20")


@pytest.mark.slow
def test_two_runs_of_one_command_at_once_make_every_image_whole(pictures):
    flags = ("--from-file", "jobs.txt", "-o", NAMES, "--skip-existing", "--results", "r.jsonl")
    runs = [subprocess.Popen(command(*flags)) for _ in range(2)]
    assert [run.wait(timeout=1000) for run in runs] == [0, 0]
    assert drawn() == pictures()
    files = [json.loads(line)["file"] for line in Path("r.jsonl").read_text().splitlines()]
    assert sorted(files) == sorted(f"out/{name}" for name in drawn())


@contextlib.contextmanager
def small_disk(options):
    """`out` as a file system of its own, or the test is skipped where one may not mount any."""
    Path("out").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", "out"]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "out"], check=True)


@pytest.mark.slow
def test_full_disk_leaves_whole_files_and_the_run_goes_on_when_there_is_room(pictures):
    flags = ("--from-file", "jobs.txt", "-o", NAMES, "--skip-existing")
    expected = pictures()
    with small_disk("size=48k"):
        status, out, err = process(*flags)
        assert status == 1
        assert "cannot be written: No space left on device" in err.splitlines()[-1]
        whole = drawn()
        assert 0 < len(whole) < COUNT
        assert sorted(out) == sorted(f"out/{name}" for name in whole)
        assert all(expected[name] == data for name, data in whole.items())
        subprocess.run(["mount", "-o", "remount,size=4m", "out"], check=True)
        assert process(*flags)[0] == 0
        assert drawn() == expected


def test_folder_that_is_only_read_is_refused_before_any_work():
    with small_disk("ro"):
        status, out, err = process("--from-file", "jobs.txt", "-o", NAMES)
    assert (status, out) == (2, [])
    assert "cannot be written to" in err
    assert len(err.splitlines()) == 1


def test_a_batch_that_is_saved_is_let_go_of(cfg_sample, monkeypatch):
    """Its images go with the last reference to it, not when the garbage collector comes by."""
    alive, most, begin = weakref.WeakSet(), [], Batch.__init__

    def counted(batch, *args):
        begin(batch, *args)
        alive.add(batch)
        most.append(len(alive))

    monkeypatch.setattr(Batch, "__init__", counted)
    gc.disable()
    try:
        assert cfg_sample("cat", *FLAGS, "--size", 16, 16, "-n", 20)[0] == 0
    finally:
        gc.enable()
    assert len(most) == 10
    assert max(most) <= 3  # one that is saved, the next one, and the loop variable's
