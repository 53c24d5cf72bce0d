import os

import pytest
import torch
from PIL import Image

import diffusion
import runner
from cli.scripts import CFG, MODIFY
from jobs.jobs import Jobs
from runner import latents

FLAGS = ("--model", "emoji", "--size", "16", "16", "--steps", "4")


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """A function that makes the first batch of a run: script, arguments -> (Run, Batch)."""
    monkeypatch.chdir(tmp_path)

    def first(script, *argv):
        run = runner.Run(runner.Plan(Jobs(script, [*argv, *FLAGS])))
        return run, next(run.batches())

    return first


def save(name, level):
    Image.new("RGB", (16, 16), (level,) * 3).save(name)


def test_file_that_has_changed_is_read_again(batch, tmp_path):
    """A long-lived process sees another content under the same name: another test, for example."""
    for level in (0, 255):
        save("photo.png", level)
        os.utime("photo.png", ns=(level, level))
        run, first = batch(MODIFY, "photo.png", "cat")
        assert (run.photos(first) == level / 127.5 - 1).all()
    for level in (0.0, 0.5):
        x = torch.full((1, 3, 16, 16), level)
        latents.save("x.safetensors", x, {"model": "emoji", "timestep": 1.0})
        os.utime("x.safetensors", ns=(int(10 * level), 0))
        run, first = batch(CFG, "--latent", "x.safetensors")
        assert torch.equal(run.start(first).x, x)


def test_photos_fill_the_batch_in_which_an_edit_is_drawn_again(batch):
    save("photo.png", 255)
    run, first = batch(MODIFY, "photo.png", "cat")
    first.rows = 3
    assert run.photos(first).shape == first.noise().shape == (3, 3, 16, 16)


@pytest.mark.parametrize("method", ["exact", "plms"])
def test_reversible_methods_start_in_doubles(batch, method):
    save("photo.png", 255)
    run, first = batch(MODIFY, "photo.png", "cat", "--method", method)
    dtype = torch.float64 if diffusion.METHODS[method].reversible else torch.float32
    model = run.prepared(lambda x, t: x, first)
    x = run.photos(first)
    assert x.dtype == model(x, torch.ones(1)).dtype == dtype
