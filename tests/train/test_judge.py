import random

import pytest
import torch

from media.tensors import to_tensor
from train import judge, render
from train.vocabulary import GROUNDS


@pytest.fixture(scope="module")
def trained(sprites):
    return judge.train(list(sprites), list(sprites.values()), 40, 32, log=lambda line: None)


def test_some_steps_teach_it_the_renders(sprites, trained):
    net, losses = trained
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    shares = judge.clean_accuracy(net, list(sprites.values()))
    assert shares.keys() == {"plain", "small", "two"}
    assert shares["plain"] > 0.9


def test_same_seed_trains_the_same_judge(sprites):
    runs = [
        judge.train(list(sprites), list(sprites.values()), 2, 8, seed=s, log=lambda line: None)[1]
        for s in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_layers_on_a_ground_are_the_render_on_that_ground(sprites):
    layers, labels = judge.render_layers(list(sprites.values()))
    assert labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    picture, kind = list(sprites.values())[1], judge.KINDS[3]
    for colour in GROUNDS.values():
        ground = torch.tensor(colour)[:, None, None] / 255
        ours = layers[8, :3] + (1 - layers[8, 3:]) * ground
        render_itself = render.compose(picture, colour, 64, kind, random.Random("0 1 3"))
        assert (ours * 2 - 1 - to_tensor(render_itself)).abs().max() < 4 / 255


def test_augmented_pictures_differ_but_stay_pictures(sprites):
    layers, _ = judge.render_layers(list(sprites.values()))
    x = judge.augmented(layers[:1].expand(64, -1, -1, -1), torch.Generator().manual_seed(0))
    assert x.shape == (64, 3, 64, 64)
    assert torch.isfinite(x).all()
    assert x.abs().max() < 2.5
    assert torch.pdist(x.flatten(1)).min() > 1


def test_saved_judge_says_the_same(trained, tmp_path):
    net, _ = trained
    path = tmp_path / "runs" / "judge.safetensors"
    judge.save(net, ["disc", "frame", "bar"], path)
    again, names = judge.load(path)
    images = torch.rand(5, 3, 64, 64) * 2 - 1
    assert names == ["disc", "frame", "bar"]
    assert torch.allclose(again(images), net(images), atol=1e-5)
    order = judge.ranking(net, images)
    assert torch.equal(order[:, 0], net(images).argmax(dim=1))
    assert order.sort(dim=1).values.tolist() == [[0, 1, 2]] * 5


def test_file_that_is_no_judge_is_named_in_one_line(tmp_path):
    path = tmp_path / "judge.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="is no judge") as error:
        judge.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
