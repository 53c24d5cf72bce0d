"""What a PNG says of how it was made, ours or another tool's, in names and texts for people."""

from typing import NamedTuple

from recipes import parameters, picture_texts
from recipes import recipe as recipes
from values.errors import UserError, printable
from values.extents import number

NEGATIVE = "negative prompt"


class Found(NamedTuple):
    """What there is in a PNG.

    Args:
        size: (width, height) in pixels.
        recipe: ours, as `recipes.recipe` checks it; None: there is none.
        parameters: of another tool, as `recipes.parameters` has them; None: the recipe is ours.
    """

    size: tuple[int, int]
    recipe: dict | None
    parameters: dict | None


def find(path):
    """What a PNG says of how it was made; UserError, in one line, where it says nothing."""
    size, texts = picture_texts.read(path, [recipes.KEY, parameters.KEY])
    if recipes.KEY in texts:
        return Found(size, recipes.parse(texts[recipes.KEY], path), None)
    if texts.get(parameters.KEY, "").strip():
        return Found(size, None, parameters.parse(texts[parameters.KEY]))
    _, others = picture_texts.read(path, parameters.JSON_KEYS)
    for key in parameters.JSON_KEYS:
        found = parameters.of_json(others.get(key, ""))
        if found and (found["prompt"] or found["settings"]):
            return Found(size, None, found)
    raise UserError(
        f'{printable(path, 200)}: holds no recipe: neither ours nor a "{parameters.KEY}" text'
    )


def rows(found):
    """Pairs of a name and a text, which may have several lines; all of them safe to show."""
    if found.recipe is None:
        return _rows_of_parameters(found.parameters)
    told = {name: value for name, value in found.recipe.items() if value != []}
    return [(name.replace("_", " "), _shown(name, value)) for name, value in told.items()]


def prompt(found):
    """What was asked for, in one text to look for words in."""
    if found.recipe is None:
        return _lines(found.parameters["prompt"])
    return "\n".join(_safe(text) for text, *_ in found.recipe.get("prompts", []))


def seed(found):
    """The seed as text, or None."""
    if found.recipe is None:
        return found.parameters["settings"].get("Seed")
    return str(found.recipe["seed"]) if "seed" in found.recipe else None


def _rows_of_parameters(found):
    prompts = [("prompt", _lines(found["prompt"])), (NEGATIVE, _lines(found["negative_prompt"]))]
    settings = [(_safe(name), _safe(value)) for name, value in found["settings"].items()]
    return [*((name, text) for name, text in prompts if text), *settings]


def _shown(name, value):
    if name in ("prompts", "images", "source", "region", "morph"):
        weights = [number(weight) for _, weight, *_ in value]
        width = max(map(len, weights), default=0)
        lines = [
            "  ".join([f"{weight:>{width}}", *(_safe(part) for part in (text, *extent) if part)])
            for weight, (text, _, *extent) in zip(weights, value, strict=True)
        ]
        return "\n".join(lines)
    if name == "size":
        return " x ".join(map(str, value))
    if name == "batch":
        return f"image {value[1] + 1} of {value[0]}"
    if name == "frame_batches":
        return f"up to {max(rows for rows, _ in value)} at once"
    if name == "guidance_interval":
        return " to ".join(map(number, value))
    if isinstance(value, dict):
        return "\n".join(f"{_safe(name)} {' '.join(some)}" for name, some in value.items())
    if isinstance(value, list):
        return " ".join(_safe(part) if isinstance(part, str) else number(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _safe(value) if isinstance(value, str) else number(value)


def _safe(text):
    return printable(text, limit=len(text) + 1)


def _lines(text):
    return "\n".join(_safe(line) for line in text.split("\n"))
