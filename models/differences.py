"""Weights as their difference from those of another network, in four bits each.

A student is near its teacher: in four bits their difference is a quarter of the file that its
weights make in half precision. A file of it says from what: the SHA-256 of a checkpoint of the zoo.
"""

import torch
from safetensors import safe_open

from models import checkpoints
from models.checkpoints import CheckpointError
from models.zoo import NETWORKS

KEY = "difference_from"  # of the metadata of a .safetensors file: the other's hash
# What the names of tensors have behind those of weights; of equal weights the file has no numbers.
LEVELS, SCALES, EQUAL = ".levels", ".scales", ".equal"
LEAST, MOST = -8, 7  # levels of four bits
CLIPPED = torch.linspace(0.3, 1, 29)  # shares of the largest difference that are tried as the last


def quantised(difference):
    """A difference in four bits, with the scale of each row at which its squared error is least.

    Args:
        difference: of two weights [rows, ...].
    Returns:
        levels [rows, ceil(K / 2)], two in a byte, uint8, for the K numbers of a row; and scales
        [rows], float16.
    """
    rows = difference.flatten(1)
    largest = rows.abs().amax(1, keepdim=True)
    best, error = largest, torch.full_like(largest, torch.inf)
    for share in CLIPPED:
        scale = (share * largest / MOST).half().float()
        new = (_levels(rows, scale) * scale - rows).square().sum(1, keepdim=True)
        best, error = torch.where(new < error, scale, best), torch.minimum(new, error)
    levels = (_levels(rows, best) - LEAST).to(torch.uint8)
    if levels.shape[1] % 2:
        levels = torch.nn.functional.pad(levels, (0, 1))
    return (levels[:, ::2] * 16 + levels[:, 1::2]).contiguous(), best[:, 0].half()


def restored(levels, scales, like):
    """The difference [rows, ...] that `quantised` was given, rounded; like: a weight of its shape.

    Raises ValueError where shapes do not agree, and for what no difference is stored as.
    """
    count = like[0].numel()
    if levels.shape != (len(like), (count + 1) // 2) or scales.shape != (len(like),):
        raise ValueError("levels of another shape")
    if levels.dtype != torch.uint8 or not scales.isfinite().all():
        raise ValueError("levels are bytes, and scales are finite")
    numbers = torch.stack([levels // 16, levels % 16], dim=2).flatten(1)
    rows = (numbers[:, :count].float() + LEAST) * scales.float()[:, None]
    return rows.view(like.shape)


def _levels(rows, scale):
    return (rows / scale.clamp_min(1e-12)).round().clamp(LEAST, MOST)


def differences(state, base, path):
    """A state_dict as a file of differences holds it.

    Args:
        state: of the network.
        base: of the other one; what it has no weight of, and vectors, stay whole, in float16.
        path: the file of `state`, for what it raises.
    Raises:
        CheckpointError: where no weights have the same shape, and for what float16 cannot hold.
    """
    stored = {}
    for key, value in state.items():
        alike = key in base and value.ndim > 1 and base[key].shape == value.shape
        if alike and torch.equal(value.float(), base[key].float()):
            stored[key + EQUAL] = torch.empty(0, dtype=torch.uint8)
        elif alike:
            difference = value.float() - base[key].float()
            stored[key + LEVELS], stored[key + SCALES] = quantised(difference)
        else:
            stored[key] = value.half().contiguous()
    if not any(key.endswith(LEVELS) for key in stored):
        raise CheckpointError(f"{path} is of another network: no weights have the same shape")
    for key, value in stored.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{path}: {ascii(key)[:80]} is beyond the range of float16")
    return stored


def base_of(path):
    """What the weights of a .safetensors file are differences from: its SHA-256, or None."""
    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get(KEY)


def base_file(digest, path):
    """The checkpoint of that SHA-256; path: of the file of differences, for what it raises.

    Raises:
        CheckpointError: if it is not here. A stranger's file must not make anybody download
            gigabytes.
    """
    row = next((row for row in NETWORKS.values() if row.sha256 == digest), None)
    if row is None:
        raise CheckpointError(f"{path} is a difference from weights that are not known here")
    if not checkpoints.is_present(row):
        get = f"--model {row.name} downloads them" if row.url else f"restore {row.file}"
        raise CheckpointError(
            f"{path} is a difference from the weights of {row.name}, which are not here: {get}"
        )
    return checkpoints.find(row)


def added(stored, base, path):
    """The state_dict of a file of differences, float32 where it has any.

    Args:
        stored: its tensors.
        base: the state_dict that they are differences from.
        path: the file, for what it raises.
    Raises:
        CheckpointError: if they do not go with each other.
    """
    state = {k: value for k, value in stored.items() if not k.endswith((LEVELS, SCALES, EQUAL))}
    for key in [name.removesuffix(EQUAL) for name in stored if name.endswith(EQUAL)]:
        if key not in base:
            raise CheckpointError(
                f"{path} is damaged: the network that it names has no {ascii(key)[:80]}"
            )
        state[key] = base[key]
    for key in [name.removesuffix(LEVELS) for name in stored if name.endswith(LEVELS)]:
        try:
            difference = restored(stored[key + LEVELS], stored[key + SCALES], base[key])
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} is damaged: its {ascii(key)[:80]} is no difference from a weight of the "
                "network that it names"
            ) from error
        state[key] = base[key].float() + difference
    return state
