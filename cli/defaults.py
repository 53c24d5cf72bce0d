"""Defaults that depend on what other options are: functions of a dict of values and the script."""

from cli.scripts import RESTORE
from diffusion.adaptive import TOLERANCE
from diffusion.methods import METHODS, default_schedule, default_steps
from models.zoo import NETWORKS, STUDENTS_METHOD, STUDENTS_SCHEDULE


def default(option, values):
    """The value of an option that nothing gives.

    Args:
        option: a `cli.option.Option` of one script.
        values: those of other options, by name, and `script`.
    """
    if option.name == "method" and "model" in values:
        return method(values, option.default)
    if callable(option.default):
        return option.default(values)
    return list(option.default) if isinstance(option.default, list) else option.default


def method(values, usual):
    """The method: that which a student was trained for, one without noise, or the usual one."""
    if NETWORKS[values["model"]].evaluations:
        return STUDENTS_METHOD
    return "plms" if values.get("by") == "inversion" else usual


def steps(values):
    trained = NETWORKS[values["model"]].evaluations
    return trained or default_steps(values["method"], values["script"].steps)


def schedule(values):
    row = NETWORKS[values["model"]]
    return STUDENTS_SCHEDULE if row.evaluations else default_schedule(values["method"], row.min_t)


def eta(values):
    return METHODS[values["method"]].eta


def by(values):
    """How a drawing is made to agree with a photo: what is exact can be put in as it is.

    Of what is small or blurred and has noise, pigdm comes nearest (bench/restoring.py), where the
    method and --travel let it.
    """
    tasks = values.get("task") or []
    if tasks == ["denoise"]:
        return "level"
    if not values.get("noise"):
        return "ddnm"
    can = METHODS[values["method"]].stands_alone and (values.get("travel") or 1) == 1
    return "pigdm" if can and {*tasks} <= {"upscale", "deblur"} else "mmps"


def travel(values):
    return 2 if values.get("by", "ddnm") == "ddnm" else 1


def strength(values):
    return 0.5 if values.get("by") == "inversion" else None


def tolerance(values):
    return TOLERANCE if METHODS[values["method"]].evaluations is None else None


def size(values):
    _, height, width = NETWORKS[values["model"]].shape
    return [width, height]


def coarse_until(values):
    """Until when images larger than the network's own are drawn small; None: they are not larger.

    Noise that was found for a photo was found at full size, and is taken back the same way; and a
    photo that is drawn on has details that the network would not see. Of ways to restore one, pigdm
    comes out farther when it enlarges (bench/restoring.py), and level and inversion start from it.
    """
    row = NETWORKS[values["model"]]
    if row.times(values["size"]) == 1:
        return None
    if values["script"] is RESTORE:
        return row.coarse_until if values.get("by", "ddnm") in ("ddnm", "mmps") else 1.0
    return 1.0 if values["latent"] or values["init"] else row.coarse_until


def clip_model(values):
    return NETWORKS[values["model"]].clip or "ViT-B-16"
