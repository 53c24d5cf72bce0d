"""Writes a checkpoint in another format or another type of numbers.

    python -m models.convert FILE.pth [-o FILE.safetensors] [--dtype float16] [--model NAME]

A .safetensors file is mapped faster and can hold no code. The computation may use other numbers
than the file: `--dtype float16` halves the file and rounds the weights, once.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from models.checkpoints import SUFFIXES, CheckpointError
from models.networks import build
from models.weights import match, read
from models.zoo import NETWORKS

DTYPES = ("float32", "float16", "bfloat16")


def convert_file(path, output, dtype=None, model=None):
    """Writes the tensors of one checkpoint to another, in the format that its name asks for.

    Args:
        path: a checkpoint, as `models.weights.read` takes it.
        output: a file that is not there, .pth or .safetensors.
        dtype: of the floating-point tensors; None: as they are.
        model: a network, whose state_dict is looked for in the file and checked; None: any.
    Raises:
        CheckpointError: for a file that cannot be read or is of another network.
        OSError: if the output cannot be written.
    """
    wanted = {}
    if model:
        with torch.device("meta"):
            wanted = build(model).state_dict()
    state = read(path, wanted)
    if model:
        match(wanted, state, path, "network")
    # A copy of each: in .safetensors no two tensors share their memory.
    state = {
        key: value.to(dtype if value.is_floating_point() else None, copy=True).contiguous()
        for key, value in state.items()
    }
    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        part.touch(exist_ok=False)
        if output.suffix == ".safetensors":
            save_file(state, part, metadata_of(path))
        else:
            torch.save(state, part)
        os.link(part, output)  # unlike a renaming, it replaces nothing
    finally:
        part.unlink(missing_ok=True)


def metadata_of(path):
    """What a .safetensors file says beside its tensors, such as the merges of a tokenizer."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata()
    except Exception:  # another format
        return None


def main():
    p = argparse.ArgumentParser(
        prog="python -m models.convert", description=__doc__.partition("\n")[0]
    )
    p.add_argument("file", type=Path, help="a checkpoint, .pth or .safetensors")
    p.add_argument("-o", "--output", type=Path, help="default: FILE with the other format's suffix")
    p.add_argument("--dtype", choices=DTYPES, help="type of the weights (as they are)")
    p.add_argument("--model", choices=NETWORKS, help="check that the weights are this network's")
    args = p.parse_args()
    other = ".pth" if args.file.suffix == ".safetensors" else ".safetensors"
    output = args.output or args.file.with_suffix(other)
    if output.suffix not in SUFFIXES:
        p.error(f"{output}: the name must end in {' or '.join(SUFFIXES)}")
    try:
        convert_file(args.file, output, args.dtype and getattr(torch, args.dtype), args.model)
    except CheckpointError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {output} cannot be written: {error.strerror}")
    print(output)


if __name__ == "__main__":
    main()
