#!/usr/bin/env python3
"""Write a page of a folder's images: to look through, filter, compare and draw again."""

from cli.begin import begin

if __name__ == "__main__":  # Ctrl-C or a missing package during the imports: one line, no traceback
    begin()

from cli.parser import all_values
from cli.scripts import GALLERY
from runner.exit import finished_images_are_kept, program
from values.errors import note, printable


def main():
    args = all_values(GALLERY)

    from media import gallery  # Pillow is imported for a checked line only

    finished_images_are_kept()  # and no half of a page
    path, nameless = gallery.write(args.folder, args.output, args.recursive, args.overwrite)
    if nameless:
        more = f" and {len(nameless) - 1} more" if len(nameless) > 1 else ""
        note(f"note: shown without a recipe: {nameless[0]}{more}")
    print(printable(path, 1000))


if __name__ == "__main__":
    program(main)
