#!/usr/bin/env python3
"""Put images in a grid, in rows from left to right, with labels and titles if you like."""

from cli.begin import begin

if __name__ == "__main__":  # Ctrl-C or a missing package during the imports: one line, no traceback
    begin()

from cli.parser import all_values
from cli.scripts import GRID
from jobs import outputs
from recipes.recipe import label_fields
from runner.exit import finished_images_are_kept, program
from values.errors import printable


def main():
    args = all_values(GRID)
    fields = label_fields(args.label)
    policy = outputs.Policy.REFUSE
    if args.skip_existing or args.overwrite:
        policy = outputs.Policy.OVERWRITE if args.overwrite else outputs.Policy.SKIP
    targets = outputs.plan(args.output, [{"index": 0}], policy)
    if not targets:
        return
    [target] = targets

    from media import folders, grids, images, saving  # once the arguments are checked

    paths = folders.find_images(args.pictures, target.path)
    sizes = [images.size_of(path) for path in paths]  # each is found readable on the way
    if args.size:
        size, fit = tuple(args.size), args.fit or "contain"
    else:
        size, fit = grids.common_size(paths, sizes, any_size=args.fit is not None), args.fit
    plan = grids.layout(
        len(paths),
        size,
        args.nrow,
        labels=[grids.label(path, fields) for path in paths] if fields else (),
        row_titles=args.row_titles,
        column_titles=args.column_titles,
        title=args.title,
        spacing=args.spacing,
        background=args.background,
        fit=fit,
        scale=args.scale,
    )
    picture = grids.draw(plan, map(images.open_image, paths))
    finished_images_are_kept()
    print(printable(saving.publish(picture, target), 1000))


if __name__ == "__main__":
    program(main)
