"""Images in a grid, with labels and titles: first the layout, which costs nothing, then the canvas.

    plan = layout(len(paths), size=(64, 64), columns=3)     # refuses what is too large
    picture = draw(plan, (open_image(path) for path in paths))

Beside the canvas one image at a time is in memory.
"""

import math
from dataclasses import dataclass

from PIL import Image

from media import fonts
from media.images import MAX_PIXELS, resize_and_crop, scaled
from recipes import recipe as recipes
from values.errors import UserError, printable
from values.picture_types import GAP, WHITE
from values.prompts import Prompt, format_prompt

MAX_SIDE = 65_535  # pixels: a JPEG made of the grid can have no more
PAD = 4  # pixels between an image and a text
MOST_LINES = 3  # of a title, and of a line of a label


@dataclass(frozen=True)
class Text:
    """Lines of text in a grid, each in the middle of a box."""

    left: int
    top: int
    width: int
    lines: list[str]
    font: object  # of Pillow

    @property
    def height(self):
        return len(self.lines) * fonts.line_height(self.font)


@dataclass(frozen=True)
class Layout:
    """Where everything in a grid goes, in pixels; `layout` makes it.

    Args:
        size: (width, height) of the whole.
        columns, rows: how many there are.
        cells: (left, top) of each image.
        cell: (width, height) of each image, before it is enlarged `scale` times.
        fit: one of FITS, or None: an image of another size is refused.
        background: (red, green, blue).
        texts: labels and titles.
    """

    size: tuple[int, int]
    columns: int
    rows: int
    cells: list[tuple[int, int]]
    cell: tuple[int, int]
    scale: int
    fit: str | None
    background: tuple[int, int, int]
    texts: list[Text]


def layout(
    count,
    size,
    columns=None,
    *,
    labels=(),
    row_titles=(),
    column_titles=(),
    title=None,
    spacing=None,
    background=WHITE,
    fit=None,
    scale=1,
):
    """Where each image of a grid goes, row by row, and each text; checked, and nothing drawn yet.

    Args:
        count: how many images.
        size: (width, height) of each, in pixels.
        columns: images in a row; None: as many as there are column titles, or as make as many
            rows as there are row titles, or as make a square.
        labels: one text per image, below it, in which line breaks are kept; or none.
        row_titles, column_titles: one text per row, at its left; one per column, above it; or none.
        title: a text above all.
        spacing: pixels between images and around them; None: 0, or GAP where there are texts.
        background: (red, green, blue), up to 255.
        fit: what becomes of images of another size: "contain" shows them whole, "cover" fills
            the cell and cuts off what sticks out, "stretch" changes their shape; None: refused.
        scale: how many times as wide and high images are shown, each pixel a square.
    Returns:
        a Layout.
    Raises:
        UserError: for more or fewer titles than rows or columns, and for a grid of more than
            MAX_PIXELS pixels, or more than MAX_SIDE at a side.
    """
    if count < 1 or (labels and len(labels) != count):
        raise ValueError("a grid has one image at least, and a label for each or for none")
    columns = min(count, columns or _columns(count, row_titles, column_titles))
    rows = math.ceil(count / columns)
    _check_titles("row", row_titles, rows)
    _check_titles("column", column_titles, columns)
    if spacing is None:
        spacing = GAP if labels or row_titles or column_titles or title else 0
    width, height = size[0] * scale, size[1] * scale

    font_size = min(max(12, width // 18), 32)
    font = fonts.font_for([*labels, *row_titles, *column_titles], font_size)
    line = fonts.line_height(font)
    apart = max(1, width + spacing - PAD)  # as wide as texts can be without touching each other
    notes = [_wrapped(label, font, apart) for label in labels]
    heads = [_wrapped(text, font, apart) for text in column_titles]
    most = min(MOST_LINES, max(1, height // line))
    names = [_wrapped(text, font, max(width // 2, 8 * line), most) for text in row_titles]
    names_width = math.ceil(max((font.getlength(row) for rows in names for row in rows), default=0))

    # What stands above the images, then what stands beside and below them.
    edge = max(PAD, spacing)
    left = names_width + 2 * edge if names else spacing
    right = left + columns * (width + spacing) - spacing
    top, texts = spacing, []
    if title:
        heading = fonts.font_for([title], font_size * 3 // 2)
        lines = _wrapped(title, heading, right - spacing)
        texts.append(Text(spacing, top, right - spacing, lines, heading))
        top += texts[0].height + max(PAD, spacing)
    if heads:
        top += line * max(map(len, heads))  # the last lines are level
        for i, lines in enumerate(heads):
            x = left + i * (width + spacing) + (width - apart) // 2
            texts.append(Text(x, top - line * len(lines), apart, lines, font))
        top += PAD
    pitch = height + spacing + (PAD + line * max(map(len, notes)) if notes else 0)
    cells = [
        (left + i % columns * (width + spacing), top + i // columns * pitch) for i in range(count)
    ]
    for i, lines in enumerate(names):
        y = top + i * pitch + (height - line * len(lines)) // 2
        texts.append(Text(edge, y, names_width, lines, font))
    for (x, y), lines in zip(cells, notes, strict=bool(notes)):
        texts.append(Text(x + (width - apart) // 2, y + height + PAD, apart, lines, font))
    whole = (right + spacing, top + rows * pitch)
    _check_size(whole)
    return Layout(whole, columns, rows, cells, size, scale, fit, background, texts)


def draw(plan, images):
    """A grid as a PIL image.

    Args:
        plan: what `layout` returned.
        images: the PIL images of mode RGB, as many as were planned; any iterable, of which each
            is let go before the next one is asked for.
    Raises:
        UserError: for an image of another size where no `fit` was chosen.
    """
    canvas = blank(plan)
    images = iter(images)
    for index in range(len(plan.cells)):
        paste(canvas, plan, index, next(images))
    return canvas


def blank(plan):
    """A grid without its images, as a PIL image: background, labels and titles."""
    canvas = Image.new("RGB", plan.size, plan.background)
    red, green, blue = plan.background
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 127 else "white"
    for text in plan.texts:
        size = (text.width, text.height)
        written = fonts.draw(text.lines, text.font, size, ink, plan.background)
        canvas.paste(written, (text.left, text.top))
    return canvas


def paste(canvas, plan, index, image):
    """Put the image of an index, a PIL image of mode RGB, into its place in the canvas."""
    if image.size != plan.cell:
        if plan.fit is None:
            shown, wanted = (f"{width} x {height}" for width, height in (image.size, plan.cell))
            raise UserError(f"image {index + 1} of the grid is {shown} and not {wanted}")
        image = _fitted(image, plan.cell, plan.fit)
    if plan.scale != 1:
        image = image.resize([side * plan.scale for side in image.size], Image.Resampling.NEAREST)
    left, top = plan.cells[index]
    free = [plan.cell[i] * plan.scale - image.size[i] for i in range(2)]
    canvas.paste(image, (left + free[0] // 2, top + free[1] // 2))


def common_size(paths, sizes, any_size=False):
    """(width, height) of the cells for images of some sizes: the largest width and height.

    Raises:
        UserError: for sizes that differ, unless `any_size` says that images may be fitted.
    """
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0] and not any_size:
            first, second = (
                f"{printable(path, 100)} has {width} x {height} pixels"
                for path, (width, height) in ((paths[0], sizes[0]), (path, size))
            )
            raise UserError(
                f"{first}, {second}: to make them fit, use --fit contain, --fit cover or "
                "--fit stretch"
            )
    return tuple(map(max, zip(*sizes, strict=True)))


def label(path, fields):
    """The label of a PNG by its recipe: a line for each field, or its name for want of one."""
    try:
        recipe = recipes.read(path)
    except UserError:  # of another origin, or damaged
        recipe = {}
    recipe = {**recipe, "file": path.name}
    if prompts := recipe.get("prompts"):
        recipe["prompt"] = prompts[0][0] if len(prompts) == 1 else prompts
    lines = [_shown(field, recipe[field]) if field in recipe else path.name for field in fields]
    return "\n".join(dict.fromkeys(lines))


def _shown(field, value):
    """A value as a label says it: texts and sizes for themselves, others with their field."""
    if isinstance(value, str):
        return " ".join(value.split())
    if field in ("prompt", "prompts", "images", "source", "region", "morph"):
        return " ".join(" | ".join(format_prompt(Prompt.of(stored)) for stored in value).split())
    if field == "size":
        return f"{value[0]} x {value[1]}"
    if isinstance(value, float):
        value = f"{value:g}"
    elif isinstance(value, list):
        value = ", ".join(f"{part:g}" for part in value)
    return f"{field.replace('_', ' ')} {value}"


def _columns(count, row_titles, column_titles):
    if column_titles:
        return len(column_titles)
    return math.ceil(count / len(row_titles)) if row_titles else math.ceil(math.sqrt(count))


def _check_titles(kind, titles, there):
    if titles and len(titles) != there:
        have = f"{len(titles)} {kind} title" + "s" * (len(titles) > 1)
        raise UserError(f"{have} for {there} {kind}" + "s" * (there > 1))


def _check_size(size):
    width, height = size
    if width * height > MAX_PIXELS or max(size) > MAX_SIDE:
        raise UserError(
            f"the grid would have {width:,} x {height:,} pixels, but can have "
            f"{MAX_PIXELS // 10**6} million and {MAX_SIDE:,} at a side: "
            "choose a smaller --size or fewer images"
        )


def _wrapped(text, font, width, most=MOST_LINES):
    """The lines of a text, each of its own lines in so many at the most."""
    own = [fonts.spelt(fonts.clean(line), font) for line in text.split("\n")]
    return [part for line in own for part in fonts.wrap(line, font, width, most)]


def _fitted(image, size, fit):
    """An image at the size of a cell or, where it is to be contained, as much of it as it fills."""
    if fit == "cover":
        return resize_and_crop(image, size)
    if fit == "contain":
        scale = min(size[0] / image.width, size[1] / image.height)
        size = [max(1, round(side * scale)) for side in image.size]
    return scaled(image, size)
