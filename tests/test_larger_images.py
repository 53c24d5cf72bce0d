"""Images twice as large as the bundled model's own, from the command lines that draw from noise."""

import numpy as np
import pytest
from PIL import Image

from models.unet import UNet
from recipes import recipe as recipes

COMMON = ("a cat", "--model", "emoji", "--size", 128, "--steps", 4, "--dtype", "float32")
COMMANDS = {
    "cfg_sample": (*COMMON, "--method", "ddim"),
    "clip_sample": (*COMMON, "--cutn", 2),
    "restore_sample": ("photo.png", *COMMON, "--task", "inpaint", "--mask", "hole.png"),
}


@pytest.fixture(autouse=True)
def photo(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype("uint8")
    Image.fromarray(levels).save(tmp_path / "photo.png")
    hole = Image.new("L", (128, 128))
    hole.paste(255, (64, 0, 128, 128))
    hole.save(tmp_path / "hole.png")


@pytest.fixture
def seen(monkeypatch):
    """The (side, timestep) of each call of the network."""
    forward, calls = UNet.forward, []

    def recorded(net, x, t, *rest):
        calls.append((x.shape[-1], float(t[0])))
        return forward(net, x, t, *rest)

    monkeypatch.setattr(UNet, "forward", recorded)
    return calls


@pytest.mark.parametrize("name", COMMANDS)
def test_at_high_noise_the_network_sees_the_size_that_it_knows(name, seen, script):
    run = script(name)
    status, (path,), err = run(*COMMANDS[name], "--coarse-until", 0.6)
    assert status == 0, err
    assert "trained on" not in err
    assert {side for side, _ in seen} == {64, 128}
    assert all(t < 0.6 for side, t in seen if side == 128)
    assert max(t for _, t in seen) == max(t for side, t in seen if side == 64)
    with Image.open(path) as image:
        assert image.size == (128, 128)
        drawn = np.asarray(image)
    if name == "restore_sample":
        with Image.open("photo.png") as image:
            assert np.array_equal(drawn[:, :64], np.asarray(image)[:, :64])

    seen.clear()
    (again,) = run("--from-png", path)[1]
    assert {side for side, _ in seen} == {64, 128}
    with Image.open(again) as image:
        assert np.array_equal(np.asarray(image), drawn)


@pytest.mark.parametrize("name", COMMANDS)
def test_that_is_what_they_do_unless_told_otherwise(name, seen, script):
    run = script(name)
    (path,) = run(*COMMANDS[name])[1]
    assert recipes.read(path)["coarse_until"] == 0.2
    assert 64 in {side for side, _ in seen}

    seen.clear()
    status, _, err = run(*COMMANDS[name], "--coarse-until", 1)
    assert status == 0
    assert {side for side, _ in seen} == {128}
    assert "--coarse-until 0.2 may draw one thing" in err
