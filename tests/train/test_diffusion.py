import dataclasses
import itertools
import json

import pytest
import torch
from PIL import Image

import models
from models.zoo import NETWORKS
from train import diffusion as trainer


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The bundled network with few channels, so that a step takes milliseconds."""
    row = NETWORKS["emoji"]
    architecture = dataclasses.replace(
        row.architecture, channels=(16, 32), head_channels=16, features=32
    )
    monkeypatch.setitem(NETWORKS, "emoji", dataclasses.replace(row, architecture=architecture))


def train(folder, path, steps, every):
    """A run of the trainer in `path`: (the weights it wrote, what it logged)."""
    output = path / "net.safetensors"
    argv = ["--data", folder, "--output", output, "--run", path, "--device", "cpu"]
    argv += ["--batch-size", 8, "--steps", steps, "--every", every, "--lr", 3e-3]
    trainer.main([str(value) for value in argv])
    log = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return output, log


def test_a_few_steps_on_any_folder_lower_the_loss_and_give_a_network(squares, tmp_path):
    output, log = train(squares, tmp_path, 60, every=30)
    assert [entry["step"] for entry in log] == [30, 60]
    assert log[-1]["loss"] < 0.75 * log[0]["loss"]
    net = models.load("emoji", output)
    x, t, embed = torch.randn(2, 3, 64, 64), torch.tensor([0.3, 1.0]), torch.randn(2, 256)
    with torch.inference_mode():
        assert torch.isfinite(net(x, t, embed)).all()
    with Image.open(tmp_path / "samples_000060.png") as samples:
        assert samples.size[0] > 6 * 64


def test_killed_run_ends_as_the_unbroken_one(squares, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "draw", lambda *args: torch.zeros(36, 3, 64, 64))  # is slow
    whole, _ = train(squares, tmp_path / "whole", 6, every=3)

    calls, loss = [], trainer.v_loss

    def killed(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "v_loss", killed)
        with pytest.raises(KeyboardInterrupt):
            train(squares, tmp_path / "broken", 6, every=3)
    assert not (tmp_path / "broken" / "net.safetensors").exists()
    resumed, log = train(squares, tmp_path / "broken", 6, every=3)
    assert [entry["step"] for entry in log] == [3, 6]
    assert resumed.read_bytes() == whole.read_bytes()


def test_conditions_are_those_of_the_image_or_of_one_of_its_captions():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 2, 2) * 50
    by_image, by_text = torch.arange(5.0)[:, None], 10 + torch.arange(10.0)[:, None]
    rows = [[2 * i, 2 * i + 1] for i in range(5)]  # image i has the texts 2 i and 2 i + 1
    generator = torch.Generator().manual_seed(0)
    x, cond = trainer.batch(images, by_image, by_text, rows, 2000, 0.25, generator)
    which = ((x[:, 0, 0, 0] + 1) * 127.5 / 50).round()
    of_image = cond[:, 0] < 10
    assert of_image.float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert (cond[of_image, 0] == which[of_image]).all()
    text = cond[~of_image, 0] - 10
    assert ((text // 2) == which[~of_image]).all()
    assert (text % 2).mean().item() == pytest.approx(0.5, abs=0.05)


def test_learning_rate_rises_then_rests_then_falls_to_nothing():
    factors = [trainer.lr_factor(step, 1000, 0.4) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert set(factors[99:600]) == {1}
    assert all(a > b for a, b in itertools.pairwise(factors[600:]))
    assert 0 < factors[-1] < 0.01


def test_samples_are_drawn_as_guidance_draws_them(squares):
    import diffusion
    from models.clip import load

    clip, torch_net = load("emoji"), models.build("emoji").eval()
    with torch.inference_mode():
        ours = trainer.draw(torch_net, clip, ["red"], (3, 64, 64), "cpu", weight=3.0, seed=7)
        model = diffusion.guided(torch_net, clip.encode_text(["red"]), [3.0])
        x = diffusion.noise([7], (3, 64, 64))
        theirs = diffusion.sample(model, x, diffusion.schedule("spliced", 20), method="plms2")
    assert torch.allclose(ours, theirs, atol=1e-4)
