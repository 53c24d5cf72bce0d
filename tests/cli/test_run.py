import io
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from cli import outputs, run, settle
from cli.errors import UserError
from models import checkpoints


class Terminal(io.StringIO):
    def isatty(self):
        return True


def targets(n):
    return outputs.plan("{index}.png", [{"index": i, "seed": i} for i in range(n)])


def draw(n, batch_size, sample):
    run.draw(targets(n), batch_size, 3, sample, lambda *_: None)


def grey(batch, callback):
    for _ in range(3):
        callback(None)
    return torch.zeros(len(batch), 3, 8, 8)


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"), [(5, 2, [2, 2, 1]), (2, 8, [2]), (1, 1, [1])]
)
def test_images_are_drawn_in_batches_and_named_on_stdout(
    n, batch_size, sizes, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    drawn = []
    draw(n, batch_size, lambda batch, _: drawn.append(len(batch)) or grey(batch, lambda _: None))
    assert drawn == sizes
    assert capsys.readouterr().out.split() == [f"{i}.png" for i in range(n)]


def test_batch_is_saved_while_the_next_is_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    publish, next_is_drawn, drawn = outputs.publish, threading.Event(), []

    def wait(image, target, recipe):
        assert target.image["index"] or next_is_drawn.wait(60)
        return publish(image, target, recipe)

    def sample(batch, callback):
        drawn.append(batch)
        if len(drawn) == 2:
            next_is_drawn.set()
        return grey(batch, callback)

    monkeypatch.setattr(outputs, "publish", wait)
    draw(3, 1, sample)
    assert capsys.readouterr().out.split() == ["0.png", "1.png", "2.png"]


def test_what_was_drawn_is_saved_when_the_next_batch_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def sample(batch, callback):
        if batch[0].image["index"] == 2:
            raise KeyboardInterrupt
        return grey(batch, callback)

    with pytest.raises(KeyboardInterrupt):
        draw(3, 1, sample)
    assert capsys.readouterr().out.split() == ["0.png", "1.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.png", "1.png"]


def test_image_that_cannot_be_saved_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = []

    def fail(*_):
        raise UserError("no room")

    monkeypatch.setattr(outputs, "publish", fail)
    with pytest.raises(UserError, match="no room"):
        draw(9, 1, lambda *args: drawn.append(args) or grey(*args))
    assert len(drawn) <= 2


def test_progress_counts_images_and_steps_on_a_terminal_and_is_gone_at_the_end(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    draw(5, 2, grey)
    shown = terminal.getvalue()
    assert "images 1-2 of 5" in shown
    assert "image 5 of 5" in shown
    assert "/15 " in shown
    assert not shown.splitlines()[-1].strip()


def test_where_nobody_watches_there_is_no_progress(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    draw(3, 1, grey)
    assert capfd.readouterr().err == ""


def test_images_finished_before_a_failure_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def fails_at_the_third(batch, callback):
        if batch[0].image["index"] == 2:
            raise KeyboardInterrupt
        return grey(batch, callback)

    with pytest.raises(KeyboardInterrupt):
        draw(5, 1, fails_at_the_third)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.png", "1.png"]


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
