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


@pytest.fixture(scope="module", params=[("emoji", 1), ("emoji_4", 1), ("emoji", 2)])
def drawings(request, reader):
    """One drawing for each pair [12, 3, S, S], at weight 3.

    By the model, by its student, and by the model twice as large.
    """
    name, factor = request.param
    net = models.load(name, dtype=pick_dtype("auto", torch.device("cpu")))
    timesteps, method = diffusion.schedule("spliced", 25), "ab23"
    if name == "emoji_4":
        timesteps, method = diffusion.schedule("linear", 4), "ddim"
    images = []
    with torch.inference_mode():
        embeds = reader.encode_text(
            [f"a {name} on a {ground} background" for name, ground in PAIRS]
        )
        for i, embed in enumerate(embeds):
            make = diffusion.distilled if name == "emoji_4" else diffusion.guided
            model, x = make(net, embed[None], [3.0]), diffusion.noise([i], (3, *(64 * factor,) * 2))
            if factor > 1:
                model = diffusion.coarse_first(model, factor, models.NETWORKS[name].coarse_until)
            images.append(diffusion.sample(model, x, timesteps, method))
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
    rows = [models.NETWORKS[name] for name in ("emoji", "emoji_4")]
    paths = [checkpoints.find(row) for row in rows]
    assert [checkpoints.sha256(path) for path in paths] == [row.sha256 for row in rows]
    paths.append(paths[0].with_name(clip.CLIPS["emoji"].file))
    assert sum(path.stat().st_size for path in paths) < 40e6
