import subprocess
import sys
from pathlib import Path

import pytest
import torch

import models
from models import clip
from models.checkpoints import CHECKPOINTS
from models.weights import read
from tests.models.small import saved, small_state


def test_formats_are_converted_there_and_back(run, tmp_path):
    saved(tmp_path / "a.pth", small_state() | {"tied": small_state()["conv.bias"]})
    assert run(tmp_path / "a.pth") == str(tmp_path / "a.safetensors")
    assert run(tmp_path / "a.safetensors", "-o", tmp_path / "b.pth") == str(tmp_path / "b.pth")
    assert (tmp_path / "b.pth").read_bytes()[:2] == b"PK"
    for name in ("a.safetensors", "b.pth"):
        state = read(tmp_path / name)
        assert all(torch.equal(state[key], value) for key, value in small_state().items())
    assert len(list(tmp_path.iterdir())) == 3


def test_half_precision_halves_the_file_and_rounds_once(run, tmp_path):
    whole = saved(tmp_path / "a.safetensors")
    run(whole, "-o", tmp_path / "half.pth", "--dtype", "float16")
    for key, value in read(tmp_path / "half.pth").items():
        wanted = small_state()[key]
        assert torch.equal(value, wanted.half() if wanted.is_floating_point() else wanted)
    large = torch.zeros(2**16)
    save = saved(tmp_path / "large.safetensors", {"a": large})
    run(save, "-o", tmp_path / "small.safetensors", "--dtype", "bfloat16")
    assert (tmp_path / "small.safetensors").stat().st_size < 0.51 * save.stat().st_size


def test_tokenizer_of_the_bundled_clip_is_kept(run, tmp_path):
    run(CHECKPOINTS / "emoji_clip.safetensors", "-o", tmp_path / "clip.safetensors")
    ours = clip.load("emoji", tmp_path / "clip.safetensors")
    assert torch.equal(ours.encode_text("a cat"), clip.load("emoji").encode_text("a cat"))


def test_state_dict_is_taken_out_of_a_training_checkpoint(run, tmp_path, monkeypatch):
    state = models.build("emoji").state_dict()
    saved(tmp_path / "a.pth", {"model": {f"module.{key}": v for key, v in state.items()}})
    run(tmp_path / "a.pth", "--model", "emoji")
    assert read(tmp_path / "a.safetensors").keys() == state.keys()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.pth", "--model", "emoji"], "of another network"),
        (["a.pth", "-o", "a.txt"], "must end in"),
        (["a.pth", "-o", "there.pth"], "File exists"),
        (["a.pth", "-o", "no folder/b.pth"], "cannot be written"),
        (["b.pth"], "no such file"),
    ],
)
def test_mistake_is_one_line(run, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "a.pth")
    (tmp_path / "there.pth").write_bytes(b"mine")
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert words in f"{stop.value}{capsys.readouterr().err}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth", "there.pth"]
    assert (tmp_path / "there.pth").read_bytes() == b"mine"


@pytest.mark.slow
def test_it_runs_as_a_module(tmp_path):
    saved(tmp_path / "a.pth")
    command = [sys.executable, "-m", "models.convert", tmp_path / "a.pth"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'a.safetensors'}\n"
