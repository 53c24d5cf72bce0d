"""Flags, defined once for all scripts, each checked by itself before torch is imported.

A flag that is not given parses to None, so that `cli/settle.py` can tell.
"""

import argparse
import difflib
import math
import re
import urllib.parse
from pathlib import Path

import diffusion
from cli import outputs, prompts
from cli.errors import UserError, printable
from models.zoo import NETWORKS

MAX_IMAGES = 1_000_000
MAX_STEPS = 100_000
MAX_SEED = 2**63 - 1
MAX_SIDE = 16_384  # pixels


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all others of the suite."""

    def __init__(self, description, examples):
        super().__init__(
            description=description,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )

    def error(self, message):
        # argparse quotes what it was given as it was given: not for a terminal.
        self.exit(2, f"{self.prog}: error: {printable(message)}\n")


def whole(low, high):
    """A type for whole numbers from low to high."""

    def read(text):
        if not re.fullmatch(r"[+-]?\d{1,30}", text, re.ASCII) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{_quote(text)} is not {_span('whole ', low, high)}")
        return int(text)

    return read


def number(low, high, above=False):
    """A type for numbers from low (or above it) to high."""

    def read(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (above and value == low):
            span = f"a number above {low:g} and up to {high:g}" if above else _span("", low, high)
            raise argparse.ArgumentTypeError(f"{_quote(text)} is not {span}")
        return value

    return read


def name_of(kind, names):
    """A type for one of several names, which says what may have been meant."""
    names = list(names)

    def read(text):
        if text in names:
            return text
        close = difflib.get_close_matches(text, names, n=1)
        hint = f"did you mean {close[0]}? All: " if close else "choose from "
        raise argparse.ArgumentTypeError(f"no {kind} {_quote(text)}: {hint}{', '.join(names)}")

    return read


def seeds(text):
    """The seeds that `1,5-9` names, in order."""
    parts = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,19})(?:\s*-\s*(\d{1,19}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= MAX_SEED:
            raise argparse.ArgumentTypeError(
                f"{_quote(text)} names no seeds: write numbers and ranges like 1,5-9"
            )
        parts.append(range(first, last + 1))
    if sum(map(len, parts)) > MAX_IMAGES:
        raise argparse.ArgumentTypeError(f"{_quote(text)} names more than {MAX_IMAGES:,} seeds")
    return [seed for part in parts for seed in part]


def device(text):
    """A device as torch names it; whether it is there is found out later."""
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d{1,3})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"no device {_quote(text)}: use cuda, cuda:1, mps or cpu")
    return text


def existing_file(text):
    """The path of a regular file that is there."""
    path = Path(text)
    try:
        if not path.exists():
            raise argparse.ArgumentTypeError(f"{_quote(text)}: no such file")
        if not path.is_file():
            raise argparse.ArgumentTypeError(f"{_quote(text)} is not a regular file")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{_quote(text)} is no file name") from error
    return path


def address(text):
    """An http or https address."""
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        parts = urllib.parse.urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{_quote(text)} is not an http or https address")
    return text


def _raises_argument_error(read):
    """A type function from a reader that raises UserError."""

    def checked(text):
        try:
            return read(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def add_prompts(parser):
    group = parser.add_argument_group("what to draw")
    group.add_argument(
        "prompts",
        nargs="*",
        default=None,
        metavar="TEXT[:WEIGHT]",
        type=_raises_argument_error(prompts.parse),
        help="text prompts with weights (default weight 3; negative: away from it)",
    )
    group.add_argument(
        "--images",
        nargs="+",
        metavar="IMAGE[:WEIGHT]",
        type=_raises_argument_error(prompts.parse_image),
        help="image prompts: files or http(s) addresses",
    )
    return group


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


def add_model(parser):
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model",
        metavar="NAME",
        type=name_of("model", NETWORKS),
        help=f"one of {', '.join(NETWORKS)}; default: cc12m_1_cfg if its checkpoint is there or "
        "given, else emoji, which comes with the suite",
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
        help="the weights of the CLIP that reads the prompts (default: open_clip finds them)",
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


def add_sampling(parser):
    group = parser.add_argument_group("the sampling")
    group.add_argument("-n", metavar="N", type=whole(1, MAX_IMAGES), help="images to draw (1)")
    group.add_argument(
        "--batch-size",
        "-bs",
        metavar="N",
        type=whole(1, 4096),
        help="images to draw at once (1): faster on a GPU, takes more memory",
    )
    group.add_argument(
        "--seed", metavar="N", type=whole(0, MAX_SEED), help="of the first image (0), then up"
    )
    group.add_argument("--seeds", metavar="LIST", type=seeds, help="of all images, like 1,5-9")
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
        type=name_of("method", diffusion.METHODS),
        help=f"{', '.join(diffusion.METHODS)} (plms)",
    )
    group.add_argument("--steps", metavar="N", type=whole(1, MAX_STEPS), help="steps to take (50)")
    group.add_argument(
        "--schedule",
        metavar="NAME",
        type=name_of("schedule", diffusion.SCHEDULES),
        help=f"of the timesteps: {', '.join(diffusion.SCHEDULES)} (spliced; ddpm for models "
        "trained on it)",
    )
    group.add_argument(
        "--eta",
        metavar="X",
        type=number(0, 1),
        help="fresh noise in each step of ddim: 0 (none) to 1 (ddpm)",
    )
    group.add_argument(
        "--chunk",
        metavar="N",
        type=whole(1, MAX_IMAGES),
        help="images in one call of the network, prompts times batch (default: all that fit)",
    )


def add_output(parser):
    group = parser.add_argument_group("where to save")
    group.add_argument(
        "--output",
        "-o",
        metavar="NAME",
        type=_raises_argument_error(outputs.Template),
        help="name of the PNGs, with {index}, {seed}, {prompt}, {model}; default "
        f"{outputs.DEFAULT_TEMPLATE}, numbered on from the files there",
    )
    policy = group.add_mutually_exclusive_group()
    policy.add_argument(
        "--skip-existing", action="store_true", help="leave out images whose file exists"
    )
    policy.add_argument("--overwrite", action="store_true", help="replace files that exist")
    group.add_argument(
        "--no-metadata", action="store_true", help="save PNGs without how they were made"
    )


def add_help(parser):
    """The last group, so that what the script is for comes first."""
    parser.add_argument_group("help").add_argument(
        "--help", "-h", action="help", help="show this and exit"
    )


def _span(kind, low, high):
    if high in (MAX_SEED, MAX_STEPS, MAX_IMAGES):
        return f"a {kind}number of at least {low:g}"
    return f"a {kind}number from {low:g} to {high:g}"


def _quote(text):
    return f'"{printable(text, 100)}"'
