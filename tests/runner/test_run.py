import io
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cli import settle
from cli.errors import UserError
from models import checkpoints
from runner import run, workers


class Terminal(io.StringIO):
    def isatty(self):
        return True


def draw(n, batch_size, sample, save=None):
    """Draws images 0, 1, ...; they are "saved" as their numbers on stdout."""
    items = list(range(n))
    parts = [items[i : i + batch_size] for i in range(0, n, batch_size)]
    batches = (run.Batch(part, list(range(len(part)))) for part in parts)

    def tell(batch, drawn, say):
        for item in batch.items:
            say(item)

    run.draw(batches, n, sample, save or tell, workers.Alone())


def grey(batch, callback):
    for i in range(3):
        callback((i + 1) / 3)
    return torch.zeros(len(batch.items), 3, 8, 8)


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"), [(5, 2, [2, 2, 1]), (2, 8, [2]), (1, 1, [1])]
)
def test_images_are_drawn_in_batches_and_saved_in_order(n, batch_size, sizes, capsys):
    drawn = []
    draw(n, batch_size, lambda batch, say: drawn.append(len(batch.items)) or grey(batch, say))
    assert drawn == sizes
    assert capsys.readouterr().out.split() == [str(i) for i in range(n)]


def test_batch_is_saved_while_the_next_is_drawn():
    next_is_drawn, drawn, saved = threading.Event(), [], []

    def wait(batch, images, say):
        assert batch.items[0] or next_is_drawn.wait(60)
        saved.append(batch.items[0])

    def sample(batch, callback):
        drawn.append(batch)
        if len(drawn) == 2:
            next_is_drawn.set()
        return grey(batch, callback)

    draw(3, 1, sample, wait)
    assert saved == [0, 1, 2]


def test_what_was_drawn_is_saved_when_the_next_batch_fails(capsys):
    def sample(batch, callback):
        if batch.items[0] == 2:
            raise KeyboardInterrupt
        return grey(batch, callback)

    with pytest.raises(KeyboardInterrupt):
        draw(3, 1, sample)
    assert capsys.readouterr().out.split() == ["0", "1"]


def test_image_that_cannot_be_saved_stops_the_run():
    drawn = []

    def fail(*_):
        raise UserError("no room")

    with pytest.raises(UserError, match="no room"):
        draw(9, 1, lambda *args: drawn.append(args) or grey(*args), fail)
    assert len(drawn) <= 2


def test_progress_counts_images_on_a_terminal_and_is_gone_at_the_end(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    draw(5, 2, grey)
    shown = terminal.getvalue()
    assert "images 1-2 of 5" in shown
    assert "image 5 of 5" in shown
    assert "/5 [" in shown
    assert not shown.splitlines()[-1].strip()


def test_progress_is_that_of_all_workers():
    class Others(workers.Alone):
        def finished(self, own):
            return own + 4

    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        batches = [run.Batch([0, 1], [0, 1])]
        run.draw(batches, 9, lambda batch, say: time.sleep(0.2) or say(0.5), lambda *_: 0, Others())
    assert " 5.0/9 [" in terminal.getvalue()


def test_where_nobody_watches_there_is_no_progress(capfd):
    draw(3, 1, grey)
    assert capfd.readouterr().err == ""


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
    monkeypatch.setattr(run.os, "dup2", lambda *_: None)

    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        run.script(main)
    err = capsys.readouterr().err
    assert stop.value.code == status
    assert message in err
    assert err.count("\n") <= 1
    assert not err or err.startswith("draw.py: ")


ROOT = Path(__file__).parents[2]
PROGRAM = """
import atexit, sys
from cli import errors
from runner import run

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()

def main():
    atexit.register(print, "tidied up")
    print("drawn")
    END

run.program(main)
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_output_that_is_lost_is_no_success():
    program = PROGRAM.replace("END", "sys.exit()")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=full)
    assert done.returncode == 1


@pytest.mark.parametrize(("most", "threshold"), [(2**40, 2**30), (2**25, 2**25)])
def test_freed_memory_is_kept_by_older_c_libraries_too(most, threshold, monkeypatch):
    settings = {}

    def mallopt(which, value):
        if which == -3 and value > most:
            return 0
        settings[which] = value
        return 1

    libc = SimpleNamespace(mallopt=mallopt, malloc_trim=lambda _: 1)
    monkeypatch.setattr(run, "_gnu_libc", lambda: libc)
    run.give_back_freed_memory()
    assert settings[-3] == 2**20
    run.keep_freed_memory()
    assert settings == {-3: threshold, -1: 2**31 - 1}


def test_a_bug_of_ours_is_not_hidden():
    def main():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run.script(main)


def test_dtype_is_what_the_device_computes_fastest(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert run.pick_dtype("auto", cuda) == torch.float16
    for capability, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        known = {"avx512_bf16": capability}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known)
        assert run.pick_dtype("auto", cpu) == dtype
    assert run.pick_dtype("float16", cpu) == torch.float16


def test_device_is_the_best_there_is(monkeypatch):
    assert run.pick_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert run.pick_device(None).type == "cuda"
    assert run.pick_device("cuda:1").index == 1
    with pytest.raises(UserError, match="--device cuda:2 is not there"):
        run.pick_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert run.pick_device(None).type == "cpu"


def test_default_model_is_the_large_one_where_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    args = SimpleNamespace(checkpoint=None)
    name, note = settle.default_model(args, "cc12m_1_cfg")
    assert (name, "--model cc12m_1_cfg" in note) == ("emoji", True)
    (tmp_path / "cc12m_1_cfg.safetensors").touch()
    name, note = settle.default_model(args, "cc12m_1_cfg")
    assert (name, "--model emoji" in note) == ("cc12m_1_cfg", True)
