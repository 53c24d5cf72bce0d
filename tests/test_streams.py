"""Jobs from a program or from a person: each is drawn, and told, before the next is asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import job_stream
from tests.terminal import Terminal

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, str(ROOT / "cfg_sample.py"), "--model", "emoji", "--steps", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(folder, *flags):
    pipe = subprocess.PIPE
    how = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "text": True, "env": ENVIRONMENT}
    return subprocess.Popen([*COMMAND, *flags], cwd=folder, **how)


def feed(run, line):
    run.stdin.write(line + "\n")
    run.stdin.flush()


@pytest.mark.slow
def test_an_image_is_finished_before_the_next_line_is_asked_for(tmp_path):
    run = start(tmp_path, "--from-file", "-", "-o", "{line}_{seed}.png")
    feed(run, "a red heart on a blue background")
    assert run.stdout.readline() == "1_0.png\n"
    assert (tmp_path / "1_0.png").stat().st_size > 1000
    feed(run, '"a cat:2" "a fox" --seed 4 -n 2')
    assert [run.stdout.readline() for _ in range(2)] == ["2_4.png\n", "2_5.png\n"]
    feed(run, "a cat on a mat --steps 0")
    out, err = run.communicate(timeout=1000)
    assert (run.returncode, out) == (2, "")
    first, second, error = err.splitlines()
    assert first == 'line 1: "a red heart on a blue background:3"'
    assert second == 'line 2: "a cat:2" "a fox:3"'
    assert error.startswith("cfg_sample.py: error: -, line 3, column 24: argument --steps")


def test_a_file_that_exists_or_comes_twice_stops_a_stream_there(cfg_sample, monkeypatch):
    flags = ("--model", "emoji", "--steps", "2", "--from-file", "-", "-o", "{seed}.png")
    lines = ["cat --seed 1\n", "dog --seed 2\n", "bee --seed 1\n"]
    monkeypatch.setattr("jobs.job_stream.lines_of", lambda file: iter(lines))
    status, out, err = cfg_sample(*flags)
    assert (status, out) == (2, ["1.png", "2.png"])
    assert "two images would be saved under one name, such as 1.png" in err.splitlines()[-1]
    status, out, err = cfg_sample(*flags)
    assert (status, out) == (2, [])
    assert "1.png already exists" in err
    Path("1.png").unlink()
    lines.pop()
    assert cfg_sample(*flags, "--skip-existing")[:2] == (0, ["1.png"])


def test_images_of_lines_that_come_share_batches_as_those_of_a_file(cfg_sample, monkeypatch):
    flags = ("--model", "emoji", "--steps", "2", "-bs", "2", "--json")
    lines = ["cat\n", "dog --steps 1\n", "bee -n 2\n"]
    Path("jobs.txt").write_text("".join(lines))
    monkeypatch.setattr("jobs.job_stream.lines_of", lambda file: iter(lines))
    pictures = []
    for file in ("jobs.txt", "-"):
        name = f"{len(pictures)}_{{index}}.png"
        assert cfg_sample(*flags, "--from-file", file, "-o", name)[0] == 0
        pictures.append([Path(name.format(index=i)).read_bytes() for i in range(4)])
    assert pictures[0] == pictures[1]


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path, ENVIRONMENT)
    yield terminal
    terminal.close()


@pytest.mark.slow
def test_who_types_a_prompt_sees_the_name_of_its_file(terminal, tmp_path):
    cache = tmp_path / "cache"
    terminal.run([*COMMAND, "--interactive"], V_DIFFUSION_CACHE=str(cache))
    terminal.wait_for("Ctrl-D ends")
    terminal.wait_for("> ")
    terminal.type("a red apple\n")
    terminal.wait_for("out_00000.png")
    terminal.wait_for("> ")
    terminal.type("a cat --steps 0\n")
    assert "Traceback" not in terminal.wait_for("error: argument --steps")
    terminal.wait_for("> ")
    terminal.type("\x1b[A\x1b[A\n")  # up, up: the apple again
    terminal.wait_for("out_00001.png")
    terminal.wait_for("> ")
    terminal.type("\x04")
    terminal.wait_for("ended with 0")
    names = {"out_00000.png", "out_00001.png"}
    assert set(os.listdir(tmp_path)) - {"cache"} == names
    said = (cache / "history" / "prompts").read_text().splitlines()
    assert said == ["a red apple", "a cat --steps 0", "a red apple"]


@pytest.mark.parametrize("end", ["exit", "quit"])
def test_words_that_end_other_prompts_end_this_one(end, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("V_DIFFUSION_CACHE", str(tmp_path))
    typed = iter(["?", "a cat", end, "a dog"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    assert list(job_stream.typed_lines()) == ["a cat\n"]
    assert "a line is a prompt" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_at_the_prompt_ends_it(terminal):
    terminal.run([*COMMAND, "--interactive"])
    terminal.wait_for("> ")
    terminal.type("\x03")
    assert "Traceback" not in terminal.wait_for("ready> ", again="\x03")
