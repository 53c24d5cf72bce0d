"""Trains the bundled CLIP on a folder of captioned images: `python -m train.clip`.

A killed run goes on from its last checkpoint when the same command is given again.
"""

import argparse
import gzip
import itertools
import json
import time
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.clip import Clip, build, tokenizer_of
from models.zoo import CLIPS
from train.data import read_folder, replace_file
from train.precision import computes_in, fastest_dtype, mixed_precision

COMMON_MERGES = 2000  # of CLIP's own, so that words from outside the captions stay short


def arguments(argv=None):
    p = argparse.ArgumentParser(usage="python -m train.clip [flags]", description=__doc__)
    p.add_argument("--data", type=Path, default=Path("data/emoji"), help="captioned images")
    p.add_argument("--output", type=Path, default=Path("checkpoints/emoji_clip.safetensors"))
    p.add_argument("--init", type=Path, help="weights of such a CLIP to begin from")
    p.add_argument("--run", type=Path, default=Path("runs/clip"), help="state and log")
    p.add_argument("--steps", type=int, default=700)
    p.add_argument("--batch-size", type=int, default=256)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--patch-dropout", type=float, default=0.5)
    p.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return p.parse_args(argv)


def merges_for(texts):
    """The commonest of CLIP's merges and those that the words of `texts` need, one a line.

    A full table of tokens would be most of a small CLIP's weights.
    """
    with gzip.open(default_bpe()) as file:
        table = file.read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    ranks = {tuple(merge.split()): i for i, merge in enumerate(table)}
    tokenizer, used = SimpleTokenizer(), set(range(COMMON_MERGES))
    words = {word for text in texts for word in tokenizer.pat.findall(text.lower())}
    for word in words:
        symbols = [tokenizer.byte_encoder[b] for b in word.encode()]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            pairs = enumerate(itertools.pairwise(symbols))
            rank, i = min((ranks.get(pair, len(ranks)), i) for i, pair in pairs)
            if rank == len(ranks):
                break
            used.add(rank)
            symbols[i : i + 2] = ["".join(symbols[i : i + 2])]
    return "\n".join(table[i] for i in sorted(used))


def contrastive_loss(image_embeds, text_embeds, scale, texts):
    """Each image finds its text and each text its image among those of the batch.

    Args:
        image_embeds, text_embeds: unit-length embeddings [N, D].
        scale: what cosines are multiplied by.
        texts: [N] numbers; pairs that have the same text are no counter-examples of each other.
    """
    logits = scale * image_embeds @ text_embeds.T
    same = texts[:, None] == texts[None]
    logits = logits.masked_fill(same & ~torch.eye(len(same), dtype=bool, device=same.device), -1e4)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def begin_from(path, model, tokenizer, context_length):
    """Gives a CLIP the weights in a file, and its tokens the embeddings that they had there.

    The two tokenizers may have different merges: a token is known by what it spells.
    """
    with safe_open(path, "pt") as file:
        merges = json.loads(file.metadata()["merges"])
    weights = {key: value.float() for key, value in load_file(path).items()}
    known = tokenizer_of(merges, context_length).encoder
    tokens = model.state_dict()["token_embedding.weight"].clone()
    for text, i in tokenizer.encoder.items():
        if text in known:
            tokens[i] = weights["token_embedding.weight"][known[text]]
    model.load_state_dict({**weights, "token_embedding.weight": tokens})


def main(argv=None):
    args = arguments(argv)
    device = torch.device(args.device)
    config = CLIPS["emoji"].config
    args.run.mkdir(parents=True, exist_ok=True)
    images, captions = read_folder(args.data, 2 * (config["vision_cfg"]["image_size"],))

    texts = sorted({line for lines in captions for line in lines})
    row = {text: i for i, text in enumerate(texts)}
    merges = merges_for(texts)
    tokenizer = tokenizer_of(merges, config["text_cfg"]["context_length"])
    tokens = tokenizer(texts).to(device)

    torch.manual_seed(args.seed)
    dropout = {**config["vision_cfg"], "patch_dropout": args.patch_dropout}
    model = build({**config, "vision_cfg": dropout}, tokenizer.vocab_size).to(device)
    if args.init:
        begin_from(args.init, model, tokenizer, config["text_cfg"]["context_length"])
    whiten = Clip(build(config, tokenizer.vocab_size).to(device), tokenizer)
    opt = torch.optim.AdamW(model.parameters(), args.lr, (0.9, 0.98), weight_decay=0.05)

    first, dtype, state_file = 0, None, args.run / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        opt.load_state_dict(state["opt"])
        first, dtype = state["step"], getattr(torch, state["dtype"])
        print(f"goes on from step {first}", flush=True)

    def loss_of(chosen, which, dtype):
        x = images[chosen].to(device).float() / 127.5 - 1
        # The backward pass of fused attention is slow on the CPU.
        with mixed_precision(device, dtype), sdpa_kernel(SDPBackend.MATH):
            image_embeds = model.encode_image((x - whiten._mean) / whiten._std, normalize=True)
            text_embeds = model.encode_text(tokens[which], normalize=True)
            scale = model.logit_scale.exp().clamp(max=100)
        return contrastive_loss(image_embeds.float(), text_embeds.float(), scale, which)

    def trial(dtype):
        which = torch.arange(args.batch_size, device=device) % len(tokens)
        loss_of(which.cpu() % len(images), which, dtype).backward()
        opt.zero_grad()

    if dtype is None:
        dtype = fastest_dtype(device, trial) if args.dtype == "auto" else getattr(torch, args.dtype)
    print(computes_in(device, dtype), flush=True)

    losses, start = [], time.time()
    for step in range(first, args.steps):
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        torch.manual_seed(args.seed * 1_000_003 + step)  # of the patches to drop
        chosen = torch.randint(len(images), (args.batch_size,), generator=generator)
        u = torch.rand(args.batch_size, generator=generator).tolist()
        lines = [
            captions[i][int(v * len(captions[i]))] for i, v in zip(chosen.tolist(), u, strict=True)
        ]
        which = torch.tensor([row[line] for line in lines], device=device)
        for group in opt.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 50, (args.steps - step) / args.steps * 1.5)
        loss = loss_of(chosen, which, dtype)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())

        done = step + 1
        if done % args.every == 0 or done == args.steps:
            seconds = time.time() - start
            entry = {
                "step": done,
                "loss": sum(losses) / len(losses),
                "images_per_second": round(len(losses) * args.batch_size / seconds),
            }
            print(json.dumps(entry), flush=True)
            with open(args.run / "log.jsonl", "a") as log:
                log.write(json.dumps(entry) + "\n")
            state = {"model": model.state_dict(), "opt": opt.state_dict(), "step": done}
            state["dtype"] = str(dtype).removeprefix("torch.")
            replace_file(state_file, lambda p, s=state: torch.save(s, p))
            losses, start = [], time.time()

    weights = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    metadata = {"merges": json.dumps(merges)}
    replace_file(args.output, lambda p: save_file(weights, p, metadata))


if __name__ == "__main__":
    main()
