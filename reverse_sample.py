#!/usr/bin/env python3
"""Find the latent noise that yields a photo, by running the sampling loop backwards."""

import json
import math
import sys
from pathlib import Path

import diffusion
from cli import arguments, flag_types, metadata, outputs
from cli.errors import UserError, printable
from cli.parser import Parser
from cli.prompts import photos_and_prompts
from cli.scripts import REVERSE
from cli.settle import settle
from media import images
from models import NETWORKS, checkpoints
from runner import latents, run, watching
from runner.guided_model import build_model

EXAMPLES = (
    "reverse_sample.py photo.jpg -o photo.safetensors",
    'reverse_sample.py photo.jpg "a cat:1" --method plms --steps 100 --round-trip',
    "reverse_sample.py *.jpg -bs 8 -o 'latents/{photo}.safetensors' --preview",
    'cfg_sample.py "a tiger:4" --latent photo.safetensors',
)
METHODS = {name: row for name, row in diffusion.METHODS.items() if row.eta != 1}
FIELDS = ("index", "photo", "model")
DEFAULT_OUTPUT = "latent_{index:05}.safetensors"
# Settled as in a script that draws, of which these are flags.
NOT_FLAGS = {
    **dict.fromkeys(("n", "seeds", "eta", "init", "latent", "from_png", "starting_timestep")),
    "no_metadata": False,
}


def make_parser():
    parser = Parser(__doc__, EXAMPLES)
    parser.set_defaults(**NOT_FLAGS)
    group = parser.add_argument_group("what to find the noise of")
    group.add_argument(
        "words",
        nargs="+",
        metavar="PHOTO ... [TEXT[:WEIGHT] ...]",
        help="photos, files or http(s) addresses, then prompts to find it under (default weight 3; "
        "none: unconditionally)",
    )
    arguments.add_image_prompts(group, REVERSE)
    arguments.add_model(parser, REVERSE)
    group = parser.add_argument_group("the way back")
    group.add_argument(
        "--max-timestep",
        "-mt",
        metavar="T",
        type=flag_types.number(0, 1, above=True),
        help="how far to go, from 0 (the photo) to 1 (noise; the default)",
    )
    arguments.add_steps(group, REVERSE, METHODS)
    group = parser.add_argument_group("what to do with the latent")
    group.add_argument(
        "--normalise-latent", action="store_true", help="bring it to a standard deviation of 1"
    )
    group.add_argument(
        "--noise-mix",
        metavar="A",
        type=flag_types.number(0, 1),
        help="blend in fresh noise, from 0 (none) to 1 (nothing else), keeping the variance",
    )
    group.add_argument(
        "--seed",
        metavar="N",
        type=flag_types.whole(0, flag_types.MAX_SEED),
        help="of the fresh noise of the first photo (0), then up",
    )
    group.add_argument(
        "--round-trip",
        action="store_true",
        help="go forward again and say how far from the photo that ends",
    )
    group.add_argument("--json", action="store_true", help="print what is found as JSON, on stdout")
    group = parser.add_argument_group("where to save")
    group.add_argument(
        "--output",
        "-o",
        metavar="NAME",
        type=flag_types.checked_by(lambda text: outputs.Template(text, ".safetensors", FIELDS)),
        help=f"name of the latents, with {{index}}, {{photo}}, {{model}}; default "
        f"{DEFAULT_OUTPUT}, numbered on from the files there",
    )
    group.add_argument("--preview", action="store_true", help="save a picture of each latent, too")
    arguments.add_policy(group)
    arguments.add_watching(parser)
    arguments.add_help(parser)
    return parser


def parse(argv=None):
    """The arguments, settled and checked; nothing slow is imported yet."""
    args = make_parser().parse_args(argv)
    args.photos, args.prompts = photos_and_prompts(args.words, REVERSE.weight)
    args.n = len(args.photos)
    args.max_timestep = 1.0 if args.max_timestep is None else args.max_timestep
    changed = args.normalise_latent or args.noise_mix
    if changed and args.round_trip:
        raise UserError(
            "--round-trip goes back from the latent as it was found: leave out the rest"
        )
    settle(args, REVERSE)
    args.changed = bool(changed)
    return args


def main():
    args = parse()
    row = NETWORKS[args.model]
    targets = plan(args)
    if not targets:
        print("nothing to do: all files exist", file=sys.stderr)
        return
    watch = watching.Watch(
        args,
        targets[0].template.path(targets[0].image),
        min(args.batch_size, len(targets)),
        shows_x=True,
    )
    watch.refuse()
    shown = [
        images.resize_and_crop(images.open_image(target.image["source"]), args.size)
        for target in targets
    ]
    prompts = [images.open_image(prompt.text) for prompt in args.images]
    if args.note:
        print(args.note, file=sys.stderr)

    import torch
    from tqdm import tqdm

    from media.tensors import to_tensor

    device = run.pick_device(args.device)
    dtype = run.pick_dtype(args.dtype, device)
    path = checkpoints.find(row, args.checkpoint, args.mirror)
    ascending = diffusion.ascending(
        args.schedule, args.steps, args.max_timestep, row.min_t, row.max_t
    )
    facts = {**facts_of(args, path, dtype, device), "timesteps": ascending}
    run.finished_images_are_kept()
    doubles, pred = diffusion.METHODS[args.method].reversible, None
    with torch.inference_mode():
        model = build_model(args, row, path, prompts, device, dtype)
        if doubles:
            model = diffusion.in_doubles(model, device)
        times = 2 if args.round_trip else 1
        total = len(targets) * (len(ascending) - 1) * times
        with tqdm(total=total, unit="step", dynamic_ncols=True, disable=None, leave=False) as bar:
            for first in range(0, len(targets), args.batch_size):
                part = slice(first, first + args.batch_size)
                photos = torch.stack([to_tensor(image) for image in shown[part]])
                x = photos.double() if doubles else photos.to(device)

                def count(progress):
                    nonlocal pred
                    bar.update(len(progress.x))
                    watch.see(progress)
                    pred = progress.pred

                watch.begin(len(photos), args.size, (len(ascending) - 1) * times)
                going = (args.method, count, args.tolerance)
                states = diffusion.to_latents(model, x, ascending, *going)
                back = None
                if args.round_trip:
                    back = diffusion.from_latents(model, states, ascending[::-1], *going)
                    watch.end(back)
                else:
                    watch.end(states.x, ascending[-1], pred)
                for i, target in enumerate(targets[part]):
                    one = [None if s is None else s[i : i + 1] for s in states]
                    end = None if back is None else back[i]
                    found = finish(args, target, photos[i], one, end, facts)
                    with bar.external_write_mode(file=sys.stdout):
                        print(found, flush=True)
                trajectory = watch.save()
                if trajectory and not args.json:
                    with bar.external_write_mode(file=sys.stdout):
                        print(printable(trajectory, 1000), flush=True)


def plan(args):
    """Where each latent goes; what lies beside it must be free as well."""
    wanted = [
        {
            "index": i,
            "photo": Path(metadata.file_name(photo)).stem,
            "model": args.model,
            "source": photo,
        }
        for i, photo in enumerate(args.photos)
    ]
    policy = args.policy or (None if args.output else outputs.Policy.NUMBER)
    template = args.output or outputs.Template(DEFAULT_OUTPUT, ".safetensors", FIELDS)
    targets = outputs.plan(template, wanted, policy)
    for target in targets:
        for name in beside(args, target.path) if target.path else ():
            outputs.check_length(name)
            if name.exists() and not args.overwrite:
                raise UserError(f"{printable(name, 200)} already exists: remove it or --overwrite")
    return targets


def beside(args, path):
    """The pictures that are saved beside a latent."""
    kinds = {"preview": args.preview, "round_trip": args.round_trip}
    return [path.with_suffix(f".{kind}.png") for kind, wanted in kinds.items() if wanted]


def facts_of(args, path, dtype, device):
    """What the files say of how their latents were found: enough to go forward again."""
    return {
        "model": args.model,
        "model_sha256": checkpoints.sha256(path),
        "checkpoint": path.name,
        "method": args.method,
        "tolerance": args.tolerance,
        "prompts": [[p.text, p.weight] for p in args.prompts],
        "images": [[metadata.file_name(p.text), p.weight] for p in args.images],
        "size": list(args.size),
        "chunk": args.chunk,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type,
        "software": run.SOFTWARE,
    }


def finish(args, target, photo, states, back, facts):
    """Saves what was found for one photo; returns the line that says so on stdout."""
    import torch

    from media.tensors import to_image

    latent, previous = states
    latent = latent.cpu()
    if args.changed:
        previous = None  # the way back is that of another latent
        if args.normalise_latent:
            latent = diffusion.normalise(latent)
        if args.noise_mix:
            seed = (args.seed + target.image["index"]) % flag_types.MAX_SEED
            fresh = diffusion.noise([seed], latent.shape[1:]).to(latent)
            latent = diffusion.mix_noise(latent, fresh, args.noise_mix)
    report = diffusion.noise_report(latent[0])
    facts = {**facts, "timestep": facts["timesteps"][-1], "max_timestep": args.max_timestep}
    facts = {key: value for key, value in facts.items() if value is not None}

    def save(path, number, overwrite):
        latents.save(path, latent, facts, previous, overwrite)

    path = outputs.place(save, target)
    result = {"file": str(path), "photo": metadata.file_name(target.image["source"])}
    result["noise"] = report.as_dict()
    if args.preview:
        picture = to_image(latent[0] / 3)  # three standard deviations are black or white
        images.save_png(picture, path.with_suffix(".preview.png"), None, args.overwrite)
    if back is not None:
        back = back.float().cpu()
        result["round_trip"] = distance(photo, back)
        both = torch.cat([photo, back], dim=2)
        picture = to_image(both)
        images.save_png(picture, path.with_suffix(".round_trip.png"), None, args.overwrite)
    if args.json:
        return json.dumps(result)
    for line in described(result, report):
        print(line, file=sys.stderr)
    return printable(path, 1000)


def distance(photo, back):
    """How far a round trip ends from where it began.

    Returns:
        a dict: psnr in dB (None: not a bit of difference) and the largest error in grey levels.
    """
    mse = float((photo.double() - back.double()).square().mean())
    psnr = 10 * math.log10(4 / mse) if mse else None  # values span 2
    return {"psnr": psnr, "largest_error": float((photo - back).abs().max()) * 127.5}


def described(result, report):
    """A result in lines for people."""
    yield f"{printable(result['photo'], 100)}: {report.verdict}"
    for s in report.statistics:
        yield f"  {s.name:26}{s.value:9.4f}   noise: {s.expected:.4f} +- {s.spread:.4f}"
    if trip := result.get("round_trip"):
        psnr = "no error" if trip["psnr"] is None else f"PSNR {trip['psnr']:.1f} dB"
        yield f"  round trip: {psnr}, largest error {trip['largest_error']:.2g} grey levels"


if __name__ == "__main__":
    run.program(main)
