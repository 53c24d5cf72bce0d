"""Rules of guidance (`--guidance`), compared where drawings are equally similar to their prompts.

    python bench/guidance.py [--rules NAME[:VALUE...] ...] [--weights W ...] [--prompts N]
        [--seeds N] [--guide FILE] [--checkpoint FILE] [--folder DIR] [-o PNG]

A rule that takes some of the guidance back draws like a lower weight, so that rules say nothing at
equal weight (arXiv 2602.22570). Each rule draws the same prompts from the same noise at several
weights, with the bundled model and default flags. Of the drawings are measured:

- similarity: CLIP's, to the prompt;
- limit: the share of pixels that are at 0 or 255 in one of their colours;
- chroma: the mean distance of a pixel's largest colour from its smallest, in grey levels;
- colours: RMS distance of each colour's sorted values from those of the nearest render of what was
  asked for, in grey levels: how wrong colours are, wherever they are;
- right: the share in which the judge of `train.evaluate` finds the thing;
- diversity: RMS distance between drawings of one prompt, in grey levels.

Tables say what each rule's drawings are where its similarity is that of the plain sum at each of
the --levels: between two weights by a straight line; where there are several such weights, at that
with the best colours. 95% intervals are of 500 draws of prompts with replacement, as far as there
is such a weight in them. A plot shows all measures over the similarity. What is drawn is measured
once: results are kept in --folder.
"""

import argparse
import functools
import json
import random
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import runner  # noqa: E402, F401  before torch: its threads are to sleep while they wait

# isort: split
import numpy as np  # noqa: E402
import torch  # noqa: E402

import diffusion  # noqa: E402
import models  # noqa: E402
from bench.common import head, row  # noqa: E402
from bench.pictures import SHAPE, in_8_bits  # noqa: E402
from cli.options import options_of  # noqa: E402
from cli.scripts import CFG  # noqa: E402
from diffusion.guidance_rules import choose  # noqa: E402
from models import NETWORKS, checkpoints, clip  # noqa: E402
from models.hashes import hash_file  # noqa: E402
from runner.device import pick_dtype  # noqa: E402
from train import judge, render  # noqa: E402
from train.data import replace_file  # noqa: E402
from train.drawing import one_each  # noqa: E402
from train.evaluate import kept, renderer  # noqa: E402
from train.vocabulary import GROUNDS  # noqa: E402

WEIGHTS = (1.0, 2.0, 3.0, 5.0, 8.0, 11.0, 15.0)
LEVELS = (3.0, 8.0)
AT_ONCE = 32
DRAWS = 500
GUIDE = "guide"  # the plain sum with a guide, where one is given
LABELS = {
    "limit": "share of pixels at the limit",
    "chroma": "chroma (levels)",
    "colours": "distance from render's colours (levels)",
    "right": "share of right things",
    "diversity": "distance between drawings (levels)",
}


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--rules", nargs="+", default=list(diffusion.RULES))
    p.add_argument("--weights", type=float, nargs="+", default=list(WEIGHTS))
    p.add_argument("--levels", type=float, nargs="+", default=list(LEVELS), help="of --weights")
    p.add_argument("--prompts", type=int, default=32)
    p.add_argument("--seeds", type=int, default=4, help="for each prompt, 2 or more")
    p.add_argument("--guide", type=Path, help="a weaker checkpoint; drawn by the plain sum")
    p.add_argument("--checkpoint", type=Path)
    p.add_argument("--judge", type=Path, default=judge.JUDGE)
    p.add_argument("--folder", type=Path, default=Path("runs/guidance"))
    p.add_argument("-o", "--output", type=Path, help="the plot (default: rules.png in the folder)")
    args = p.parse_args(argv)
    args.weights = sorted(set(args.weights))
    if len(args.weights) < 2 or not set(args.levels) <= set(args.weights):
        p.error("--weights are 2 or more, and those of --levels are among them")
    if args.seeds < 2 or args.prompts < 1:
        p.error("--seeds is 2 or more and --prompts 1 or more")
    for rule in args.rules:
        try:
            choose(rule)
        except ValueError as error:
            p.error(f"--rules {error}")
    if "plain" not in args.rules:
        p.error("--rules: plain is what the others are compared with")
    if not args.judge.exists():
        p.error(f"{args.judge} is missing: `python -m train.judge` trains it")
    return args


def draw(net, guide, embeds, seeds, weight, rule):
    """Images as PNGs hold them [N, 3, H, W] in [-1, 1]."""
    method = options_of(CFG)["method"].default
    timesteps = diffusion.schedule(
        diffusion.default_schedule(method), diffusion.METHODS[method].steps
    )
    images = []
    for first in range(0, len(embeds), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        under = one_each(net, embeds[part])
        weak = guide and one_each(guide, embeds[part])
        ones = embeds.new_ones(1, 1)
        model = diffusion.guided(under, ones, [weight], rule=rule, guide=weak)
        images.append(
            diffusion.sample(model, diffusion.noise(seeds[part], SHAPE), timesteps, method)
        )
    return in_8_bits(torch.cat(images))


def in_order(images):
    """The values of each colour of images [..., 3, H, W], sorted: [..., 3, H * W]."""
    return images.flatten(-2).sort().values


def colours(image, renders):
    """The least RMS distance of an image's colours from those of a render, in grey levels.

    Args:
        image: [3, H, W] in [-1, 1].
        renders: [M, 3, H * W], as `in_order` has them.
    """
    return (in_order(image) - renders).square().mean((1, 2)).sqrt().min().item() * 127.5


def measure(images, asked, embeds, reader, critic, renders_of):
    """The measures of each prompt [P][S] of images [P * S, 3, H, W]; diversity has one [P][1]."""
    count = len(dict.fromkeys(asked))
    seen = reader.encode_image(images)
    similar = (seen * torch.nn.functional.normalize(embeds)).sum(1)
    first = judge.ranking(critic[0], images)[:, 0].tolist()
    levels = (images * 127.5).view(count, -1, images[0].numel()) / images[0].numel() ** 0.5
    found = {
        "similarity": similar.tolist(),
        "limit": (images.abs().amax(1) == 1).float().mean((1, 2)).tolist(),
        "chroma": ((images.amax(1) - images.amin(1)) * 127.5).mean((1, 2)).tolist(),
        "right": [float(critic[1][i] == a[1]) for i, a in zip(first, asked, strict=True)],
    }
    if renders_of:
        pairs = zip(images, asked, strict=True)
        found["colours"] = [colours(image, renders_of(*a[1:])) for image, a in pairs]
    found = {name: np.reshape(values, (count, -1)).tolist() for name, values in found.items()}
    found["diversity"] = [[torch.pdist(of_one).mean().item()] for of_one in levels]
    return found


def curves(cells, names, chosen):
    """The means of each measure over prompts, by rule: [weights].

    Args:
        cells: (rule, weight) -> measure -> [P][S].
        chosen: the numbers of the prompts to count.
    """
    found = {}
    for rule, weight in cells:
        for name in names:
            values = np.asarray(cells[rule, weight][name])[chosen]
            found.setdefault(rule, {}).setdefault(name, []).append(values.mean())
    return {rule: {k: np.array(v) for k, v in of.items()} for rule, of in found.items()}


def at_similarity(weights, curve, level):
    """What a rule's drawings are where they have a similarity, as a dict; None: they never do."""
    similar, found = curve["similarity"], []
    for i in range(len(weights) - 1):
        low, high = similar[i : i + 2]
        if not min(low, high) <= level <= max(low, high):
            continue
        share = 0.0 if low == high else (level - low) / (high - low)
        point = {k: v[i] + share * (v[i + 1] - v[i]) for k, v in curve.items()}
        found.append({"weight": weights[i] + share * (weights[i + 1] - weights[i]), **point})
    return min(found, key=lambda p: p["colours" if "colours" in p else "limit"], default=None)


def compare(cells, weights, names, level, prompts):
    """rule -> measure -> [value, low, high], where it is as similar as the plain sum at `level`.

    `colours_more` (or `limit_more`) is by how much more than the plain sum's.
    """
    rng = np.random.default_rng(0)
    everyone = np.arange(prompts)
    draws = [everyone, *rng.integers(0, prompts, (DRAWS, prompts))]
    found = {}
    for chosen in draws:
        all_curves = curves(cells, names, chosen)
        wanted = all_curves["plain"]["similarity"][weights.index(level)]
        points = {r: at_similarity(weights, c, wanted) for r, c in all_curves.items()}
        for rule, point in points.items():
            if point:
                key = "colours" if "colours" in point else "limit"
                point[f"{key}_more"] = point[key] - points["plain"][key]
            found.setdefault(rule, []).append(point)
    result = {}
    for rule, (whole, *others) in found.items():
        others = [point for point in others if point]
        result[rule] = whole and {
            key: [value, *np.quantile([p[key] for p in others], (0.025, 0.975))]
            for key, value in whole.items()
        }
    return result


def tell(result, level):
    """Prints the table of one level."""
    print(f"\nas similar as the plain sum at weight {level:g}:\n")
    columns = list(result["plain"])
    head("rule", *columns)
    for rule, point in result.items():
        cells = (
            [f"{value:.3g} ({low:.3g} to {high:.3g})" for value, low, high in point.values()]
            if point
            else ["never"] + [""] * (len(columns) - 1)
        )
        row(rule, *cells)


def plot(cells, weights, names, prompts, path):
    """All measures over the similarity, a line a rule with a point a weight, as a PNG."""
    from matplotlib.figure import Figure

    rng = np.random.default_rng(0)
    whole = curves(cells, names, np.arange(prompts))
    draws = [curves(cells, names, c) for c in rng.integers(0, prompts, (DRAWS, prompts))]
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3).flat
    panels = [("similarity", "weight", "similarity to the prompt")]
    panels += [(name, "similarity", text) for name, text in LABELS.items() if name in names]
    for ax, (name, over, label) in zip(axes, panels, strict=False):
        for rule, curve in whole.items():
            x = weights if over == "weight" else curve[over]
            ends = np.quantile([draw[rule][name] for draw in draws], (0.025, 0.975), axis=0)
            bars = abs(ends - curve[name])  # an interval need not hold the mean
            ax.errorbar(x, curve[name], bars, marker="o", markersize=3, elinewidth=0.5, label=rule)
        ax.set(xlabel="weight" if over == "weight" else panels[0][2], ylabel=label)
        ax.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    for ax in figure.axes[len(panels) :]:
        ax.remove()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda p: figure.savefig(p, dpi=100, format="png"))


def main(argv=None):
    args = arguments(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    dtype = pick_dtype("auto", torch.device("cpu"))
    path = checkpoints.find(NETWORKS["emoji"], args.checkpoint)
    net, guide = models.load("emoji", path, dtype=dtype), None
    if args.guide:
        guide = models.load("emoji", args.guide, dtype=dtype)
    critic, reader = judge.load(args.judge), clip.load("emoji")
    renders_of = None
    if render.FONT.exists():
        render_all = renderer()
        renders_of = functools.cache(lambda thing, ground: in_order(render_all(thing, ground)))
    else:
        print(f"no distance from renders' colours without the font {render.FONT}", flush=True)
    rng = random.Random(0)
    asked = []
    for thing in rng.sample(critic[1], args.prompts):
        ground = rng.choice(list(GROUNDS))
        prompt = f"{render.article(thing)} on {render.article(ground)} background"
        asked += [(prompt, thing, ground)] * args.seeds
    seeds = list(range(args.seeds)) * args.prompts
    settings = {
        "checkpoint": hash_file(path),
        "guide": args.guide and hash_file(args.guide),
        "judge": hash_file(args.judge),
        "renders": bool(renders_of),
        "dtype": str(dtype).removeprefix("torch."),
        "prompts": args.prompts,
        "seeds": args.seeds,
    }
    cells = {}
    with torch.inference_mode():
        embeds = reader.encode_text([prompt for prompt, _, _ in asked])
        others = [rule for rule in args.rules if rule != "plain"]
        for rule in ["plain", *others, *([GUIDE] if guide else [])]:
            how = (None, rule) if rule != GUIDE else (guide, "plain")
            for weight in args.weights:

                def cell(how=how, weight=weight):
                    images = draw(net, how[0], embeds, seeds, weight, how[1])
                    return measure(images, asked, embeds, reader, critic, renders_of)

                sums = weight == 1 and rule not in ("plain", GUIDE)
                if sums and choose(rule).rule.contrasts:  # it is the plain sum
                    cells[rule, weight] = cells["plain", weight]
                    continue
                name = f"{rule.replace(':', '_')}_{weight:g}"
                asks = {**settings, "rule": rule, "weight": weight}
                cells[rule, weight] = kept(args.folder / f"{name}.json", asks, cell)
                print(f"{rule} at {weight:g} is measured", flush=True)
    names = ["similarity", *(n for n in LABELS if n in cells["plain", args.weights[0]])]
    everyone = np.arange(args.prompts)
    summary = {"settings": settings, "weights": args.weights, "levels": {}}
    whole = curves(cells, names, everyone)
    summary["curves"] = {r: {k: v.tolist() for k, v in c.items()} for r, c in whole.items()}
    for level in args.levels:
        result = compare(cells, args.weights, names, level, args.prompts)
        summary["levels"][f"{level:g}"] = result
        tell(result, level)
    text = json.dumps(summary, indent=1) + "\n"
    replace_file(args.folder / "guidance.json", lambda p: p.write_text(text, encoding="utf-8"))
    plot(cells, args.weights, names, args.prompts, args.output or args.folder / "rules.png")


if __name__ == "__main__":
    main()
