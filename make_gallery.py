#!/usr/bin/env python3
"""Write a page of a folder's images: to look through, filter, compare and draw again."""

import sys
from pathlib import Path

from cli import arguments
from cli.errors import printable
from cli.parser import Parser
from cli.picture_types import GALLERY
from runner import run

EXAMPLES = ("make_gallery.py runs", "make_gallery.py runs --recursive -o runs/all.html")


def make_parser():
    parser = Parser(__doc__, EXAMPLES)
    group = parser.add_argument_group("what to show")
    group.add_argument("folder", metavar="FOLDER", type=Path, help="the folder with the PNGs")
    group.add_argument(
        "--recursive", "-r", action="store_true", help="show those in the folders within it, too"
    )
    group = parser.add_argument_group("where to save")
    group.add_argument(
        "--output",
        "-o",
        metavar="FILE",
        type=Path,
        help=f"the page, an .html file (default: {GALLERY} in the folder); a gallery that is "
        "there is replaced",
    )
    group.add_argument("--overwrite", action="store_true", help="replace any other file, too")
    arguments.add_help(parser)
    return parser


def parse(argv=None):
    return make_parser().parse_args(argv)


def main():
    args = parse()

    from media import gallery

    path, nameless = gallery.write(args.folder, args.output, args.recursive, args.overwrite)
    if nameless:
        more = f" and {len(nameless) - 1} more" if len(nameless) > 1 else ""
        print(f"note: shown without a recipe: {nameless[0]}{more}", file=sys.stderr)
    print(printable(path, 1000))


if __name__ == "__main__":
    run.program(main)
