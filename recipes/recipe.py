"""The recipe inside a picture: how the image was made, as JSON that is checked when it is read.

A recipe is a dict. Its fields are the recorded options of `cli/options.py` and the facts below; one
that is None is left out.
"""

import difflib
import json
import re
from functools import cache

from cli.option import Is
from cli.options import marked, options_of
from cli.scripts import CFG, SAMPLING
from models.zoo import NETWORKS
from recipes import parameters, picture_texts
from values.errors import UserError, printable
from values.prompts import Prompt
from values.types import MAX_FRAMES, MAX_IMAGES, SOURCE, Text, Whole

KEY = picture_texts.RECIPE
VERSION = 1  # of recipes


def _hash(value):
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise UserError("no SHA-256")
    return value


def _hashes(value):
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_IMAGES:
        raise UserError("no hashes of files")
    if not all(isinstance(some, list) and 0 < len(some) <= MAX_IMAGES for some in value.values()):
        raise UserError("no lists of hashes")
    return {SOURCE.stored(name): [_hash(d) for d in some] for name, some in value.items()}


def _flag(value):
    if not isinstance(value, bool):
        raise UserError("neither true nor false")
    return value


def _batch(value):
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UserError("not two numbers")
    return [Whole(1, 4096).check(value[0]), Whole(0, value[0] - 1).check(value[1])]


def _batches(value):
    if not isinstance(value, list) or not 0 < len(value) <= MAX_FRAMES:
        raise UserError("no list of batches")
    return list(map(_batch, value))


# What no option says: each with the function that returns its value or raises UserError.
FACTS = {
    "script": Text().stored,
    "index": Whole(0, 0).stored,  # the number in the file's name
    "latent_index": Whole(0, 0).stored,  # which of the latent file's
    "timesteps_of_latent": _flag,  # whether it went back over the timesteps of that file
    "batch": _batch,  # [rows, row]: the shape of the batch it was drawn in, and its place there
    "frame_batches": _batches,  # those of an animation's frames, where one was not drawn alone
    "unpacked": _flag,  # whether the network could be differentiated, and was not
    "model_sha256": _hash,
    "checkpoint": SOURCE.stored,
    "clip": Text().stored,  # the CLIP that the model reads prompts with
    "clip_sha256": _hash,
    "guiding_clip_sha256": _hash,
    "guide_sha256": _hash,
    "files_sha256": _hashes,  # of the pictures and latents that it is made of, by their names
    "device": Text().stored,  # its kind, such as "cuda"
    "software": Text().stored,  # name and version of this program
}


@cache
def fields():
    """A dict from all names that a recipe may hold to the functions that check their values."""
    recorded = {
        name: option.stored
        for script in SAMPLING
        for name, option in marked(script, Is.RECORDED).items()
    }
    return {"script": FACTS["script"], **recorded, **FACTS}


def label_fields(names):
    """Names of what an image can be labelled with in a grid, checked; UserError."""
    known = ("file", "prompt", *fields())
    for name in names:
        if name not in known:
            of_file = ["file"] if "name" in name else []
            close = of_file or difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "use file, prompt, seed, steps, ..."
            raise UserError(f'no image has a "{printable(name, 40)}" to label it with: {hint}')
    return names


def of(run, image):
    """What a recipe says of the recorded options.

    Args:
        run, image: the RunOptions and ImageOptions, as `jobs.resolve` makes them.
    """
    of_images = marked(run.script, Is.IMAGES)
    return {
        name: _plain(getattr(image if name in of_images else run, name))
        for name in marked(run.script, Is.RECORDED)
    }


def of_prompts(image, prompts):
    """What a recipe says of the text prompts of an image, as it was drawn.

    Args:
        image: the ImageOptions.
        prompts: with all choices made.
    """
    asked = [*prompts, *image.images, *(image.source or [])]
    return {
        "prompts": [prompt.stored for prompt in prompts if prompt.mask is None],
        "region": [prompt.stored for prompt in prompts if prompt.mask is not None] or None,
        "soft_edge": image.soft_edge if any(prompt.box for prompt in asked) else None,
    }


def texts(recipe):
    """The texts that a PNG holds of a recipe: our JSON under `KEY`, and one for common viewers.

    Raises:
        ValueError: for a field that there is not or a value that it does not allow.
    """
    recipe = checked(recipe)
    return {
        parameters.KEY: parameters.text_of(recipe),
        KEY: json.dumps({"version": VERSION, **recipe}, allow_nan=False),
    }


def read(path):
    """The recipe in a picture that `texts` were written to.

    Returns:
        a dict with the known fields that the file has, each of the type that it should have.
    Raises:
        UserError: in one line, for any other file, a damaged recipe and one of a later version.
    """
    text = picture_texts.read(path, [KEY]).texts.get(KEY)
    if text is None:
        raise UserError(
            f"{printable(path, 200)}: holds no recipe: only images made by these scripts do"
        )
    return parse(text, path)


def parse(text, path):
    """The recipe that the text under `KEY` holds; path: of the file, for what `read` raises."""
    name = printable(path, 200)
    try:
        recipe = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise UserError(f"{name}: its recipe is not valid JSON: the file is damaged") from None
    if not isinstance(recipe, dict):
        raise UserError(f"{name}: its recipe is no JSON object: the file is damaged or not ours")
    version = recipe.get("version")
    if type(version) is not int or version != VERSION:
        raise UserError(
            f"{name}: its recipe has version {_shown(version)}, this program reads "
            f"{VERSION}: update the program"
        )
    try:
        good = checked({field: recipe[field] for field in fields() if field in recipe})
    except ValueError as error:
        raise UserError(f"{name}: its recipe is damaged: {error}") from None
    network, by = NETWORKS.get(good.get("model")), good.get("script", CFG.name)
    options = options_of({script.name: script for script in SAMPLING}.get(by, CFG))
    is_larger = network and "size" in good and network.times(good["size"]) > 1
    if is_larger and "coarse_until" in options:
        good.setdefault("coarse_until", 1.0)  # drawn before there was any other way
    return good


def checked(recipe):
    """A recipe with each value of the type that its field demands, without what is None.

    Raises:
        ValueError: for a field that there is not or a value that it does not allow.
    """
    good, known = {}, fields()
    for field, value in recipe.items():
        if field not in known:
            raise ValueError(f"unknown field {printable(field, 40)}")
        if value is not None:
            try:
                good[field] = known[field](value)
            except UserError:
                raise ValueError(f"{field} cannot be {_shown(value)}") from None
    return good


def _plain(value):
    """A value as JSON can hold it."""
    if isinstance(value, Prompt):
        return value.stored
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _shown(value):
    scalar = value is None or isinstance(value, str | int | float)
    return printable(value, 60) if scalar else f"a {type(value).__name__}"


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")
