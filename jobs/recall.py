"""What a recipe says of options that were not given, checked as the flags that it stands for.

A recipe is a stranger's file: its values pass the checks of the flags.
"""

import os
from pathlib import Path

from cli.option import Is
from cli.options import marked, options_of
from cli.scripts import CFG, EDITING, RESTORE
from jobs.restoring import NEEDS
from models.zoo import NETWORKS
from values.errors import UserError, printable

MAX_PROMPTS = 1000  # in a recipe


def without_prompts(recipe, given):
    """The recipe of latents: prompts that are given replace all of its own."""
    asked = {"prompts", "images", "region"}
    if asked & set(given):
        return {k: v for k, v in recipe.items() if k not in asked}
    return recipe


def recalled(script, recipe, given, path):
    """What a recipe says of the options that were not given, as a dict.

    Args:
        given: what was, with the model.
        path: the file of the recipe, beside which the files that it names are looked for.
    Raises:
        UserError: for a value that the flag would not take, and a file that is not there.
    """
    if not recipe:
        return {}
    options = dict(marked(script, Is.RECORDED))
    if script in EDITING:
        options["init"] = options_of(CFG)["init"]  # the photo, which is no flag there
    skipped = {"model"}
    if recipe.get("timesteps_of_latent"):
        skipped |= {"steps", "schedule"}
    made_by = NETWORKS.get(recipe.get("model"))
    if made_by and made_by.evaluations != NETWORKS[given["model"]].evaluations:
        skipped |= {"method", "steps", "schedule", "eta"}  # those of a student are no teacher's
    if script is RESTORE:
        tasks = given.get("task") or recipe.get("task", [])
        skipped |= {name for name, task in NEEDS.items() if name != "noise" and task not in tasks}
    if NETWORKS[given["model"]].clip is None and not script.guides_any:
        skipped |= {"prompts", "images"}
    found = {}
    for name, option in options.items():
        value = recipe.get(name)
        if name in given or name in skipped or value is None:
            continue
        if any(other in given for other in option.excludes):
            continue
        if any(
            given.get(other, recipe.get(other)) != recipe.get(other) for other in option.follows
        ):
            continue
        found[name] = value_of(option, value, path, script in EDITING)
    return found


def value_of(option, value, path, is_photo=False):
    """A recipe's value of an option, checked as that of its flag.

    Args:
        path: of the recipe's file.
        is_photo: whether `init` is the photo that a script takes first, for which it has no flag.
    Raises:
        UserError: as `recalled`.
    """
    try:
        if option.many in ("*", "+") and len(value) > MAX_PROMPTS:
            raise UserError(f"{len(value):,} prompts are too many")
        if option.name == "variation":
            value = option.type.found(value, lambda name: _find(name, path.parent))
        elif Is.FILE in option.is_:
            value = _found(option, value, path.parent)
        return option.check(value)
    except UserError as error:
        advice = "" if option.flag in str(error) else f": give {option.flag}"
        if option.name == "init" and is_photo:
            advice = ": name the photo first"
        raise UserError(f"the recipe of {printable(path)}: {error}{advice}") from None


def _found(option, value, folder):
    """A recipe's value with the paths of the files that it names without their folders."""
    if isinstance(value, list):
        place = option.type.names_file
        return [[*v[:place], _find(v[place], folder), *v[place:][1:]] for v in value]
    return _find(value, folder)


def _find(name, folder):
    for path in (folder / name, Path(name)):
        if os.path.isfile(path):  # also answers for what can be no name
            return str(path)
    raise UserError(f'it needs "{printable(name, 100)}", which is not here')
