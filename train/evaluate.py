"""Draws with a model of emoji and has an independent judge look: `python -m train.evaluate`.

Writes what it measures as JSON and shows guidance and mixed prompts as pictures. Drawings of a
student are compared with its teacher's instead of being mixed. A part that is finished is kept:
given again, the same command goes on with the next one.
"""

import argparse
import functools
import json
import math
import random
import sys
import time
from pathlib import Path

import torch

import diffusion
import models
import models.clip
from diffusion.methods import DEFAULT, WHOLE
from media.tensors import to_image, to_tensor
from models import NETWORKS, checkpoints
from models.hashes import hash_file
from models.zoo import STUDENTS_METHOD, STUDENTS_SCHEDULE
from runner.device import pick_device, pick_dtype
from runner.exit import program
from train import judge, pictures, render
from train.data import replace_file
from train.drawing import device_of, draw, sampled
from train.first import CORE, FIRST_GROUNDS
from train.measures import cleanliness, diversity, extents, grounds_of, interval, judged
from train.vocabulary import GROUNDS, NAMES, THINGS

WEIGHT = 3.0
WEIGHTS = (0.0, 1.0, 3.0, 6.0)  # of the guidance part
COMPARED = 100  # drawings of a student with its teacher's
SHOWN_BESIDE = 10  # of them, in a row of a sheet
SHOWN = 100  # drawings on a sheet
NEAR = 4  # pixels that the width and the height of what is drawn may be off a render's

# Rows of the sheet of mixed prompts; an emoji in braces is an image prompt, its render.
MIXES = (
    ("a cat:3",),
    ("a cat:2", "a fox:1"),
    ("a cat:1", "a fox:2"),
    ("a fox:3",),
    ("a red heart:1.5", "a blue heart:1.5"),
    ("a dog:1.5", "a panda:1.5"),
    ("face:3",),
    ("face:3", "happy:-1"),
    ("{🌈}:3",),
    ("{🍄}:3",),
    ("{🍄}:2", "a pink background:1"),
    ("{🍄}:1.5", "a hamburger:1.5"),
)


def arguments(argv=None):
    p = argparse.ArgumentParser(usage="python -m train.evaluate [flags]", description=__doc__)
    p.add_argument("--model", default="emoji", choices=[n for n, r in NETWORKS.items() if r.clip])
    p.add_argument("--checkpoint", type=Path, help="weights of the network")
    p.add_argument("--teacher-checkpoint", type=Path, help="weights of a student's teacher")
    p.add_argument("--clip-checkpoint", type=Path, help="weights of its CLIP")
    p.add_argument("--output", type=Path, default=Path("runs/evaluation"))
    p.add_argument("--judge", type=Path, default=judge.JUDGE, help="trained if it is not there")
    p.add_argument("--core", action="store_true", help="ask for the things of render --core alone")
    p.add_argument("--prompts", type=int, default=500, help="of pairs that training saw")
    p.add_argument("--held-out", type=int, default=168, help="prompts of pairs that it did not")
    p.add_argument("--kind-prompts", type=int, default=200, help="of small things, and of two")
    p.add_argument("--guidance-prompts", type=int, default=32, help="for each weight")
    p.add_argument("--guidance-seeds", type=int, default=8, help="for each of these prompts")
    p.add_argument("--mix-seeds", type=int, default=8, help="images in a row of the sheet")
    p.add_argument("--method", choices=diffusion.METHODS, help="default: that of cfg_sample.py")
    p.add_argument("--steps", type=int, help="default: those of cfg_sample.py")
    p.add_argument("--batch-size", type=int, default=50)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device")
    p.add_argument("--dtype", default="auto", choices=["auto", "float32", "float16", "bfloat16"])
    p.add_argument("--quick", action="store_true", help="few prompts and steps: does it run?")
    args = p.parse_args(argv)
    row = NETWORKS[args.model]
    args.method = args.method or (STUDENTS_METHOD if row.teacher else DEFAULT)
    if args.steps is None:
        args.steps = row.evaluations or diffusion.default_steps(args.method)
    if args.teacher_checkpoint and not row.teacher:
        p.error(f"--teacher-checkpoint: {args.model} is no student")
    if args.quick:
        args.prompts = args.held_out = args.kind_prompts = 6
        args.guidance_prompts = args.guidance_seeds = args.mix_seeds = args.steps = 2
        args.method = args.method if row.teacher else "plms2"
        args.judge = args.output / "judge.safetensors"
    args.schedule = diffusion.default_schedule(args.method, row.min_t)
    if row.teacher:
        args.schedule = STUDENTS_SCHEDULE
    counts = ("prompts", "held_out", "kind_prompts", "guidance_prompts", "mix_seeds")
    for name in (*counts, "steps", "batch_size"):
        if getattr(args, name) < 1:
            p.error(f"--{name.replace('_', '-')} is 1 or more")
    if args.guidance_seeds < 2:
        p.error("--guidance-seeds is 2 or more: diversity is between images of one prompt")
    return args


def vocabulary(names, core):
    """What to ask for: (things, pairs not to count as seen, pairs that nothing ever saw).

    The bundled weights began with the first ones, which were trained on the first things and, in
    between, on those of the core alone, on the first grounds, each with its own hold-out: a pair is
    new to them and to their CLIP if it was held out wherever it could be.
    """
    core_names = [name for name in names if name in CORE]
    of_all, of_core = (
        set(render.held_out_pairs([render.Thing("", name, ()) for name in of], 0, on))
        for of, on in ((names, GROUNDS), (core_names, FIRST_GROUNDS))
    )
    new = {
        (thing, ground)
        for thing, ground in of_all
        if thing not in CORE or ground not in FIRST_GROUNDS or (thing, ground) in of_core
    }
    if core:
        things = [name for name in names if name in CORE]
        return things, sorted(of_core), sorted(pair for pair in new if pair[0] in CORE)
    return names, sorted(of_all), sorted(new)


def draw_prompts(count, things, not_seen, held_out, seed, kind="plain"):
    """Prompts with what they ask for, the same for a seed.

    Args:
        things: names; each is asked for as often as the others, every fourth time without a ground.
        not_seen: (thing, ground) pairs not to ask for.
        held_out: None, or the pairs to ask for, each as often as the others, and nothing else.
        kind: of `train.render`: plain, small or two.
    Returns:
        `count` triples (prompt, thing, ground or None).
    """
    rng = random.Random(f"{'prompts' if held_out is None else 'held out'} {seed}")
    pool, picked = list(things if held_out is None else held_out), []
    while len(picked) < count:
        rng.shuffle(pool)
        picked += pool
    asked = []
    for i, pick in enumerate(picked[:count]):
        if held_out is not None:
            name, ground = pick
        else:
            name = pick
            seen = [g for g in GROUNDS if (name, g) not in not_seen]
            ground = rng.choice(seen) if i % 4 else None
        prompt = {
            "plain": render.article(name),
            "small": f"a small {name}",
            "two": f"two {render.plural(name)}",
        }[kind]
        if ground:
            prompt += f" on {render.article(ground)} background"
        asked.append((prompt, name, ground))
    return asked


def prompt_part(args, net, clip, critic, name, count):
    """Accuracy on prompts of the vocabulary, or of its held-out pairs."""
    things, not_seen, held_out = vocabulary(critic[1], args.core)
    if name != "held_out":
        held_out = None
    asked = draw_prompts(count, things, set(not_seen), held_out, args.seed)
    with torch.inference_mode():
        embeds = clip.encode_text([prompt for prompt, _, _ in asked]).to(device_of(net))
    seeds = range(args.seed, args.seed + count)
    images = draw(args, net, embeds, WEIGHT, seeds, name)
    pictures.grid([to_image(image) for image in images[:SHOWN]], args.output / f"{name}.png")
    result = {"pairs": len({pair[1:] for pair in asked}), **judged(images, asked, critic)}
    if not render.FONT.exists():
        print(f"{name}: no measures of cleanliness without the font {render.FONT}", flush=True)
        return {**result, "cleanliness": None}
    return {**result, "cleanliness": cleanliness(images, asked, renderer())}


def kind_part(args, net, clip, critic, kind):
    """Accuracy on small things, or on two of a kind; and how many have the size of a render."""
    things, not_seen, _ = vocabulary(critic[1], args.core)
    asked = draw_prompts(args.kind_prompts, things, set(not_seen), None, args.seed, kind)
    with torch.inference_mode():
        embeds = clip.encode_text([prompt for prompt, _, _ in asked]).to(device_of(net))
    seeds = range(args.seed, args.seed + len(asked))
    images = draw(args, net, embeds, WEIGHT, seeds, kind)
    pictures.grid([to_image(image) for image in images[:SHOWN]], args.output / f"{kind}.png")
    result = judged(images, asked, critic)
    if not render.FONT.exists():
        return {**result, "sized": None}
    emoji, seen_on = dict(zip(NAMES, THINGS, strict=True)), grounds_of(images)
    renders = [
        render.compose(
            render.sprite(emoji[thing]),
            GROUNDS[ground or seen_on[i]],
            judge.SIZE,
            kind,
            random.Random(f"{kind} {i}"),
        )
        for i, (_, thing, ground) in enumerate(asked)
    ]
    off = extents(images) - extents(torch.stack([to_tensor(image) for image in renders]))
    near = (off.abs() <= NEAR).all(dim=1)
    return {**result, "sized": interval(near.sum().item(), len(asked))}


def renderer(size=judge.SIZE):
    """A function (thing, ground) -> every plain render of it [M, 3, size, size] in [-1, 1]."""
    emoji = dict(zip(NAMES, THINGS, strict=True))
    sprite = functools.cache(render.sprite)

    def renders_of(thing, ground):
        images = render.all_plain(sprite(emoji[thing]), GROUNDS[ground], size)
        return torch.stack([to_tensor(image) for image in images])

    return renders_of


def guidance_part(args, net, clip, critic, weight):
    """Accuracy and diversity at one weight."""
    things, _, _ = vocabulary(critic[1], args.core)
    things = random.Random(f"guidance {args.seed}").sample(things, args.guidance_prompts)
    asked = [(render.article(t), t, None) for t in things for _ in range(args.guidance_seeds)]
    # Every prompt and every weight starts from the same noise: only the guidance differs.
    seeds = list(range(args.seed, args.seed + args.guidance_seeds)) * args.guidance_prompts
    with torch.inference_mode():
        embeds = clip.encode_text([prompt for prompt, _, _ in asked]).to(device_of(net))
        images = draw(args, net, embeds, weight, seeds, f"weight {weight:g}")
        small = torch.nn.functional.interpolate(images, clip.image_size, mode="area")
        embedded = clip.encode_image(small).cpu()
    result = judged(images, asked, critic)
    shape = (args.guidance_prompts, args.guidance_seeds, -1)
    # The root of the mean squared difference of two images, in levels of 0 to 255.
    levels = images.reshape(shape) * 127.5 / math.sqrt(images[0].numel())
    return {
        "weight": weight,
        "top1": result["top1"],
        "top5": result["top5"],
        "pixel_distance": round(diversity(levels), 2),
        "embedding_distance": round(diversity(embedded.reshape(shape)), 4),
    }


def teacher_part(args, net, teacher, clip, critic):
    """How far a student's drawings are from its teacher's of the same noise and prompts.

    The teacher draws as `cfg_sample.py` does, and for comparison in as many steps of DDIM as the
    student, which are twice as many evaluations. A sheet shows the three, a row each.
    """
    things, not_seen, _ = vocabulary(critic[1], args.core)
    asked = draw_prompts(min(args.prompts, COMPARED), things, set(not_seen), None, args.seed)
    with torch.inference_mode():
        embeds = clip.encode_text([prompt for prompt, _, _ in asked]).to(device_of(net))
    seeds = range(args.seed, args.seed + len(asked))
    few = argparse.Namespace(**vars(args) | {"model": NETWORKS[args.model].teacher})
    usual = arguments(["--model", few.model, "--batch-size", str(args.batch_size)])
    drawn = [
        draw(usual, teacher, embeds, WEIGHT, seeds, "teacher"),
        draw(args, net, embeds, WEIGHT, seeds, "student"),
        draw(few, teacher, embeds, WEIGHT, seeds, "teacher in few steps"),
    ]
    rows = [to_image(image) for images in drawn for image in images[:SHOWN_BESIDE]]
    pictures.grid(rows, args.output / "teacher.png")
    rms = [(images - drawn[0]).square().mean(dim=(1, 2, 3)).sqrt() * 127.5 for images in drawn[1:]]
    return {
        "rms_grey_levels": round(float(rms[0].median()), 2),
        "rms_of_teacher_in_few_steps": round(float(rms[1].median()), 2),
        "teacher": judged(drawn[0], asked, critic),
        "student": judged(drawn[1], asked, critic),
        "teacher_in_few_steps": judged(drawn[2], asked, critic),
    }


def mixing_part(args, net, clip, path):
    """Draws the rows of MIXES to a sheet."""
    rows = []
    for prompts in MIXES:
        pairs = [(text, float(weight)) for text, weight in (p.rsplit(":", 1) for p in prompts)]
        emoji = {text: text.strip("{}") for text, _ in pairs if text.startswith("{")}
        if emoji and not render.FONT.exists():
            print(f"mixes: no image prompts without the font {render.FONT}", flush=True)
            continue
        shown = {
            text: render.compose(
                render.sprite(e), GROUNDS["white"], clip.image_size, "plain", random.Random(e)
            )
            for text, e in emoji.items()
        }
        with torch.inference_mode():
            embeds = [
                clip.encode_image(to_tensor(shown[text])[None])
                if text in shown
                else clip.encode_text([text])
                for text, _ in pairs
            ]
        embeds = torch.cat(embeds).to(device_of(net))
        model = diffusion.guided(net, embeds, [weight for _, weight in pairs])
        images = sampled(args, model, range(args.seed, args.seed + args.mix_seeds), embeds.device)
        label = "\n".join(f"{'(image)' if t in shown else t}:{w:g}" for t, w in pairs)
        rows.append((label, list(shown.values()), [to_image(image) for image in images]))
        print(f"mixes: {len(rows)} of {len(MIXES)} rows", flush=True)
    pictures.sheet(rows, path)


def kept(path, settings, measure):
    """The result in the JSON file `path` if it is of these settings, else what `measure` returns.

    A part of the evaluation takes minutes: one that is finished is not done again.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["settings"] == settings:
            print(f"{path} is kept", flush=True)
            return result
    except (OSError, ValueError, TypeError, KeyError):
        pass
    start = time.time()
    result = {**measure(), "seconds": round(time.time() - start), "settings": settings}
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    replace_file(path, lambda p: p.write_text(text, encoding="utf-8"))
    return result


def main(argv=None):
    args = arguments(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    if not args.judge.exists():
        few = ["--steps", "4", "--batch-size", "16"] if args.quick else []
        judge.main(["--output", str(args.judge), *few])
    try:
        critic = judge.load(args.judge)
    except ValueError as error:
        sys.exit(str(error))
    if left_out := set(NAMES) - set(critic[1]):
        print(f"{args.judge} does not know {len(left_out)} of the things: they are not asked for")
    things, _, _ = vocabulary(critic[1], args.core)
    if args.guidance_prompts > len(things):
        sys.exit(f"--guidance-prompts is at most {len(things)}, the number of things")

    row = NETWORKS[args.model]
    device = pick_device(args.device)
    dtype = pick_dtype(args.dtype, device)
    path = checkpoints.find(row, args.checkpoint)
    net = models.load(args.model, path, device, dtype)
    clip = models.clip.load(row.clip, args.clip_checkpoint)
    settings = {
        "checkpoint": hash_file(path),
        "judge": hash_file(args.judge),
        "device": device.type,
        "dtype": str(dtype).removeprefix("torch."),
        **{name: getattr(args, name) for name in ("core", "method", "steps", "seed")},
        "interval": list(WHOLE),  # earlier evaluations guided at some timesteps alone
    }

    def part(name, measure, **sizes):
        return kept(args.output / f"{name}.json", {**settings, **sizes}, measure)

    summary = {"settings": settings}
    for name, count in (("prompts", args.prompts), ("held_out", args.held_out)):
        summary[name] = part(
            name,
            lambda name=name, count=count: prompt_part(args, net, clip, critic, name, count),
            count=count,
            weight=WEIGHT,
        )
    for kind in ("small", "two"):
        summary[kind] = part(
            kind,
            lambda kind=kind: kind_part(args, net, clip, critic, kind),
            count=args.kind_prompts,
            weight=WEIGHT,
        )
    summary["guidance"] = [
        part(
            f"guidance_{weight:g}",
            lambda weight=weight: guidance_part(args, net, clip, critic, weight),
            count=[args.guidance_prompts, args.guidance_seeds],
            weight=weight,
        )
        for weight in WEIGHTS
        if weight or not row.takes_weight  # a student has learnt weights above 0 alone
    ]
    pictures.guidance_plot(summary["guidance"], args.output / "guidance.png")
    mixes = args.output / "mixing.png"
    if row.teacher:
        path = checkpoints.find(NETWORKS[row.teacher], args.teacher_checkpoint)
        teacher = models.load(row.teacher, path, device, dtype)
        summary["teacher"] = part(
            "teacher",
            lambda: teacher_part(args, net, teacher, clip, critic),
            count=args.prompts,
            teacher=hash_file(path),
        )
    else:
        part(
            "mixing",
            lambda: mixing_part(args, net, clip, mixes) or {"file": mixes.name},
            count=args.mix_seeds,
            rows=[list(row) for row in MIXES],
        )
    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    replace_file(args.output / "evaluation.json", lambda p: p.write_text(text, encoding="utf-8"))
    for line in report(summary):
        print(line)


def report(summary):
    """The figures of an evaluation in a few lines."""

    def percent(value):
        if value is None:
            return "none asked for"
        return f"{value['share']:.1%} ({value['low']:.1%} to {value['high']:.1%}) of {value['of']}"

    for name in ("prompts", "held_out"):
        for key in ("top1", "top5", "ground"):
            yield f"{name} {key}: {percent(summary[name][key])}"
        for key, value in (summary[name]["cleanliness"] or {}).items():
            yield f"{name} {key}: {value}"
    for kind in ("small", "two"):
        for key in ("top1", "sized"):
            yield f"{kind} {key}: {percent(summary[kind][key])}"
    for part in summary["guidance"]:
        yield (
            f"weight {part['weight']:g}: top1 {percent(part['top1'])}, distances "
            f"{part['pixel_distance']:g} levels, {part['embedding_distance']:g} of embeddings"
        )
    if beside := summary.get("teacher"):
        for name in ("teacher", "student", "teacher_in_few_steps"):
            yield f"{name}, the same noise: top1 {percent(beside[name]['top1'])}"
        yield (
            f"from the teacher's drawings: {beside['rms_grey_levels']:g} grey levels, of the "
            f"teacher in as few steps {beside['rms_of_teacher_in_few_steps']:g}"
        )


if __name__ == "__main__":
    program(main)
