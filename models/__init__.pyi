from . import (
    checkpoints,
    clip,
    clip_guidance,
    cpu,
    downloads,
    hashes,
    networks,
    pickles,
    unet,
    weights,
    zoo,
)
from .networks import build, load
from .zoo import CLIPS, NETWORKS, names

__all__ = [
    "CLIPS",
    "NETWORKS",
    "build",
    "checkpoints",
    "clip",
    "clip_guidance",
    "cpu",
    "downloads",
    "hashes",
    "load",
    "names",
    "networks",
    "pickles",
    "unet",
    "weights",
    "zoo",
]
