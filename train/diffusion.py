"""Trains a conditional v network on a folder of captioned images: `python -m train.diffusion`.

A folder holds `name.png` and `name.txt` (one caption a line), as `python -m train.render` writes.
A killed run goes on from its last checkpoint when the same command is given again.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torchvision.utils import save_image

import diffusion
import models.clip
from diffusion.training import drop_conditions, stratified_timesteps, v_loss
from models.unet import UNet
from models.zoo import NETWORKS
from runner.memory import keep_freed_memory
from train.batches import batch, kept_embeddings
from train.data import read_folder, read_folders, replace_file
from train.learning import Learner, Losses, lr_factor, save_weights
from train.precision import computes_in, computing, fastest_dtype


def arguments(argv=None):
    p = argparse.ArgumentParser(usage="python -m train.diffusion [flags]", description=__doc__)
    p.add_argument(
        "--data", type=Path, nargs="+", default=[Path("data/emoji")], help="captioned images"
    )
    p.add_argument("--model", default="emoji", choices=[n for n, r in NETWORKS.items() if r.clip])
    p.add_argument("--clip-checkpoint", type=Path, help="weights of the model's CLIP")
    p.add_argument("--init", type=Path, help="weights of another network to begin from")
    p.add_argument("--channels", type=int, nargs="+", help="of each level, not the model's")
    p.add_argument("--attention-from", type=int, help="the first level with attention, from 0")
    p.add_argument("--patch", type=int, help="side of the squares of pixels that are channels")
    p.add_argument("--output", type=Path, default=Path("checkpoints/emoji.safetensors"))
    p.add_argument("--run", type=Path, default=Path("runs/diffusion"), help="state, log, samples")
    p.add_argument("--steps", type=int, default=6000)
    p.add_argument("--hours", type=float, help="of training, however many steps: not --steps")
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument(
        "--last-batch-size", type=int, help="what it grows to by doubling; default: it stays"
    )
    p.add_argument("--lr", type=float, default=6e-4)
    p.add_argument("--optimizer", default="muon", choices=["muon", "adamw"])
    p.add_argument("--decay", type=float, default=0.4, help="share of the run that lowers the lr")
    p.add_argument("--drop", type=float, default=0.2, help="share of zero embeddings")
    p.add_argument("--image-share", type=float, default=0.25, help="conditions that are images")
    p.add_argument("--ema", type=float, default=0.999, help="at the first batch size")
    p.add_argument(
        "--octaves", type=int, default=0, help="against slow tints: also errors of averages"
    )
    p.add_argument(
        "--octave-weight", type=float, default=1.0, help="of each of these errors (one pixel's: 1)"
    )
    p.add_argument(
        "--t-power", type=float, default=1.0, help="timesteps are u**P, u even; below 1: more noise"
    )
    p.add_argument(
        "--other-sizes",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="captioned images of another size each, for every other step at the end of the run",
    )
    p.add_argument("--other-share", type=float, help="of the run that is its end (default: 0.2)")
    p.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    p.add_argument("--samples-every", type=int, default=4, help="checkpoints between samples")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    p.add_argument("--compile", action="store_true", help="torch.compile: two minutes first")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = p.parse_args(argv)
    if args.other_share is not None and not (args.other_sizes and 0 <= args.other_share <= 1):
        p.error("--other-share is from 0 to 1, and goes with --other-sizes")
    args.other_share = 0.2 if args.other_share is None else args.other_share
    if args.init and not args.init.is_file():
        p.error(f"--init {args.init}: no such file")
    side = NETWORKS[args.model].shape[1]
    if not (args.octaves >= 0 and 2**args.octaves <= side):
        most = side.bit_length() - 1
        p.error(f"--octaves {args.octaves}: images have {side} pixels a side, so take 0 to {most}")
    for flag, value in (("--octave-weight", args.octave_weight), ("--t-power", args.t_power)):
        if not 0 < value < math.inf:
            p.error(f"{flag} {value:g} is to be above 0")
    return args


def architecture(args):
    """The architecture of the model, in the shape that the flags give it."""
    given = {name: getattr(args, name) for name in ("channels", "attention_from", "patch")}
    given = {name: value for name, value in given.items() if value is not None}
    if "channels" in given:
        given["channels"] = tuple(given["channels"])
    return dataclasses.replace(NETWORKS[args.model].architecture, **given)


def batch_size_at(share, first, last):
    """The batch size after a share of the run: doubled at equal distances in its second half.

    Small batches learn fastest, large ones find the last digits, as a falling learning rate does.
    """
    sizes = [first]
    while sizes[-1] < last:
        sizes.append(min(2 * sizes[-1], last))
    later = max(0, 2 * share - 1) * len(sizes)
    return sizes[min(int(later), len(sizes) - 1)]


def take_over(weights, net):
    """Gives a network the weights of another one wherever names and shapes agree.

    A network that has more levels is searched for the other one inside, under each of its levels:
    the layers `net.I` of the other are layers I + 1 of that level. What agrees most is taken.

    Args:
        weights: the other network's state_dict.
        net: a `models.unet.UNet`; its weights are replaced.
    Returns:
        The numbers (taken over, in the network).
    """
    own, blocks = net.state_dict(), net.arch.blocks

    def renamed(key, levels):
        if not levels or not key.startswith("net."):
            return key
        _, i, rest = key.split(".", 2)
        outer = f"net.{blocks}" + f".main.{blocks + 1}" * (levels - 1)
        return f"{outer}.main.{int(i) + 1}.{rest}"

    best, most = {}, 0
    for levels in range(len(net.arch.channels)):
        found = {renamed(key, levels): value for key, value in weights.items()}
        found = {k: v for k, v in found.items() if k in own and own[k].shape == v.shape}
        count = sum(value.numel() for value in found.values())
        if count > most:
            best, most = found, count
    taken = {**own, **{key: value.float() for key, value in best.items()}}
    for key in ("net.0.main.0.weight", "net.0.skip.weight"):
        # A first layer with further inputs begins without them.
        if key not in best and key in weights and own[key][:, 0].shape == weights[key][:, 0].shape:
            taken[key] = torch.zeros_like(own[key])
            count = min(own[key].shape[1], weights[key].shape[1])
            taken[key][:, :count] = weights[key][:, :count]
    net.load_state_dict(taken)
    return most, sum(value.numel() for value in own.values())


@torch.inference_mode()
def draw(net, clip, prompts, shape, device, weight=3.0, seed=0):
    """One image per prompt [N, 3, H, W], as `cfg_sample.py` would draw it."""
    embeds = clip.encode_text(prompts).to(device)
    zeros = torch.zeros_like(embeds)

    def model(x, t):
        v0, v1 = net(x.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([zeros, embeds])).chunk(2)
        return v0 + weight * (v1 - v0)

    x = diffusion.noise(range(seed, seed + len(prompts)), shape).to(device)
    return diffusion.sample(model, x, diffusion.schedule("spliced", 20), method="plms2")


def main(argv=None):
    args = arguments(argv)
    keep_freed_memory()
    row, arch = NETWORKS[args.model], architecture(args)
    device = torch.device(args.device)
    args.run.mkdir(parents=True, exist_ok=True)

    clip = models.clip.load(row.clip, args.clip_checkpoint)
    images, captions = read_folders(args.data, row.shape[:0:-1])
    previews = [captions[i * len(captions) // 36][0] for i in range(36)]
    read = {"embeddings.pt": (images, captions)}
    for i, folder in enumerate(args.other_sizes, start=1):
        images, captions = read[f"embeddings_{i}.pt"] = read_folder(folder, None)
        height, width = images.shape[2:]
        if height % arch.size_multiple or width % arch.size_multiple:
            sys.exit(
                f"{folder} has images of {width} x {height} pixels: the network takes "
                f"multiples of {arch.size_multiple}"
            )

    torch.manual_seed(args.seed)
    net = UNet(arch).to(device, memory_format=torch.channels_last)
    if args.init:
        taken, count = take_over(load_file(args.init), net)
        print(f"begins with {taken / count:.1%} of its weights from {args.init}", flush=True)
    if arch.sketch and not args.init:
        print("the sketch is untaught: `python -m train.sketch` and --init teach it", flush=True)
    learner = Learner(net, args.ema, args.optimizer == "muon")

    first, seen, spent, dtype = 0, 0, 0.0, None
    state_file, undecayed = args.run / "state.pt", args.run / "state_before_decay.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        if ("muon" in state) != (args.optimizer == "muon"):
            sys.exit(f"{args.run} is a run of the other --optimizer: name another --run")
        learner.restore(state)
        first, seen, spent = state["step"], state["samples"], state["seconds"]
        dtype = getattr(torch, state["dtype"])
        print(f"goes on from step {first}", flush=True)

    # It takes minutes: all that can be wrong is known by now.
    folders = [
        (images, *kept_embeddings(args.run / file, clip, images, captions))
        for file, (images, captions) in read.items()
    ]

    call = torch.compile(net) if args.compile else net

    def losses_of(size, generator, dtype, folder=0):
        images, *embeds = folders[folder]
        # As many pixels at every size, so that a step takes as long.
        size = max(1, round(size * math.prod(row.shape) / images[0].numel()))
        x, cond = batch(images, *embeds, size, args.image_share, generator)
        cond = drop_conditions(cond, args.drop, generator).to(device)
        t = (stratified_timesteps(len(x), generator) ** args.t_power).to(device)
        eps = torch.randn(x.shape, generator=generator).to(device)
        with computing(device, dtype):
            model, octaves = lambda x, t: call(x, t, cond), (args.octaves, args.octave_weight)
            return t, v_loss(model, x.to(device), t, eps, *octaves)

    def trial(dtype):
        _, losses = losses_of(args.batch_size, torch.Generator().manual_seed(0), dtype)
        losses.mean().backward()
        net.zero_grad()

    if dtype is None:
        dtype = fastest_dtype(device, trial) if args.dtype == "auto" else getattr(torch, args.dtype)
    print(computes_in(device, dtype), flush=True)

    def save_state(path, step):
        state = learner.state() | {"step": step, "samples": seen, "seconds": spent}
        state["dtype"] = str(dtype).removeprefix("torch.")
        replace_file(path, lambda p: torch.save(state, p))

    def share_of(step):
        return spent / (3600 * args.hours) if args.hours else step / args.steps

    told = Losses()
    step, share, checkpoints, tick = first, share_of(first), 0, time.time()
    while share < 1:
        if share >= 1 - args.decay and not undecayed.exists():
            # From here a longer run can go on: what follows is the landing.
            save_state(undecayed, step)
        # Everything random in a step comes from its number: a resumed run repeats the unbroken one.
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        size = batch_size_at(share, args.batch_size, args.last_batch_size or args.batch_size)
        lr = args.lr * lr_factor(step, share, args.decay)
        folder = 0
        if args.other_sizes and share >= 1 - args.other_share:
            # Every other step stays with the size that the network is for.
            folder = step % 2 * (1 + step // 2 % len(args.other_sizes))
        t, losses = losses_of(size, generator, dtype, folder)
        learner.learn(losses, step, lr, size / args.batch_size)
        told.add(t, losses)

        step, seen = step + 1, seen + len(losses)
        now = time.time()
        spent, tick = spent + now - tick, now
        share = share_of(step)
        if step % args.every == 0 or share >= 1:
            entry = {
                "step": step,
                "samples": seen,
                **told.entry(),
                "lr": round(lr, 7),
                "batch_size": size,
                "share": round(share, 4),
            }
            print(json.dumps(entry), flush=True)
            with open(args.run / "log.jsonl", "a") as log:
                log.write(json.dumps(entry) + "\n")
            save_state(state_file, step)
            save_weights(learner.ema, args.run / "ema.safetensors", row.name)
            checkpoints += 1
            if checkpoints % args.samples_every == 0 or share >= 1:
                pictures = draw(learner.ema, clip, previews, row.shape, device)
                save_image(
                    pictures,
                    args.run / f"samples_{step:06}.png",
                    nrow=6,
                    normalize=True,
                    value_range=(-1, 1),
                )
            told = Losses()

    save_weights(learner.ema, args.output, row.name)


if __name__ == "__main__":
    main()
