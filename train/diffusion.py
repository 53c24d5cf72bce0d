"""Trains a conditional v network on a folder of captioned images: `python -m train.diffusion`.

A folder holds `name.png` and `name.txt` (one caption a line), as `python -m train.render` writes.
A killed run goes on from its last checkpoint when the same command is given again.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.utils import save_image

import diffusion
import models.clip
from diffusion.training import drop_conditions, stratified_timesteps, v_loss
from models.unet import UNet
from models.zoo import NETWORKS
from train.data import read_folder, replace_file
from train.precision import mixed_precision


def arguments(argv=None):
    p = argparse.ArgumentParser(prog="python -m train.diffusion", description=__doc__)
    p.add_argument("--data", type=Path, default=Path("data/emoji"), help="captioned images")
    p.add_argument("--model", default="emoji", choices=[n for n, r in NETWORKS.items() if r.clip])
    p.add_argument("--clip-checkpoint", type=Path, help="weights of the model's CLIP")
    p.add_argument("--output", type=Path, default=Path("checkpoints/emoji.safetensors"))
    p.add_argument("--run", type=Path, default=Path("runs/diffusion"), help="state, log, samples")
    p.add_argument("--steps", type=int, default=6000)
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--lr", type=float, default=6e-4)
    p.add_argument("--decay", type=float, default=0.4, help="share of the steps that lower the lr")
    p.add_argument("--drop", type=float, default=0.2, help="share of zero embeddings")
    p.add_argument("--image-share", type=float, default=0.25, help="conditions that are images")
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--every", type=int, default=250, help="steps between checkpoints and samples")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--compile", action="store_true", help="torch.compile: two minutes for 17%%")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return p.parse_args(argv)


@torch.inference_mode()
def embed(clip, images, captions):
    """Everything a condition can be.

    Returns:
        (image embeddings [N, D], text embeddings [M, D] of the distinct captions, and for each
        image the rows of its captions).
    """
    texts = sorted({line for lines in captions for line in lines})
    row = {text: i for i, text in enumerate(texts)}
    image_embeds = torch.cat(
        [
            clip.encode_image(
                torch.nn.functional.interpolate(
                    part.float() / 127.5 - 1, clip.image_size, mode="area"
                )
            )
            for part in images.split(256)
        ]
    )
    return image_embeds, clip.encode_text(texts), [[row[t] for t in lines] for lines in captions]


def batch(images, image_embeds, text_embeds, rows, size, image_share, generator):
    """`size` random images [size, 3, H, W] in [-1, 1] and a condition for each [size, D]."""
    chosen = torch.randint(len(images), (size,), generator=generator)
    u = torch.rand(2, size, generator=generator)
    texts = [rows[i][int(v * len(rows[i]))] for i, v in zip(chosen.tolist(), u[0], strict=True)]
    by_image = (u[1] < image_share)[:, None]
    embeds = torch.where(by_image, image_embeds[chosen], text_embeds[texts])
    return images[chosen].float() / 127.5 - 1, embeds


def lr_factor(step, steps, decay, warmup=100):
    """Up over the first steps, then level, then down to nothing over the last `decay` of them."""
    return min(1, (step + 1) / warmup, (steps - step) / max(1, decay * steps))


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
    row = NETWORKS[args.model]
    device = torch.device(args.device)
    args.run.mkdir(parents=True, exist_ok=True)

    images, captions = read_folder(args.data, row.shape[1])
    clip = models.clip.load(row.clip, args.clip_checkpoint)
    image_embeds, text_embeds, rows = embed(clip, images, captions)
    previews = [captions[i * len(captions) // 36][0] for i in range(36)]

    torch.manual_seed(args.seed)
    net = UNet(row.architecture).to(device, memory_format=torch.channels_last)
    ema = UNet(row.architecture).to(device, memory_format=torch.channels_last).eval()
    ema.load_state_dict(net.state_dict())
    opt = torch.optim.AdamW(net.parameters(), args.lr, (0.9, 0.99), weight_decay=0.01, fused=True)

    first, state_file = 0, args.run / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        opt.load_state_dict(state["opt"])
        first = state["step"]
        print(f"goes on from step {first}", flush=True)

    call = torch.compile(net) if args.compile else net
    losses, start = [], time.time()
    for step in range(first, args.steps):
        # Everything random in a step comes from its number: a resumed run repeats the unbroken one.
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        x, cond = batch(
            images, image_embeds, text_embeds, rows, args.batch_size, args.image_share, generator
        )
        cond = drop_conditions(cond, args.drop, generator).to(device)
        t = stratified_timesteps(len(x), generator).to(device)
        eps = torch.randn(x.shape, generator=generator).to(device)
        for group in opt.param_groups:
            group["lr"] = args.lr * lr_factor(step, args.steps, args.decay)
        # The backward pass of fused attention is slow on the CPU, and these images are small.
        with mixed_precision(device), sdpa_kernel(SDPBackend.MATH):
            loss = v_loss(lambda x, t, c=cond: call(x, t, c), x.to(device), t, eps).mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        decay = min(args.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
        losses.append(loss.item())

        done = step + 1
        if done % args.every == 0 or done == args.steps:
            entry = {
                "step": done,
                "loss": sum(losses) / len(losses),
                "images_per_second": round(len(losses) * args.batch_size / (time.time() - start)),
            }
            print(json.dumps(entry), flush=True)
            with open(args.run / "log.jsonl", "a") as log:
                log.write(json.dumps(entry) + "\n")
            state = {"net": net.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict()}
            replace_file(state_file, lambda p, s=state, n=done: torch.save({**s, "step": n}, p))
            pictures = draw(ema, clip, previews, row.shape, device)
            save_image(
                pictures,
                args.run / f"samples_{done:06}.png",
                nrow=6,
                normalize=True,
                value_range=(-1, 1),
            )
            losses, start = [], time.time()

    weights = {k: v.half().contiguous() for k, v in ema.state_dict().items()}
    replace_file(args.output, lambda p: save_file(weights, p, {"model": row.name}))


if __name__ == "__main__":
    main()
