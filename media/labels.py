"""What is written below an image in a grid, by the recipe in its PNG."""

from cli import recipe as recipes
from cli.errors import UserError
from cli.prompts import Prompt, format_prompt


def label(path, fields):
    """What is written below an image, a line for each field; its name where its recipe has none."""
    try:
        recipe = recipes.read(path)
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
