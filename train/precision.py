"""What training computes in."""

import torch

from runner.device import pick_dtype


def mixed_precision(device):
    """A context in which networks compute in bfloat16, unless a CPU would have to imitate it."""
    imitated = device.type == "cpu" and pick_dtype("auto", device) != torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=not imitated)
