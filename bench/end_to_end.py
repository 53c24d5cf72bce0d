"""One image from process start to file: the plain way against `cfg_sample.py` with default flags.

    python bench/end_to_end.py [--model NAME] [--runs N] [--steps N] [--clip-first]

The plain way is what the published script does: float32 on contiguous tensors, attention as two
products and a softmax, a network built with random weights that torch.load then replaces, PLMS with
50 steps, and the network before CLIP. With --clip-first it is measured in the other order as well:
what CLIP's loading frees then lies where the activations find it, and the system need not clear new
pages for them. Both are processes of their own, in turns, with the files in the system's page
cache; ours runs twice, as its first run of a prompt reads CLIP and its second knows the embedding.
Peak memory includes the pages of mapped files. The weights are made up, of the published shapes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.common import head, machine, row, write_clip  # noqa: E402

PROMPT = "a lighthouse in a storm"
WEIGHT = 3.0


def draw_plainly(name, checkpoint, clip_checkpoint, output, steps, clip_first):
    """One image, as most scripts draw it."""
    import open_clip
    import torch
    from torchvision.transforms.functional import to_pil_image

    import diffusion
    from bench.evaluation import go_the_plain_way
    from bench.loading import plain
    from models.zoo import NETWORKS

    net = None if clip_first else plain(name, checkpoint)
    clip = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False)
    clip.load_state_dict(torch.load(clip_checkpoint, map_location="cpu", weights_only=True))
    clip.eval().requires_grad_(False)
    net = net or plain(name, checkpoint)
    embed = clip.encode_text(open_clip.get_tokenizer("ViT-B-16")([PROMPT]))

    go_the_plain_way()

    def model(x, t):
        v = net(torch.cat([x, x]), torch.cat([t, t]), torch.cat([torch.zeros_like(embed), embed]))
        without, given = v.chunk(2)
        return without + WEIGHT * (given - without)

    x = diffusion.noise([0], NETWORKS[name].shape)
    x = diffusion.sample(model, x, diffusion.schedule("spliced", steps), "plms")
    to_pil_image((x[0].clamp(-1, 1) + 1) / 2).save(output)


def run(command):
    """(seconds, peak resident memory in bytes) of a process."""
    start = time.perf_counter()
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{command[1]} failed")
    return seconds, usage.ru_maxrss * 1024


def compare(args, folder):
    print(machine())
    checkpoint, clip_checkpoint = folder / f"{args.model}.pth", folder / "clip.pt"
    print(f"writing {checkpoint}", file=sys.stderr)
    # In a process of its own: a child's peak memory begins with what its parent has.
    write = [sys.executable, __file__, "--model", args.model]
    subprocess.run([*write, "--write", checkpoint, clip_checkpoint], check=True)
    plain = [sys.executable, __file__, "--model", args.model, "--steps", args.steps]
    plain += ["--plain", checkpoint, clip_checkpoint, folder / "plain.png"]
    ours = [sys.executable, ROOT / "cfg_sample.py", f"{PROMPT}:{WEIGHT:g}", "--model", args.model]
    ours += ["--checkpoint", checkpoint, "--clip-checkpoint", clip_checkpoint]
    ours += ["--overwrite", "-o", folder / "ours.png"]
    ways = {"ours, first run": ours, "ours": ours, "plain": plain}
    if args.clip_first:
        ways["plain, CLIP first"] = [*plain, "--clip-first"]
    results = {way: [] for way in ways}
    for number in range(args.runs):
        os.environ["V_DIFFUSION_CACHE"] = str(folder / f"cache {number}")
        for way, command in ways.items():
            results[way].append(run(command))
            print(way, results[way][-1], file=sys.stderr, flush=True)
    base = [statistics.median(values) for values in zip(*results["plain"], strict=True)]
    head("one image", "seconds", "times as fast", "peak memory", "")
    for way, found in results.items():
        seconds, peak = (statistics.median(values) for values in zip(*found, strict=True))
        cells = [way, f"{seconds:.1f}", f"{base[0] / seconds:.1f}", f"{peak / 1e9:.2f} GB"]
        row(*cells, f"{peak / base[1]:.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="cc12m_1_cfg", help="a published conditional network")
    parser.add_argument("--runs", type=int, default=1, help="measurements of each way")
    parser.add_argument("--steps", type=int, default=50, help="of the plain way")
    parser.add_argument("--clip-first", action="store_true", help="the other order as well")
    parser.add_argument("--write", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plain", nargs=3, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        from bench.loading import write_checkpoint

        write_checkpoint(args.model, args.write[0])
        write_clip(args.write[1])
        return
    if args.plain:
        import torch

        with torch.inference_mode():
            draw_plainly(args.model, *args.plain, args.steps, args.clip_first)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


if __name__ == "__main__":
    main()
