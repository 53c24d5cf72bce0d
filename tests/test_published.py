"""The published example command, with the published network and CLIP, whose weights are made up."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from models import NETWORKS
from recipes import recipe as recipes
from runner import memory
from tests.weights import deterministic_state_dict

PUBLISHED = json.loads((Path(__file__).parent / "data" / "checkpoints.json").read_text())

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file of cc12m_1_cfg's shape: 2.4 GB."""
    shapes = {k: tuple(s) for k, s in PUBLISHED["cc12m_1_cfg"]["state_dict"].items()}
    path = tmp_path_factory.mktemp("published") / "cc12m_1_cfg.pth"
    torch.save(deterministic_state_dict(shapes), path)
    memory.give_back_freed_memory()
    yield path
    memory.give_back_freed_memory()
    path.unlink()


@pytest.fixture(scope="module")
def clip_checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "vit_b_16.pt"
    model = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False)
    torch.save(model.state_dict(), path)
    return path


def test_published_example_command_draws_its_images(cfg_sample, checkpoint, clip_checkpoint):
    status, out, err = cfg_sample(
        *("the rise of consciousness:5", "-n", 4, "-bs", 4, "--seed", 0),
        *("--model", "cc12m_1_cfg", "--checkpoint", checkpoint),
        *("--clip-checkpoint", clip_checkpoint, "--size", 64, 64, "--steps", 4),
    )
    assert status == 0, err
    assert out == [f"out_0000{i}.png" for i in range(4)]
    assert "-4  (no prompt)" in err
    images = []
    for name in out:
        with Image.open(name) as image:
            assert image.size == (64, 64)
            images.append(np.asarray(image).astype(int))
    assert abs(images[0] - images[1]).max() > 20
    recipe = recipes.read(out[3])
    assert (recipe["clip"], recipe["checkpoint"]) == ("ViT-B-16", "cc12m_1_cfg.pth")
    assert (recipe["seed"], recipe["steps"], recipe["method"]) == (3, 4, "ab23")


def test_published_network_draws_in_a_hole(restore_sample, checkpoint, clip_checkpoint):
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    hole = np.zeros((64, 64), np.uint8)
    hole[16:48, 24:] = 255
    Image.fromarray(levels).save("photo.png")
    Image.fromarray(hole).save("hole.png")
    status, out, err = restore_sample(
        *("photo.png", "the rise of consciousness:5", "--task", "inpaint", "--mask", "hole.png"),
        *("--model", "cc12m_1_cfg", "--checkpoint", checkpoint),
        *("--clip-checkpoint", clip_checkpoint, "--size", 64, 64, "--steps", 2),
    )
    assert status == 0, err
    with Image.open(out[0]) as image:
        off = abs(np.asarray(image).astype(int) - levels)
    assert off[hole == 0].max() == 0
    assert off[hole > 0].mean() > 20


def test_checkpoint_under_the_published_name_must_have_the_published_hash(
    cfg_sample, checkpoint, monkeypatch
):
    monkeypatch.setattr("models.checkpoints.CHECKPOINTS", checkpoint.parent)
    status, out, err = cfg_sample("a cat")  # it is there, so it is the default
    assert (status, out) == (2, [])
    assert f"expected {NETWORKS['cc12m_1_cfg'].sha256}" in err.splitlines()[-1]
