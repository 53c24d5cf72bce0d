"""Which device a run computes on, in which dtype, and whether compiled."""

import torch

from models import int8
from values.errors import UserError, printable


def pick_device(name, local_rank=None):
    """The torch device of a name; None: cuda, mps or cpu, whichever is there.

    Args:
        name: as for `--device`.
        local_rank: the number of this process among those of the machine, which share its GPUs.
    Raises:
        UserError: if the one that is asked for is not there.
    """
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.backends.mps.is_available()}
    if name is None:
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    device = torch.device(name)
    if device.type == "cuda" and device.index is None and local_rank is not None:
        device = torch.device("cuda", local_rank % max(1, there["cuda"]))
    if (device.index or 0) >= there.get(device.type, 0):
        have = ", ".join(kind for kind in there if there[kind])
        raise UserError(f"--device {name} is not there: this machine has {have}")
    return device


def pick_dtype(name, device):
    """The torch dtype of a name; auto: what the device computes fastest with enough precision.

    Raises UserError where int8 is asked for and cannot be had.
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
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if device.type == "cpu" and native else torch.float32


def pick_clip_dtype(name, device):
    """The torch dtype in which a CLIP steers; auto: the quickest that keeps small gradients."""
    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if name == "auto" and bfloat16 else pick_dtype(name, device)


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
