"""Trains the judge of `train.evaluate`, a small classifier of things: `python -m train.judge`.

It learns from renders alone and shares nothing with the CLIP or the network that it judges. Its
augmentation lets a drawing be a little off and still be the thing.
"""

import argparse
import itertools
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from train.data import replace_file
from train.precision import mixed_precision
from train.vocabulary import GROUNDS

JUDGE = Path("runs/judge.safetensors")
KINDS = ("plain", "plain", "plain", "small", "two")  # of the renders; the first is the commonest
SIZE = 64


def build(classes):
    """The network: images [N, 3, 64, 64] in [-1, 1] -> logits [N, classes]."""
    widths = (3, 32, 64, 128, 128)
    layers = []
    for c_in, c_out in itertools.pairwise(widths):
        conv = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(c_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * (SIZE // 16) ** 2, classes))


def render_layers(sprites, kinds=KINDS, seed=0):
    """What stands before the ground in renders of every thing and kind.

    Args:
        sprites: PIL images RGBA, one a thing.
    Returns:
        (layers [T * K, 4, 64, 64], labels [T * K]): colours in [0, 1] already weighted by the
        fourth channel, which is how much of the ground they cover.
    """
    from train.render import compose

    layers, labels = [], []
    for label, picture in enumerate(sprites):
        for k, kind in enumerate(kinds):
            # The same render on black and on white tells the sprite from the ground.
            on_black, on_white = (
                np.asarray(
                    compose(picture, (g,) * 3, SIZE, kind, random.Random(f"{seed} {label} {k}")),
                    dtype=np.float32,
                )
                / 255
                for g in (0, 255)
            )
            cover = 1 - (on_white - on_black).mean(axis=2, keepdims=True)
            layers.append(np.concatenate([on_black, cover], axis=2).transpose(2, 0, 1))
            labels.append(label)
    return torch.from_numpy(np.stack(layers)), torch.tensor(labels)


def augmented(layers, generator):
    """Layers [N, 4, H, W] as pictures [N, 3, H, W] in [-1, 1], each a little off in its own way.

    Moved, scaled and turned a little, on one of the grounds, brighter or darker, with more or less
    contrast, some of them blurred, all of them noisy.
    """
    n = len(layers)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    angle, scale = uniform(-0.12, 0.12), uniform(0.85, 1.2)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
    move = uniform(-0.12, 0.12, 2, 1)
    theta = torch.cat([turn * scale[:, None, None], move], dim=2)
    grid = F.affine_grid(theta, list(layers.shape), align_corners=False)
    layers = F.grid_sample(layers, grid, align_corners=False)

    colours = torch.tensor(list(GROUNDS.values())) / 255
    ground = colours[torch.randint(len(colours), (n,), generator=generator)]
    ground = (ground + uniform(-0.06, 0.06, 3)).clamp(0, 1)[:, :, None, None]
    x = (layers[:, :3] + (1 - layers[:, 3:]) * ground) * 2 - 1
    x = x * uniform(0.8, 1.2, 1, 1, 1) + uniform(-0.15, 0.15, 1, 1, 1)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = torch.lerp(x, soft, uniform(-0.5, 1, 1, 1, 1).clamp(min=0))
    return x + uniform(0, 0.1, 1, 1, 1) * torch.randn(x.shape, generator=generator)


def train(names, sprites, steps=400, batch_size=256, lr=3e-3, seed=0, log=print):
    """A judge of the things called `names`, whose pictures are `sprites` (PIL images RGBA).

    Returns:
        (network in evaluation mode, the losses of its steps).
    """
    layers, labels = render_layers(sprites, seed=seed)
    torch.manual_seed(seed)
    net = build(len(names)).to(memory_format=torch.channels_last).train()
    opt = torch.optim.AdamW(net.parameters(), lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    losses, start = [], time.time()
    for step in range(steps):
        chosen = torch.randint(len(layers), (batch_size,), generator=generator)
        x = augmented(layers[chosen], generator)
        x = x.contiguous(memory_format=torch.channels_last)
        with mixed_precision(torch.device("cpu")):
            logits = net(x)
        loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.05)
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 50 == 0 or step + 1 == steps:
            recent = sum(losses[-50:]) / len(losses[-50:])
            seconds = time.time() - start
            log(f"judge: step {step + 1} of {steps}, loss {recent:.3f}, {seconds:.0f} s")
    return net.eval().requires_grad_(False), losses


@torch.inference_mode()
def ranking(net, images):
    """The things that images [N, 3, 64, 64] in [-1, 1] show, the likeliest first: [N, classes]."""
    parts = [net(part.float()) for part in images.split(256)]
    return torch.cat(parts).argsort(dim=1, descending=True)


def clean_accuracy(net, sprites, seed=1):
    """The share of plain renders, none of them learnt from, that the judge knows, for each kind."""
    from media.tensors import to_tensor
    from train.render import compose

    shares = {}
    for kind in dict.fromkeys(KINDS):
        rng = random.Random(f"clean {kind} {seed}")
        images = [
            to_tensor(compose(picture, ground, SIZE, kind, rng))
            for picture in sprites
            for ground in GROUNDS.values()
        ]
        labels = torch.arange(len(sprites)).repeat_interleave(len(GROUNDS))
        shares[kind] = (ranking(net, torch.stack(images))[:, 0] == labels).float().mean().item()
    return shares


def save(net, names, path):
    weights = {key: value.contiguous() for key, value in net.state_dict().items()}
    replace_file(path, lambda p: save_file(weights, p, {"names": json.dumps(names)}))


def load(path=JUDGE):
    """The judge in a file, and the names of the things it tells apart, in order.

    Raises:
        ValueError: if the file is no judge; one line.
    """
    try:
        with safe_open(path, "pt") as file:
            names = json.loads(file.metadata()["names"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        net = build(len(names))
        net.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no judge: delete it, and it is trained again") from error
    return net.eval().requires_grad_(False), names


def main(argv=None):
    p = argparse.ArgumentParser(usage="python -m train.judge [flags]", description=__doc__)
    p.add_argument("--output", type=Path, default=JUDGE)
    p.add_argument("--steps", type=int, default=400)
    p.add_argument("--batch-size", type=int, default=256)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args(argv)

    from train.render import read_things, sprite

    things = read_things()
    names, sprites = [thing.name for thing in things], [sprite(thing.emoji) for thing in things]
    net, _ = train(names, sprites, args.steps, args.batch_size, seed=args.seed)
    save(net, names, args.output)
    for kind, share in clean_accuracy(net, sprites).items():
        print(f"judge: {share:.1%} of {kind} renders are right")


if __name__ == "__main__":
    main()
