"""Latent noise in .safetensors files: what a run can start from, and what it was found with.

A file holds one tensor `latents`, float32 [N, 3, H, W], and in its metadata under `v-diffusion` a
JSON object with at least `version` and `timestep`, the t that the latents belong to.
"""

import json
import os

from cli.errors import UserError, printable

KEY = "v-diffusion"
VERSION = 1
MAX_BYTES = 4 * 2**30


def save(path, latents, facts):
    """Writes latents with facts about them; the file appears whole or not at all.

    Args:
        path: where to; a file there is replaced.
        latents: [N, 3, H, W].
        facts: a dict that JSON can hold; `timestep` and, if known, `model` are read back.
    """
    from safetensors.torch import save_file

    part = f"{path}.part"
    metadata = {KEY: json.dumps({"version": VERSION, **facts}, allow_nan=False)}
    try:
        save_file({"latents": latents.float().contiguous().cpu()}, part, metadata)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)


def head(path, model, size):
    """Checks, without torch and without reading the latents, that they fit a model and a size.

    Returns:
        (how many there are, the timestep they belong to).
    Raises:
        UserError: if the file holds no latents, or those of another model or size; one line.
    """
    from safetensors import SafetensorError, safe_open

    name = printable(path, 200)
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise UserError(f"{name} is larger than {MAX_BYTES // 2**30} GB: not read")
        with safe_open(path, "numpy") as file:
            facts = json.loads((file.metadata() or {}).get(KEY, "{}"))
            shape = file.get_slice("latents").get_shape() if "latents" in set(file.keys()) else []
    except (OSError, SafetensorError, ValueError, RecursionError):
        raise UserError(f"{name} is damaged, or no .safetensors file of latents") from None
    if len(shape) != 4 or min(shape) < 1:
        raise UserError(f"{name} holds no latents: it needs a tensor latents [N, 3, H, W]")
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise UserError(f"{name} does not say how its latents were made, in a way known here")
    made_for = facts.get("model")
    if isinstance(made_for, str) and made_for != model:
        raise UserError(
            f"{name} was made for the model {printable(made_for, 40)}, not for {model}: "
            f"use --model {printable(made_for, 40)}"
        )
    (width, height), (n, channels, h, w) = size, shape
    if (channels, h, w) != (3, height, width):
        raise UserError(
            f"{name} holds latents of {w} x {h} pixels in {channels} channels, not of "
            f"{width} x {height} in 3: use --size {w} {h}"
        )
    timestep = facts.get("timestep")
    if not isinstance(timestep, int | float) or not 0 < timestep <= 1:
        raise UserError(f"{name} does not say which timestep its latents belong to")
    return n, float(timestep)


def load(path):
    """Reads latents whose `head` was found good: float32 [N, 3, H, W].

    Raises:
        UserError: if they are not finite numbers, or the file is damaged.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    name = printable(path, 200)
    try:
        with safe_open(path, "pt") as file:
            latents = file.get_tensor("latents")
    except (OSError, SafetensorError):
        raise UserError(f"{name} is damaged, or no .safetensors file of latents") from None
    if not latents.is_floating_point() or not torch.isfinite(latents).all():
        raise UserError(f"{name} holds latents that are not finite numbers")
    return latents.float()
