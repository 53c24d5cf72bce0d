"""The bundled model draws what it is asked for: small, and held to its own CLIP and to the eye."""

import pytest
import torch
from torch.nn.functional import interpolate, normalize

import diffusion
import models
from models import checkpoints, clip
from runner.device import pick_dtype
from train.first import CORE
from train.vocabulary import GROUNDS

PAIRS = [
    ("red heart", "white"),
    ("star", "purple"),
    ("rainbow", "pink"),
    ("mushroom", "green"),
    ("soccer ball", "yellow"),
    ("watermelon", "black"),
    ("penguin", "orange"),
    ("basketball", "blue"),
    ("anchor", "yellow"),
    ("umbrella", "purple"),
    ("bell", "gray"),
    ("bus", "green"),
]
NAMES = sorted({*CORE, *(name for name, _ in PAIRS)})


@pytest.fixture(scope="module")
def reader():
    return clip.load("emoji")


@pytest.fixture(scope="module")
def drawings(reader):
    """One drawing for each pair [12, 3, 64, 64], at weight 3."""
    net = models.load("emoji", dtype=pick_dtype("auto", torch.device("cpu")))
    timesteps = diffusion.schedule("spliced", 25)
    images = []
    with torch.inference_mode():
        embeds = reader.encode_text(
            [f"a {name} on a {ground} background" for name, ground in PAIRS]
        )
        for i, embed in enumerate(embeds):
            model = diffusion.guided(net, embed[None], [3.0])
            images.append(diffusion.sample(model, diffusion.noise([i], (3, 64, 64)), timesteps))
    return torch.cat(images).clamp(-1, 1)


@pytest.mark.slow
def test_ground_has_the_colour_that_was_asked_for(drawings):
    colours = torch.tensor(list(GROUNDS.values())) / 127.5 - 1
    for (_, ground), image in zip(PAIRS, drawings, strict=True):
        border = torch.cat([image[:, :3].flatten(1), image[:, -3:].flatten(1)], dim=1)
        distance = (colours - border.median(dim=1).values).norm(dim=1)
        assert list(GROUNDS)[distance.argmin()] == ground


@pytest.mark.slow
def test_thing_is_the_one_that_was_asked_for(drawings, reader):
    """Among 36 things that the model knows, by its CLIP: which guided it, so a weak witness."""
    names = normalize(reader.encode_text(NAMES))
    seen = reader.encode_image(interpolate(drawings, reader.image_size, mode="area"))
    best = (seen @ names.T).argmax(dim=1)
    right = sum(NAMES[i] == name for i, (name, _) in zip(best.tolist(), PAIRS, strict=True))
    assert right >= 10


def test_bundled_weights_are_the_ones_of_the_table():
    row = models.NETWORKS["emoji"]
    path = checkpoints.find(row)
    assert checkpoints.sha256(path) == row.sha256
    assert path.stat().st_size + (path.parent / clip.CLIPS["emoji"].file).stat().st_size < 40e6
