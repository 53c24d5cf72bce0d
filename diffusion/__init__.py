"""Sampling from v-objective diffusion models; knows no network, no file and no CLIP.

A model is any callable `(x [N, C, H, W], t [N]) -> v [N, C, H, W]`.
"""

import importlib

_HOMES = {
    "editing": ("edit_by_latents", "edit_directly"),
    "gaussianity": ("mix_noise", "noise_report", "normalise"),
    "guidance": ("conditions", "guided", "steered"),
    "inversion": ("Latents", "from_latents", "in_doubles", "to_latents"),
    "memory": ("in_chunks",),
    "objective": ("to_pred_eps", "to_x_v"),
    "sampling": (
        "NonFiniteError",
        "Progress",
        "add_noise",
        "clamp_t",
        "generators",
        "noise",
        "sample",
    ),
    "schedules": (
        "SCHEDULES",
        "alpha_sigma",
        "ascending",
        "log_snr",
        "log_snr_to_t",
        "schedule",
    ),
    "methods": ("METHODS", "usual_interval"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name):
    # On first use: what only asks for the names of methods should not wait for torch.
    if name not in _HOME:
        raise AttributeError(f"module 'diffusion' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"diffusion.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])
