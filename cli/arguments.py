"""Flags, defined once for all scripts and checked before torch is imported.

A flag that is not given parses to None; `settle` then fills in what a recipe says, and the
defaults. So a flag beside `--from-png` wins, and whoever reads the arguments sees all values.
"""

import argparse
import difflib
import math
import re
from pathlib import Path

import diffusion
from cli import metadata, outputs, prompts
from cli.errors import UserError, printable
from models.zoo import NETWORKS

MAX_IMAGES = 1_000_000
MAX_SEED = 2**63 - 1
MAX_SIDE = 16_384  # pixels

DEFAULTS = {
    "batch_size": 1,
    "dtype": "auto",
    "images": [],
    "method": "plms",
    "n": 1,
    "prompts": [],
    "seed": 0,
    "starting_timestep": 0.9,
    "steps": 50,
}


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
        help=f"one of {', '.join(NETWORKS)}; default: cc12m_1_cfg if its checkpoint is there, "
        "else emoji, which comes with the suite",
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
    group.add_argument("--steps", metavar="N", type=whole(1, 100_000), help="steps to take (50)")
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
        type=whole(1, 1_000_000),
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


def default_model():
    """The network to use where none is named, and a note that says which and why."""
    from models.checkpoints import is_present

    if is_present(NETWORKS["cc12m_1_cfg"]):
        return "cc12m_1_cfg", "model: cc12m_1_cfg (use --model emoji for the small one)"
    return "emoji", (
        "model: emoji, which comes with the suite (use --model cc12m_1_cfg to download the large "
        "one, 2.4 GB)"
    )


def settle(args):
    """Fills in every value that was not given, and checks what depends on several flags.

    Args:
        args: as parsed; its values are set in place: `model`, `eta`, `schedule`, `size`, `seeds`,
            `policy` and those of DEFAULTS. A recipe's hash becomes `expected_sha256`; `note` says
            which model was chosen where none was named.
    Raises:
        UserError: for flags that do not go together, in one line.
    """
    recipe = metadata.read(args.from_png) if args.from_png else {}
    args.prompts = args.prompts or None  # argparse gives an empty list where there are none
    args.expected_sha256, args.note = recipe.get("model_sha256"), None
    _fill(args, _from_recipe(args, recipe))
    _fill(args, DEFAULTS)
    if args.model is None:
        args.model, args.note = default_model()
    row = NETWORKS[args.model]
    _settle_method(args, row, given_eta=args.eta)
    _settle_size(args, row)
    _settle_seeds(args)
    if row.clip is None and (args.prompts or args.images):
        raise UserError(
            f"{row.name} takes no prompts: leave them out, choose a model that does "
            f"({', '.join(r.name for r in NETWORKS.values() if r.clip)}) or steer it with "
            "clip_sample.py"
        )
    if args.init and args.latent:
        raise UserError("--init and --latent are two starts: give one of them")
    total = sum(p.weight for p in [*args.prompts, *args.images])
    if not math.isfinite(total):
        raise UserError("the weights of the prompts are too large to add up")
    args.prompts, args.images = prompts.merge(args.prompts), prompts.merge(args.images)
    args.policy = None
    if args.skip_existing or args.overwrite:
        policy = outputs.Policy.SKIP if args.skip_existing else outputs.Policy.OVERWRITE
        if args.output is None:
            flag = "--skip-existing" if args.skip_existing else "--overwrite"
            raise UserError(f"{flag} needs to know the names: give them with --output")
        args.policy = policy
    return args


def _fill(args, values):
    for name, value in values.items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)


def _from_recipe(args, recipe):
    """What a recipe says of the arguments, where it may."""
    values = {
        name: recipe[name]
        for name in ("seed", "steps", "method", "schedule", "dtype", "starting_timestep", "model")
        if name in recipe
    }
    for name, known in (
        ("model", NETWORKS),
        ("method", diffusion.METHODS),
        ("schedule", diffusion.SCHEDULES),
        ("dtype", ("float32", "bfloat16", "float16")),
    ):
        if name in values and getattr(args, name) is None and values[name] not in known:
            raise UserError(
                f"{args.from_png} was made with the {name} {_quote(values[name])}, which is not "
                f"known here: give another with --{name}"
            )
    if args.method in (None, values.get("method")):
        values["eta"] = recipe.get("eta")
    if args.model in (None, values.get("model")):
        values["size"] = recipe.get("size")
    values["prompts"] = [prompts.Prompt(t, w) for t, w in recipe.get("prompts", [])]
    near = args.from_png.parent if args.from_png else Path()
    if args.images is None:
        values["images"] = [
            prompts.Prompt(_found(name, near, "--images"), w)
            for name, w in recipe.get("images", [])
        ]
    if recipe.get("init") and args.init is None and args.latent is None:
        values["init"] = _found(recipe["init"], near, "--init")
    if recipe.get("latent") and args.init is None and args.latent is None:
        values["latent"] = Path(_found(recipe["latent"], near, "--latent"))
    return values


def _found(name, folder, flag):
    """The file of a recipe, which holds no folders, beside the PNG or where we are."""
    for path in (folder / name, Path(name)):
        if path.is_file():
            return str(path)
    raise UserError(f"the recipe needs {_quote(name)}, which is not here: give it with {flag}")


def _settle_method(args, row, given_eta):
    method = diffusion.METHODS[args.method]
    low, high = method.eta_range
    args.eta = (method.eta or 0.0) if given_eta is None else given_eta
    if not low <= args.eta <= high:
        what = "is ddim with eta 1" if args.method == "ddpm" else "adds no noise"
        raise UserError(f"--eta {args.eta:g}: {args.method} {what}: leave it out or use ddim")
    if args.schedule is None:
        args.schedule = "ddpm" if row.min_t > 0 else "spliced"


def _settle_size(args, row):
    if args.size is None:
        args.size = (row.shape[2], row.shape[1])
    args.size = tuple(args.size)
    multiple = row.size_multiple
    if any(side % multiple for side in args.size):
        w, h = args.size
        sizes = dict.fromkeys(
            f"{max(multiple, round_to(w))} {max(multiple, round_to(h))}"
            for round_to in (
                lambda side: side // multiple * multiple,
                lambda side: -(-side // multiple) * multiple,
            )
        )
        raise UserError(
            f"--size {w} {h}: {row.name} draws sides that are multiples of {multiple}: "
            f"the nearest are {' and '.join(sizes)}"
        )


def _settle_seeds(args):
    if args.seeds is None:
        if args.seed + args.n - 1 > MAX_SEED:
            raise UserError(f"-n {args.n} goes past the largest seed, {MAX_SEED}: lower --seed")
        args.seeds = range(args.seed, args.seed + args.n)
    args.n = len(args.seeds)


def _span(kind, low, high):
    if high in (MAX_SEED, 100_000, 1_000_000):
        return f"a {kind}number of at least {low:g}"
    return f"a {kind}number from {low:g} to {high:g}"


def _quote(text):
    return f'"{printable(text, 100)}"'
