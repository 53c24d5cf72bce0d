"""Defaults that depend on what other options are: functions of a dict of values and the script."""

from diffusion.adaptive import TOLERANCE
from diffusion.methods import METHODS, default_schedule, default_steps
from models.zoo import NETWORKS


def default(option, values):
    """The value of an option that nothing gives.

    Args:
        option: a `cli.option.Option` of one script.
        values: those of other options, by name, and `script`.
    """
    if callable(option.default):
        return option.default(values)
    return list(option.default) if isinstance(option.default, list) else option.default


def steps(values):
    return default_steps(values["method"], values["script"].steps)


def schedule(values):
    return default_schedule(values["method"], NETWORKS[values["model"]].min_t)


def eta(values):
    return METHODS[values["method"]].eta


def tolerance(values):
    return TOLERANCE if METHODS[values["method"]].evaluations is None else None


def size(values):
    _, height, width = NETWORKS[values["model"]].shape
    return [width, height]


def clip_model(values):
    return NETWORKS[values["model"]].clip or "ViT-B-16"
