"""Which device a run computes on, in which dtype, and whether compiled."""

import torch

from models import int8
from runner import dtypes
from values.errors import UserError, printable


def pick_device(name, local_rank=None):
    """The torch device of a name; None: cuda, xpu, mps or cpu, the first that is there.

    Args:
        name: as for `--device`.
        local_rank: the number of this process among those of the machine, which share its GPUs.
    Raises:
        UserError: if the one that is asked for is not there.
    """
    there = {
        "cuda": torch.cuda.device_count(),  # AMD's GPUs, by ROCm, are called so, too
        "xpu": torch.xpu.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    device = torch.device(name or next(kind for kind in there if there[kind]))
    several = device.type in ("cuda", "xpu")
    if several and device.index is None and local_rank is not None:
        device = torch.device(device.type, local_rank % max(1, there[device.type]))
    if (device.index or 0) >= there.get(device.type, 0):
        have = ", ".join(kind for kind in there if there[kind])
        raise UserError(
            f"--device {name} is not there: this machine, or this torch, has {have}: leave it out, "
            "or give one of these"
        )
    return device


def pick_dtype(name, device, low_memory=False, gradients=False):
    """The torch dtype of a name; auto: what the device computes fastest with enough precision.

    Args:
        name: as for `--dtype`.
        device: a torch.device. Of a CPU it is measured, or was (`runner.dtypes`).
        low_memory: prefer what takes less memory, unless it is much slower.
        gradients: whether something is to be differentiated, for which float16 is no choice of a
            CPU.
    Raises:
        UserError: where int8 is asked for and cannot be had.
    """
    if name == "int8":
        if device.type != "cpu":
            raise UserError("--dtype int8 is for CPUs: add --device cpu, or take float16")
        if not int8.available():
            raise UserError("--dtype int8: this torch has no int8 convolutions for this CPU")
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.float16
    if device.type != "cpu":
        return torch.float32
    return dtypes.fastest(("float32", "bfloat16") if gradients else dtypes.ALL, low_memory)


def pick_clip_dtype(name, device):
    """The torch dtype in which a CLIP steers; auto: the quickest that keeps small gradients."""
    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto" and bfloat16:
        return torch.bfloat16
    return pick_dtype(name, device, gradients=True)


def compiled(net):
    """The network through torch.compile, whose complaints are one line."""
    from torch._dynamo.exc import TorchDynamoException  # which takes seconds to import

    fast = torch.compile(net)

    def call(*arguments):
        try:
            return fast(*arguments)
        except TorchDynamoException as error:
            why = printable(str(error).strip().partition("\n")[0], 200)
            raise UserError(
                f"--compile: torch cannot compile here ({why}): leave it out"
            ) from error

    return call
