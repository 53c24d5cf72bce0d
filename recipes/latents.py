"""What files of latent noise say of it, read without torch; `runner/latents.py` reads the rest.

A file holds a tensor `latents` [N, 3, H, W] and, where a reversible method found them, a tensor
`previous` of the same shape: the states one step before. Its metadata holds under `v-diffusion` a
JSON object with `version`, `timestep`, the t that the latents belong to, and where it is known the
recipe: the fields of `recipes.recipe` and `timesteps`, those of the way there.
"""

import itertools
import json
import os
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from models.checkpoints import header_fits
from recipes import recipe
from values.errors import UserError, printable
from values.types import is_number

KEY = "v-diffusion"
VERSION = 1
MAX_BYTES = 4 * 2**30
MAX_TIMESTEPS = 100_001


class Head(NamedTuple):
    """What a file says of its latents.

    Args:
        count: how many there are.
        shape: (channels, height, width) of one.
        timestep: the t that they belong to.
        recipe: what is known of how they were found, as `recipes.recipe` checks it.
        timesteps: the ascending timesteps of the way there, the last one `timestep`; or None.
        reversible: whether the file holds the states one step before, too.
    """

    count: int
    shape: tuple[int, int, int]
    timestep: float
    recipe: dict
    timesteps: list[float] | None
    reversible: bool


def head(path):
    """Reads, without torch and without the latents, what a file says of them.

    Raises:
        UserError: if the file holds no latents, or says what cannot be; one line.
    """
    name = printable(path, 200)
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise UserError(f"{name} is larger than {MAX_BYTES // 2**30} GB: not read")
        with open(path, "rb") as file:
            if not header_fits(file.read(8)):
                raise ValueError("its header is too large")
        with safe_open(path, "numpy") as file:
            facts = json.loads((file.metadata() or {}).get(KEY, "{}"))
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, RecursionError):
        raise UserError(f"{name} is damaged, or no .safetensors file of latents") from None
    shape = shapes.get("latents", [])
    if len(shape) != 4 or min(shape) < 1:
        raise UserError(f"{name} holds no latents: it needs a tensor latents [N, 3, H, W]")
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise UserError(f"{name} does not say how its latents were made, in a way known here")
    timestep = facts.get("timestep")
    if not is_number(timestep) or not 0 < timestep <= 1:
        raise UserError(f"{name} does not say which timestep its latents belong to")
    try:
        known = recipe.checked({f: facts[f] for f in recipe.fields() if f in facts})
    except ValueError as error:
        raise UserError(f"{name}: what it says of its latents is damaged: {error}") from None
    timesteps = _timesteps(facts.get("timesteps"), timestep, name)
    reversible = shapes.get("previous") == shape and timesteps is not None and len(timesteps) > 1
    return Head(shape[0], tuple(shape[1:]), float(timestep), known, timesteps, reversible)


def check_fit(path, head, model, size):
    """UserError unless latents are of this model and size (width, height)."""
    name = printable(path, 200)
    made_for = head.recipe.get("model", model)
    if made_for != model:
        raise UserError(
            f"{name} was made for the model {printable(made_for, 40)}, not for {model}: "
            f"use --model {printable(made_for, 40)}"
        )
    (width, height), (channels, h, w) = size, head.shape
    if (channels, h, w) != (3, height, width):
        raise UserError(
            f"{name} holds latents of {w} x {h} pixels in {channels} channels, not of "
            f"{width} x {height} in 3: use --size {w} {h}"
        )


def check_alike(path, head, other_path, other, same, again):
    """UserError unless there is a way from the latents of one file to those of another.

    Args:
        path, head, other_path, other: the files, and what they say.
        same: fields of their recipes in which they must not differ.
        again: whether the way back visits the timesteps of the first.
    """
    names = f"{printable(path, 200)} and {printable(other_path, 200)}"
    pairs = [
        ("timesteps", f"{head.timestep:g}", f"{other.timestep:g}"),
        ("models", *(h.recipe.get("model", "unknown") for h in (head, other))),
        ("sizes", *(" x ".join(map(str, h.shape[:0:-1])) for h in (head, other))),
        ("numbers of latents", head.count, other.count),
    ]
    for what, one, two in pairs:
        if one != two:
            shown = f"{printable(one, 60)} and {printable(two, 60)}"
            raise UserError(f"{names} are of different {what}, {shown}: no way leads there")
    if head.reversible != other.reversible:  # these begin with another step than those
        raise UserError(f"{names}: one holds two states, the other one: find both alike")
    if again and head.timesteps != other.timesteps:
        raise UserError(
            f"{names} were found over different timesteps: say which, with --steps and --schedule"
        )
    for field in same:
        if head.recipe.get(field) != other.recipe.get(field):
            what = f"with different {field}s" if field == "method" else f"under different {field}"
            advice = f"give --{field}" if field != "prompts" else "give prompts, or --morph"
            raise UserError(f"{names} were found {what}: {advice}")


def _timesteps(values, last, name):
    """The timesteps of the way to the latents, checked; None: the file does not say."""
    if values is None:
        return None
    good = isinstance(values, list) and 0 < len(values) <= MAX_TIMESTEPS
    good = good and all(is_number(v) and 0 <= v <= 1 for v in values) and values[-1] == last
    if not good or not all(a < b for a, b in itertools.pairwise(values)):
        raise UserError(f"{name}: its timesteps do not lead up to {last:g}: the file is damaged")
    return [float(v) for v in values]
