"""How scripts end: errors in a line, statuses, and leaving at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import checkpoints
from runner import exit as runner_exit
from values.errors import UserError


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("no such thing"), 2, "error: no such thing"),
        (checkpoints.CheckpointError("broken"), 2, "error: broken"),
        (KeyboardInterrupt(), 130, "finished images are kept"),
        (torch.OutOfMemoryError("CUDA"), 1, "lower --batch-size"),
        (MemoryError(), 1, "lower --batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "lower --batch-size"),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(error, status, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/somewhere/draw.py"])
    monkeypatch.setattr(runner_exit.os, "dup2", lambda *_: None)

    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        runner_exit.script(main)
    err = capsys.readouterr().err
    assert stop.value.code == status
    assert message in err
    assert err.count("\n") <= 1
    assert not err or err.startswith("draw.py: ")


ROOT = Path(__file__).parents[2]
PROGRAM = """
import atexit, sys
from values import errors
from runner.exit import program

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()

def main():
    atexit.register(print, "tidied up")
    print("drawn")
    END

program(main)
"""


@pytest.mark.parametrize(
    ("end", "status", "message"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('no')", 1, "no\n"),
        ("raise errors.UserError('wrong')", 2, "error: wrong\n"),
        ("raise RuntimeError('a bug')", 1, "RuntimeError: a bug\n"),
    ],
)
def test_a_program_leaves_at_once_with_its_status_and_all_it_printed(end, status, message):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("END", end)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert done.stdout.splitlines() == ["drawn", "tidied up"]
    assert done.stderr.endswith(message)


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="pipes do not tell what is one write")
def test_a_line_is_one_write_where_python_buffers_nothing():
    """As torchrun has it, whose processes write to one pipe."""
    program = PROGRAM.replace("END", "print('a note', file=sys.stderr)")
    read, write = os.pipe2(os.O_DIRECT)  # each read returns what one write wrote
    command = [sys.executable, "-u", "-c", program]
    assert subprocess.run(command, cwd=ROOT, stdout=write, stderr=write).returncode == 0
    os.close(write)
    written = list(iter(lambda: os.read(read, 4096), b""))
    os.close(read)
    assert written == [b"drawn\n", b"a note\n", b"tidied up\n"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_output_that_is_lost_is_no_success():
    program = PROGRAM.replace("END", "sys.exit()")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=full)
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_help_that_is_lost_is_no_success():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "png_info.py", "--help"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.DEVNULL)
    assert done.returncode == 1


def test_a_bug_of_ours_is_not_hidden():
    def main():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        runner_exit.script(main)
