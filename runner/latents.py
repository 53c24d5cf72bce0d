"""Latent noise in .safetensors files, written and read."""

import json

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from recipes.latents import KEY, VERSION
from values.errors import UserError, printable
from values.files import write_whole


def save(path, latents, facts, previous=None, overwrite=True):
    """Writes latents with facts about them; the file appears whole or not at all.

    Args:
        path: where to.
        latents: [N, 3, H, W], kept in float64 if they come with `previous`, else in float32.
        facts: a dict that JSON can hold: `timestep`, if known `timesteps`, and fields of a recipe.
        previous: the states one step before, for a way back that is exact.
        overwrite: whether to replace a file there.
    Raises:
        FileExistsError: the file exists and `overwrite` is False.
    """
    header = {KEY: json.dumps({"version": VERSION, **facts}, allow_nan=False)}
    tensors = {"latents": latents.float() if previous is None else latents.double()}
    if previous is not None:
        tensors["previous"] = previous.double()
    tensors = {key: tensor.contiguous().cpu() for key, tensor in tensors.items()}
    write_whole(path, lambda part: part.write_bytes(to_bytes(tensors, header)), overwrite)


def load(path, reversible):
    """Reads the latents of a file whose head was found good.

    Returns:
        (latents, previous): [N, 3, H, W] each, `previous` None if the file is not reversible.
    Raises:
        UserError: if they are not finite numbers, or the file is damaged.
    """
    name = printable(path, 200)
    try:
        with safe_open(path, "pt") as file:
            tensors = [file.get_tensor("latents")]
            if reversible:
                tensors.append(file.get_tensor("previous"))
    except (OSError, SafetensorError):
        raise UserError(f"{name} is damaged, or no .safetensors file of latents") from None
    if any(not t.is_floating_point() or not torch.isfinite(t).all() for t in tensors):
        raise UserError(f"{name} holds latents that are not finite numbers")
    if reversible:
        return tensors[0].double(), tensors[1].double()
    return tensors[0].float(), None
