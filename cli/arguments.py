"""Flags, defined once for all scripts, each checked by itself before torch is imported.

A flag that is not given parses to None, so that `cli/settle.py` can tell.
"""

import argparse
import functools
from pathlib import Path

import diffusion
from cli import jobs, outputs, prompts
from cli.flag_types import (
    MAX_IMAGES,
    MAX_POWER,
    MAX_SCALE,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    address,
    checked_by,
    clip_name,
    device,
    existing_file,
    existing_folder,
    job_file,
    name_of,
    number,
    page,
    seeds,
    shard,
    whole,
)
from diffusion.adaptive import TOLERANCE
from media import grids, previews, trajectories
from models.zoo import CLIPS, NETWORKS
from runner import watching


def add_prompts(parser, script):
    weight = script.weight
    group = parser.add_argument_group("what to draw")
    group.add_argument(
        "prompts",
        nargs="*",
        default=None,
        metavar="TEXT[:WEIGHT]",
        type=checked_by(functools.partial(prompts.parse, default_weight=weight)),
        help=f"text prompts with weights (default weight {weight:g}; negative: away from it)",
    )
    add_image_prompts(group, script)


def add_image_prompts(group, script):
    group.add_argument(
        "--images",
        nargs="+",
        metavar="IMAGE[:WEIGHT]",
        type=checked_by(functools.partial(prompts.parse_image, default_weight=script.weight)),
        help="image prompts: files or http(s) addresses",
    )


def add_start(parser):
    group = parser.add_argument_group("what to start from")
    group.add_argument(
        "--init", metavar="IMAGE", help="start from this image with noise: a file or an address"
    )
    group.add_argument(
        "--starting-timestep",
        "-st",
        metavar="T",
        type=number(0, 1, above=True),
        help="how much noise --init gets, from 0 (none) to 1 (nothing else); default 0.9",
    )
    group.add_argument(
        "--latent",
        metavar="FILE",
        type=existing_file,
        help="start from the latent noise in this .safetensors file",
    )
    group.add_argument(
        "--from-png",
        metavar="FILE",
        type=existing_file,
        help="draw the image in this PNG again; flags given beside it win",
    )


def add_model(parser, script, clip_help=None):
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model",
        metavar="NAME",
        type=name_of("model", NETWORKS),
        help=f"one of {', '.join(NETWORKS)}; default: {script.large} if its checkpoint is there "
        "or given, else emoji, which comes with the suite",
    )
    group.add_argument(
        "--checkpoint",
        metavar="FILE",
        type=existing_file,
        help="the model's weights, .pth or .safetensors (default: in checkpoints/)",
    )
    group.add_argument(
        "--clip-checkpoint",
        metavar="FILE",
        type=existing_file,
        help=clip_help
        or "the weights of the CLIP that reads the prompts (default: open_clip finds them)",
    )
    group.add_argument(
        "--no-embedding-cache",
        action="store_true",
        help="read the prompts anew; without this, what CLIP made of a text is kept on disk",
    )
    group.add_argument(
        "--mirror",
        metavar="URL",
        type=address,
        help="download checkpoints from this folder instead (or set V_DIFFUSION_MIRROR)",
    )
    group.add_argument(
        "--device", type=device, help="cuda, cuda:1, mps or cpu (default: the fastest there is)"
    )
    group.add_argument(
        "--dtype",
        metavar="NAME",
        type=name_of("dtype", ["auto", "float32", "bfloat16", "float16"]),
        help="auto (the default), float32, bfloat16 or float16: what the network computes in",
    )
    if not script.guides_any:
        group.add_argument(
            "--compile",
            action="store_true",
            help="have torch.compile make the network faster, which takes a minute or more first",
        )


def add_sampling(parser, script, methods=None):
    """Seeds and steps; the methods that add no noise may be given, all are offered otherwise."""
    group = parser.add_argument_group("the sampling")
    group.add_argument("-n", metavar="N", type=whole(1, MAX_IMAGES), help="images to draw (1)")
    group.add_argument(
        "--seed", metavar="N", type=whole(0, MAX_SEED), help="of the first image (0), then up"
    )
    group.add_argument("--seeds", metavar="LIST", type=seeds, help="of all images, like 1,5-9")
    add_steps(group, script, methods or diffusion.METHODS)
    if methods is None:
        group.add_argument(
            "--eta",
            metavar="X",
            type=number(0, 1),
            help="fresh noise in each step of ddim: 0 (none) to 1 (ddpm)",
        )


def add_steps(group, script, methods):
    """The flags of whatever goes along the flow, in either direction."""
    group.add_argument(
        "--batch-size",
        "-bs",
        metavar="N",
        type=whole(1, 4096),
        help="images at once (1): faster on a GPU, takes more memory",
    )
    group.add_argument(
        "--size",
        nargs=2,
        metavar=("W", "H"),
        type=whole(1, MAX_SIDE),
        help="width and height in pixels (default: what the model was trained on)",
    )
    group.add_argument(
        "--method",
        metavar="NAME",
        type=name_of("method", methods),
        help=f"{', '.join(methods)} ({script.method})",
    )
    own = diffusion.METHODS["ab23"].steps
    usual = script.steps or f"{own} for ab23, 50 for ddpm to exact, 20 for others"
    steps, tolerance = f"steps to take ({usual})", argparse.SUPPRESS
    if "adaptive" in methods:
        steps += f"; of adaptive at least ({diffusion.METHODS['adaptive'].steps})"
        tolerance = f"the error that a step of adaptive may make ({TOLERANCE:g}; range: -1 to 1)"
    group.add_argument("--steps", metavar="N", type=whole(1, MAX_STEPS), help=steps)
    group.add_argument("--tolerance", metavar="X", type=number(0, 2, above=True), help=tolerance)
    group.add_argument(
        "--schedule",
        metavar="NAME",
        type=name_of("schedule", diffusion.SCHEDULES),
        help=f"of the timesteps: {', '.join(diffusion.SCHEDULES)} (default: what the "
        "method is best on: fitted, logit or log; for ddpm to exact what the model was trained on)",
    )
    group.add_argument(
        "--chunk",
        metavar="N",
        type=whole(1, MAX_IMAGES),
        help="images in one call of the network, prompts times batch (default: all that fit, or 1 "
        "where more would only take memory)",
    )


def add_interval(group, usual):
    group.add_argument(
        "--guidance-interval",
        nargs=2,
        metavar=("LOW", "HIGH"),
        type=number(0, 1),
        help=f"guide between these timesteps alone: 0 is the image, 1 the noise ({usual})",
    )


def add_guidance(parser):
    group = parser.add_argument_group("the guidance")
    group.add_argument(
        "--clip-guidance-scale",
        "-cs",
        metavar="X",
        type=number(0, MAX_SCALE),
        help="how strongly CLIP steers (500); 0: not at all, then only a conditional model follows "
        "the prompts",
    )
    group.add_argument(
        "--cutn",
        metavar="N",
        type=whole(1, 4096),
        help="random crops of the image that CLIP looks at in each step (16)",
    )
    group.add_argument(
        "--cut-pow",
        metavar="X",
        type=number(0, MAX_POWER, above=True),
        help="above 1: more small crops, below 1: more large ones (1)",
    )
    group.add_argument(
        "--guide-every",
        metavar="K",
        type=whole(1, MAX_STEPS),
        help="look at every K-th evaluation and keep the direction in between: faster (1)",
    )
    add_interval(group, "0 1")
    group.add_argument(
        "--clip-model",
        metavar="NAME",
        type=clip_name,
        help=f"the CLIP that steers: {', '.join(CLIPS)} or a name of open_clip, like "
        "ViT-L-14:openai (default: the one the model reads prompts with, else ViT-B-16)",
    )
    group.add_argument(
        "--low-memory",
        action="store_true",
        default=None,
        help="steer in less memory: slower, by computing parts of the network twice",
    )


def add_jobs(parser):
    group = parser.add_argument_group("many jobs")
    group.add_argument(
        "--from-file",
        metavar="FILE",
        type=job_file,
        help="a job a line: prompts and flags of images as on the command line, or a JSON object "
        "of them; - is standard input",
    )
    group.add_argument(
        "--sweep",
        nargs="+",
        metavar="FLAG=A,B,...",
        type=checked_by(jobs.sweep),
        help="draw with each of these values, and each combination where several flags are swept",
    )
    group.add_argument(
        "--wildcards",
        metavar="FOLDER",
        type=existing_folder,
        help="where the lists of __NAME__ in prompts lie, as NAME.txt (wildcards)",
    )
    group.add_argument(
        "--keep-going",
        action="store_true",
        help="leave out lines and images that fail, finish the rest and exit with 3",
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        type=shard,
        help="draw the I-th of N shares of the images; other processes draw the others",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="say what would be drawn, and draw nothing"
    )


def add_output(parser, default=None, many=True):
    group = parser.add_argument_group("where to save")
    group.add_argument(
        "--output",
        "-o",
        metavar="NAME",
        type=checked_by(outputs.Template),
        help="name of the PNGs, with {index}, {line}, {seed}, {prompt}, {model}, {steps}, {method} "
        "or {schedule}; default "
        + (default or f"{outputs.DEFAULT_TEMPLATE}, numbered on from the files there"),
    )
    add_policy(group)
    group.add_argument(
        "--no-metadata", action="store_true", help="save PNGs without how they were made"
    )
    if many:
        group.add_argument(
            "--grid",
            metavar="FILE",
            type=checked_by(grids.output),
            help="put the images on one picture as well, labelled with what is swept",
        )
        group.add_argument(
            "--results",
            metavar="FILE",
            type=Path,
            help="add a line of JSON to this file for each finished image",
        )
        group.add_argument(
            "--json", action="store_true", help="print these lines instead of the files' names"
        )
        group.add_argument(
            "--gallery",
            nargs="?",
            const=True,
            metavar="FILE",
            type=page,
            help="write a page of the images' folder at the end (default: index.html in it)",
        )


def add_watching(parser):
    group = parser.add_argument_group("watching the run")
    group.add_argument(
        "--preview-every",
        metavar="K",
        type=whole(1, MAX_STEPS),
        help=f"keep a picture of what is being drawn in {previews.NAME} beside the output, renewed "
        "every K steps",
    )
    kinds = ", ".join(kind for kind in trajectories.KINDS if kind != ".png")
    group.add_argument(
        "--trajectory",
        metavar="FILE",
        type=checked_by(trajectories.file),
        help=f"show how the first batch came about: a strip (.png) or an animation ({kinds})",
    )
    group.add_argument(
        "--fps",
        metavar="X",
        type=number(1, 50),
        help=f"frames a second of an animation ({watching.FPS:g})",
    )


def add_policy(group):
    policy = group.add_mutually_exclusive_group()
    policy.add_argument(
        "--skip-existing", action="store_true", help="leave out images whose file exists"
    )
    policy.add_argument("--overwrite", action="store_true", help="replace files that exist")


def add_help(parser):
    """The last group, so that what the script is for comes first."""
    parser.add_argument_group("help").add_argument(
        "--help", "-h", action="help", help="show this and exit"
    )
