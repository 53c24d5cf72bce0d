"""Writes a checkpoint in another format or another type of numbers.

    python -m models.convert FILE.pth [-o FILE.safetensors] [--dtype float16] [--model NAME]

A .safetensors file is mapped faster and can hold no code. The computation may use other numbers
than the file: `--dtype float16` halves the file and rounds the weights, once; `--difference-from`
stores them as their difference from those of another network, in four bits each.
"""

import argparse
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from models import checkpoints, differences
from models.checkpoints import SUFFIXES, CheckpointError
from models.networks import build
from models.weights import match, read
from models.zoo import NETWORKS, network

DTYPES = ("float32", "float16", "bfloat16")


def convert_file(path, output, dtype=None, model=None, base=None):
    """Writes the tensors of one checkpoint to another, in the format that its name asks for.

    Args:
        path: a checkpoint, as `models.weights.read` takes it.
        output: a file that is not there, .pth or .safetensors.
        dtype: of the floating-point tensors; None: as they are.
        model: a network, whose state_dict is looked for in the file and checked; None: any.
        base: a network; what is written is the difference from its weights, as
            `models.differences` stores it.
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
    metadata = metadata_of(path)
    if base:
        row = network(base)
        if not checkpoints.is_present(row):
            raise CheckpointError(f"the weights of {base} are not here: draw with it first")
        state = differences.differences(state, read(checkpoints.find(row)), path)
        metadata = {**(metadata or {}), differences.KEY: row.sha256}
    # A copy of each: in .safetensors no two tensors share their memory.
    state = {
        key: value.to(dtype if value.is_floating_point() else None, copy=True).contiguous()
        for key, value in state.items()
    }
    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        part.touch(exist_ok=False)
        mode = part.stat().st_mode  # safetensors makes files that nobody else can read
        if output.suffix == ".safetensors":
            save_file(state, part, metadata)
        else:
            torch.save(state, part)
        part.chmod(mode)
        os.link(part, output)  # unlike a renaming, it replaces nothing
    finally:
        part.unlink(missing_ok=True)


def metadata_of(path):
    """What a .safetensors file says beside its tensors, such as the merges of a tokenizer.

    That they are differences is not true of what `read` makes of them.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            return {k: v for k, v in metadata.items() if k != differences.KEY} or None
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
    p.add_argument(
        "--difference-from",
        choices=[name for name, row in NETWORKS.items() if row.sha256],
        help="a network, such as a student's teacher: a quarter of the size in half precision",
    )
    args = p.parse_args()
    other = ".pth" if args.file.suffix == ".safetensors" else ".safetensors"
    output = args.output or args.file.with_suffix(other)
    if output.suffix not in SUFFIXES:
        p.error(f"{output}: the name must end in {' or '.join(SUFFIXES)}")
    if args.difference_from and (args.dtype or output.suffix != ".safetensors"):
        p.error("--difference-from writes .safetensors files, in a --dtype of its own")
    try:
        dtype = args.dtype and getattr(torch, args.dtype)
        convert_file(args.file, output, dtype, args.model, args.difference_from)
    except (CheckpointError, FileExistsError) as error:
        reason = error if isinstance(error, CheckpointError) else f"{output}: File exists"
        p.exit(2, f"{p.prog}: error: {reason}\n")
    except OSError as error:
        p.exit(1, f"{p.prog}: error: {output} cannot be written: {error.strerror}\n")
    print(output)


if __name__ == "__main__":
    main()
