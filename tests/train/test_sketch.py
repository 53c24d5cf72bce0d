"""The sketch of a condition: what it learns, and what the training of the U-Net leaves of it."""

import dataclasses

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch.nn import functional as F

import models.clip
from models.unet import UNet
from models.zoo import NETWORKS
from train import diffusion as trainer
from train import learning
from train import sketch as sketches
from train.data import read_folder


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """Discs and frames on red and on blue, each twice, a pixel apart."""
    path = tmp_path_factory.mktemp("moons")
    things = {"disc": ImageDraw.ImageDraw.ellipse, "frame": ImageDraw.ImageDraw.rectangle}
    for thing, draw in things.items():
        for ground in ("red", "blue"):
            for shift in (0, 1):
                picture = Image.new("RGB", (64, 64), ground)
                draw(
                    ImageDraw.Draw(picture),
                    (8 + shift, 12, 48 + shift, 52),
                    outline="white",
                    width=9,
                )
                name = f"{thing}_{ground}_{shift}"
                picture.save(path / f"{name}.png")
                (path / f"{name}.txt").write_text(f"a {thing} on a {ground} background\n")
    return path


def test_it_learns_the_mean_image_of_each_caption_and_the_rest_stays(moons, tmp_path):
    torch.manual_seed(3)
    before = UNet(NETWORKS["emoji"].architecture)
    init, output = tmp_path / "init.safetensors", tmp_path / "net.safetensors"
    learning.save_weights(before, init, "emoji")
    argv = ["--data", moons, "--init", init, "--output", output, "--run", tmp_path / "run"]
    argv += ["--every", 100, "--steps", 200, "--batch-size", 16, "--image-share", 0]
    sketches.main([str(value) for value in argv])
    net = UNet(NETWORKS["emoji"].architecture)
    net.load_state_dict({key: value.float() for key, value in load_file(output).items()})
    images, captions = read_folder(moons, (64, 64))
    means = (images[0::2].float() + images[1::2].float()) / 255 - 1
    with torch.inference_mode():
        embeds = models.clip.load("emoji").encode_text([lines[0] for lines in captions[0::2]])
        pred = net.sketch(net.normalised(embeds), 32, 32)[:, :3]
    off = (pred - F.avg_pool2d(means, 2)).square().mean(dim=(1, 2, 3)).sqrt()
    assert (off < 0.15).all()  # the grounds alone are 1.6 from each other, things and grounds 0.5
    kept = load_file(init)
    for key, value in load_file(output).items():
        assert torch.equal(value, kept[key]) == (not key.startswith("sketch.")), key


def test_it_is_in_the_middle_of_other_sizes_and_the_ground_goes_on():
    net = UNet(NETWORKS["emoji"].architecture)
    embed = net.normalised(torch.randn(2, 256))
    with torch.inference_mode():
        ground = net.sketch.main(embed)[:, :3]
        square, wide, high = (net.sketch(embed, h, w) for h, w in ((64, 64), (64, 96), (96, 64)))
        large = net.sketch(embed, 128, 128)
    assert torch.equal(wide[..., 16:80], square)
    assert torch.equal(high[:, :, 16:80], square)
    for beside in (wide[..., :16], wide[..., 80:], high[:, :, :16].mT, high[:, :, 80:].mT):
        assert torch.equal(beside[:, :3], ground[:, :, None, None].expand_as(beside[:, :3]))
        assert not beside[:, 3].any()
    inner = F.avg_pool2d(large, 2)[..., 8:-8, 8:-8] - square[..., 8:-8, 8:-8]
    assert inner.abs().mean() < 0.1 * square.std()


def test_training_the_network_leaves_its_sketch(moons):
    net = UNet(NETWORKS["emoji"].architecture)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    learner = learning.Learner(net, 0.5, muon=True)
    x, t, embeds = torch.randn(2, 3, 32, 32), torch.rand(2), torch.randn(2, 256)
    learner.learn(net(x, t, embeds).square().mean(dim=(1, 2, 3)), 0, 1e-3)
    for weights in (net.state_dict(), learner.ema.state_dict()):
        changed = {
            key.split(".")[0] for key in before if not torch.equal(before[key], weights[key])
        }
        assert "sketch" not in changed
        assert changed >= {"mapping", "net"}


def test_a_network_without_a_sketch_is_taken_over_and_draws_as_it_did():
    arch = NETWORKS["emoji"].architecture
    old, net = UNet(dataclasses.replace(arch, sketch=0)), UNet(arch)
    trainer.take_over(old.state_dict(), net)
    x, t, embeds = torch.randn(2, 3, 32, 32), torch.rand(2), torch.randn(2, 256)
    with torch.inference_mode():
        assert torch.allclose(net(x, t, embeds), old(x, t, embeds), atol=1e-4)
