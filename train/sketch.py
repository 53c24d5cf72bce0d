"""Trains the sketch of a network from captioned images: `python -m train.sketch`.

The sketch is the part of a network that tells from an embedding alone what its images look like on
average. It is small and sees no noise, so that minutes teach it what the U-Net would learn in days;
`python -m train.diffusion --init` takes it from here and leaves it as it is.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import models.clip
from models.unet import UNet
from models.zoo import NETWORKS
from train.batches import batch, kept_embeddings
from train.data import read_folders
from train.diffusion import take_over
from train.learning import lr_factor, save_weights
from train.precision import computing


def arguments(argv=None):
    p = argparse.ArgumentParser(usage="python -m train.sketch [flags]", description=__doc__)
    p.add_argument(
        "--data", type=Path, nargs="+", default=[Path("data/emoji")], help="captioned images"
    )
    sketching = [n for n, r in NETWORKS.items() if r.architecture.sketch and not r.teacher]
    p.add_argument("--model", default="emoji", choices=sketching)
    p.add_argument("--clip-checkpoint", type=Path, help="weights of the model's CLIP")
    p.add_argument("--init", type=Path, help="weights for all the rest of the network")
    p.add_argument("--output", type=Path, default=Path("runs/sketch/net.safetensors"))
    p.add_argument("--run", type=Path, default=Path("runs/sketch"), help="embeddings")
    p.add_argument("--steps", type=int, default=20_000)
    p.add_argument("--batch-size", type=int, default=256)
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--decay", type=float, default=0.6, help="share of the run that lowers the lr")
    p.add_argument("--image-share", type=float, default=0.15, help="conditions that are images")
    p.add_argument("--every", type=int, default=500, help="steps between lines of the log")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    args = p.parse_args(argv)
    if args.init and not args.init.is_file():
        p.error(f"--init {args.init}: no such file")
    if min(args.steps, args.batch_size, args.every) < 1:
        p.error("--steps, --batch-size and --every are 1 or more")
    return args


def main(argv=None):
    args = arguments(argv)
    row = NETWORKS[args.model]
    args.run.mkdir(parents=True, exist_ok=True)
    clip = models.clip.load(row.clip, args.clip_checkpoint)
    images, captions = read_folders(args.data, row.shape[:0:-1])

    torch.manual_seed(args.seed)
    net = UNet(row.architecture)
    if args.init:
        taken, count = take_over(load_file(args.init), net)
        print(f"begins with {taken / count:.1%} of its weights from {args.init}", flush=True)
    sketch = net.sketch
    side = sketch.side
    embeds = kept_embeddings(args.run / "embeddings.pt", clip, images, captions)
    # Half precision holds the 256 levels of a mean of pixels well enough.
    small = torch.cat(
        [
            F.interpolate(part.float(), (side, side), mode="area").half()
            for part in images.split(999)
        ]
    )

    optimiser = torch.optim.AdamW(sketch.parameters(), 0.0, (0.9, 0.99), weight_decay=0, fused=True)
    generator = torch.Generator().manual_seed(args.seed)
    total = 0.0
    for step in range(args.steps):
        for group in optimiser.param_groups:
            group["lr"] = args.lr * lr_factor(step, step / args.steps, args.decay)
        x, cond = batch(small, *embeds, args.batch_size, args.image_share, generator)
        with computing(torch.device("cpu"), getattr(torch, args.dtype)):
            pred = sketch(net.normalised(cond), side, side)[:, :3].float()
        loss = F.mse_loss(pred, x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
        if (step + 1) % args.every == 0:
            print(json.dumps({"step": step + 1, "loss": round(total / args.every, 5)}), flush=True)
            total = 0.0

    save_weights(net, args.output, row.name)


if __name__ == "__main__":
    main()
