#!/usr/bin/env python3
"""Put images in a grid, in rows from left to right, with labels and titles if you like."""

import difflib
import glob
import os
import re
from pathlib import Path

from cli import arguments, metadata, outputs
from cli.errors import UserError, printable
from cli.flag_types import MAX_SIDE, checked_by, name_of, whole
from cli.parser import Parser
from cli.prompts import Prompt, format_prompt
from media import grids, images
from media.previews import is_preview
from runner import run

EXAMPLES = (
    "make_grid.py out_*.png -o grid.png --nrow 4",
    "make_grid.py runs/ --label seed,prompt --overwrite",
    "make_grid.py a.png b.png c.png d.png --column-titles before after --row-titles ddim plms",
    "make_grid.py photos/ --size 256 256 --fit cover --spacing 4 --background black",
)
DEFAULT_OUTPUT = "grid.png"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
LABELS = ("file", "prompt", *metadata.FIELDS)


def make_parser():
    parser = Parser(__doc__, EXAMPLES)
    group = parser.add_argument_group("what to show")
    group.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help='files, folders and patterns like "runs/*.png"; what a folder or a pattern holds is '
        "shown in the order of the names, 2 before 10",
    )
    group.add_argument(
        "--size",
        nargs=2,
        metavar=("W", "H"),
        type=whole(1, MAX_SIDE),
        help="width and height of each image (default: the largest there are)",
    )
    group.add_argument(
        "--fit",
        metavar="HOW",
        type=name_of("way to fit", grids.FITS),
        help="what becomes of images of another size: contain shows them whole, cover fills the "
        "place and cuts off what sticks out, stretch changes their shape (default: contain with "
        "--size; without, all must be alike)",
    )
    group.add_argument(
        "--scale",
        metavar="N",
        type=whole(1, 64),
        default=1,
        help="show images N times as wide and high, each pixel as a square (1)",
    )
    group = parser.add_argument_group("how to arrange them")
    group.add_argument(
        "--nrow",
        metavar="N",
        type=whole(1, MAX_SIDE),
        help="images in a row (default: as many as the titles say, or as make a square)",
    )
    group.add_argument(
        "--spacing",
        metavar="N",
        type=whole(0, 1000),
        help=f"pixels between images and around them (0; with labels or titles {grids.GAP})",
    )
    group.add_argument(
        "--background",
        metavar="COLOUR",
        type=checked_by(grids.colour),
        default=grids.WHITE,
        help="like black or #202020 (white)",
    )
    group = parser.add_argument_group("what to write")
    group.add_argument(
        "--label",
        metavar="FIELDS",
        type=checked_by(label_fields),
        default=[],
        help="below each image, by its recipe: prompt, prompts (with weights), seed, steps, "
        "method, model, ... or file, its name; several like seed,prompt",
    )
    group.add_argument("--title", metavar="TEXT", help="above all")
    for side, where in (("row", "at the left of each row"), ("column", "above each column")):
        group.add_argument(f"--{side}-titles", nargs="+", metavar="TEXT", default=[], help=where)
    group = parser.add_argument_group("where to save")
    group.add_argument(
        "--output",
        "-o",
        metavar="FILE",
        type=checked_by(grids.output),
        default=grids.output(DEFAULT_OUTPUT),
        help=f"a PNG ({DEFAULT_OUTPUT})",
    )
    policy = group.add_mutually_exclusive_group()
    policy.add_argument("--skip-existing", action="store_true", help="do nothing if it exists")
    policy.add_argument("--overwrite", action="store_true", help="replace it if it exists")
    arguments.add_help(parser)
    return parser


def parse(argv=None):
    """The arguments, each checked by itself."""
    return make_parser().parse_args(argv)


def main():
    args = parse()
    policy = outputs.Policy.REFUSE
    if args.skip_existing or args.overwrite:
        policy = outputs.Policy.OVERWRITE if args.overwrite else outputs.Policy.SKIP
    targets = outputs.plan(args.output, [{"index": 0}], policy)
    if not targets:
        return
    [target] = targets
    paths = find(args.images, target.path)
    plan = grids.layout(
        len(paths),
        cell_size(paths, args),
        args.nrow,
        labels=[label(path, args.label) for path in paths] if args.label else (),
        row_titles=args.row_titles,
        column_titles=args.column_titles,
        title=args.title,
        spacing=args.spacing,
        background=args.background,
        fit=args.fit or ("contain" if args.size else None),
        scale=args.scale,
    )
    picture = grids.draw(plan, map(images.open_image, paths))
    run.finished_images_are_kept()
    print(printable(outputs.publish(picture, target), 1000))


def find(words, output):
    """The paths that files, folders and patterns stand for.

    Args:
        words: what the user named, in the order to show it in.
        output: the file of the grid, which no folder and no pattern stands for.
    Raises:
        UserError: for what stands for no image.
    """
    return [path for word in words for path in _stands_for(word, output)]


def _stands_for(word, output):
    shown = printable(word, 200)
    if re.match("https?://", word, re.IGNORECASE):
        raise UserError(f"{shown}: a grid is made of files: download the image first")
    try:
        if Path(word).is_dir():
            found = [entry for entry in Path(word).iterdir() if not entry.name.startswith(".")]
        elif glob.has_magic(word) and not os.path.lexists(word):
            found = [Path(name) for name in glob.glob(word)]
        else:
            return [Path(word)]
        found = [p for p in found if p.suffix.lower() in SUFFIXES and p.is_file()]
        found = [path for path in found if not is_preview(path)]
        if output.exists():
            found = [path for path in found if not path.samefile(output)]
    except (OSError, ValueError) as error:
        why = printable(getattr(error, "strerror", None) or error, 80)
        raise UserError(f"{shown}: cannot be read: {why}") from None
    if not found:
        raise UserError(f"{shown}: no images there: name files that end in {', '.join(SUFFIXES)}")
    return sorted(found, key=natural)


def natural(path):
    """A key that sorts paths as people count: image2.png before image10.png."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], str(path)


def cell_size(paths, args):
    """(width, height) of each image in the grid; every file is found readable on the way."""
    sizes = [images.size_of(path) for path in paths]
    if args.size:
        return tuple(args.size)
    largest = (max(width for width, _ in sizes), max(height for _, height in sizes))
    other = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None and args.fit is None:
        first, second = (
            f"{printable(paths[i], 100)} has {sizes[i][0]} x {sizes[i][1]} pixels"
            for i in (0, other)
        )
        raise UserError(
            f"{first}, {second}: to make them fit, use --fit contain, --fit cover or --fit stretch"
        )
    return largest


def label_fields(text):
    """The fields that `seed,prompt` names."""
    fields = [field.strip() for field in text.split(",")]
    for field in fields:
        if field not in LABELS:
            close = difflib.get_close_matches(field, LABELS, n=1)
            hint = f"did you mean {close[0]}?" if close else "use file, prompt, seed, steps, ..."
            raise UserError(f'no image has a "{printable(field, 40)}" to label it with: {hint}')
    return fields


def label(path, fields):
    """What is written below an image, a line for each field; its name where its recipe has none."""
    try:
        recipe = metadata.read(path)
    except UserError:  # of another origin, or damaged
        recipe = {}
    recipe = {**recipe, "file": path.name}
    if prompts := recipe.get("prompts"):
        recipe["prompt"] = prompts[0][0] if len(prompts) == 1 else prompts
    lines = [shown(field, recipe[field]) if field in recipe else path.name for field in fields]
    return "\n".join(dict.fromkeys(lines))


def shown(field, value):
    """A value as a label says it: texts and sizes for themselves, others with their field."""
    if isinstance(value, str):
        return " ".join(value.split())
    if field in ("prompt", "prompts", "images", "source"):
        return " ".join(" | ".join(format_prompt(Prompt(*pair)) for pair in value).split())
    if field == "size":
        return f"{value[0]} x {value[1]}"
    if isinstance(value, float):
        value = f"{value:g}"
    elif isinstance(value, list):
        value = ", ".join(f"{part:g}" for part in value)
    return f"{field.replace('_', ' ')} {value}"


if __name__ == "__main__":
    run.program(main)
