"""The networks, their checkpoints, and CLIP."""

from models.zoo import NETWORKS


def names():
    """The names of all networks."""
    return list(NETWORKS)


def build(name):
    """The network called `name`, without its weights: ready for its published state_dict."""
    from models.unet import UNet

    return UNet(NETWORKS[name].architecture)


def load(name, checkpoint=None, device=None, dtype=None, packed=False):
    """The network called `name`, ready to sample with.

    Args:
        name: one of `names()`.
        checkpoint: a .pth or .safetensors file; None: the one in `checkpoints/`, downloaded if it
            is not there.
        device: where to put the weights; None: the CPU.
        dtype: of the weights and of the computation; None: float32.
        packed: whether to make it faster on a CPU, if `models.packing` can; it has no gradients
            then.
    Returns:
        A module in evaluation mode, called as `net(x, t)` or `net(x, t, clip_embed)`.
    Raises:
        CheckpointError: if there is no usable checkpoint.
    """
    import torch

    from models import checkpoints

    path = checkpoints.find(NETWORKS[name], checkpoint)
    return checkpoints.load_weights(
        lambda: build(name), path, device or "cpu", dtype or torch.float32, packed
    )
