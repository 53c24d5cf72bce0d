"""What restore_sample.py takes together: tasks, and the flags that say more of them."""

import itertools
import re

from cli.options import options_of
from cli.scripts import RESTORE
from diffusion.measurements import MEASUREMENTS
from diffusion.methods import METHODS
from values.errors import UserError

NEEDS = {row.needs: name for name, row in MEASUREMENTS.items() if row.needs}
# The pseudo-inverse of two is that of each, one after the other, for these pairs alone.
TOGETHER = {frozenset(("upscale", task)) for task in ("deblur", "inpaint")}
TOGETHER |= {frozenset(("colourise", task)) for task in MEASUREMENTS if task != "denoise"}

# A Gaussian so narrow moves a level from none of the next pixels; rounding to 8 bits is a noise so
# weak.
LEAST_BLUR, LEAST_NOISE = 0.25, 0.29


def check(values):
    """UserError for options of a restoration that do not go together.

    Args:
        values: of all options, by name.
    """
    if values["init"] is None:
        raise UserError("name the photo to restore, then the prompts")
    tasks = values["task"]
    if not tasks:
        raise UserError(f"say what to do, --task and one of {', '.join(MEASUREMENTS)}")
    for task in tasks:
        if tasks.count(task) > 1:
            raise UserError(f"--task {' '.join(tasks)}: {task} twice: once does all of it")
    _check_together(tasks)
    for name, task in NEEDS.items():
        given = bool(values[name])
        if given and task not in tasks and name != "noise":  # any photo may have noise
            raise UserError(f"--{name} is of --task {task}, which is not asked for")
        if task in tasks and not given:
            option = options_of(RESTORE)[name]
            what = re.sub("^of [^:]+: ", "", option.help)
            metavar = option.metavar if option.many is None else " ".join(option.metavar)
            raise UserError(f"--task {task} needs {option.flag} {metavar}: {what}")
    _check_amounts(values)
    _check_pad(values)
    _check_factor(values)
    _check_way(values)


def _check_together(tasks):
    for task, other in itertools.combinations(tasks, 2):
        if {task, other} in TOGETHER:
            continue
        advice = "do one, and then the other"
        if "denoise" in (task, other):
            rest = other if task == "denoise" else task
            advice = f"give --task {rest} --noise LEVEL"
        raise UserError(f"--task {task} {other}: these do not fit together: {advice}")


def _check_amounts(values):
    """Less than what 8 bits round is nothing to do."""
    if values["blur"] and values["blur"] < LEAST_BLUR:
        raise UserError(f"--blur {values['blur']:g} changes no pixel by a level: nothing to do")
    if values["task"] == ["denoise"] and values["noise"] < LEAST_NOISE:
        raise UserError(
            f"--noise {values['noise']:g} is less than what 8 bits leave out: nothing to do"
        )


def _check_pad(values):
    if values["pad"] is None:
        return
    left, top, right, bottom = values["pad"]
    flag, (width, height) = f"--pad {left} {top} {right} {bottom}", values["size"]
    if not any(values["pad"]):
        raise UserError(f"{flag} adds nothing: make one of them larger")
    if left + right >= width or top + bottom >= height:
        raise UserError(
            f"{flag} leaves no room for the photo in {width} x {height} pixels: pad less, or "
            "give a larger --size"
        )


def _check_factor(values):
    factor, (width, height) = values["factor"], values["size"]
    if factor and (width % factor or height % factor):
        raise UserError(
            f"--factor {factor}: the sides of {width} x {height} are no multiples of it: choose "
            "another --size or factor"
        )


def _check_way(values):
    if values["by"] == "inversion":
        _check_inversion(values)
    elif values["strength"] is not None:
        raise UserError(f"--strength is of --by inversion, not of {values['by']}: leave it out")
    if values["by"] == "ddnm" and values["noise"]:
        if values["task"] == ["denoise"]:
            raise UserError("--by ddnm takes the photo for exact: take level, mmps or pigdm")
        raise UserError(
            "--by ddnm takes the photo for exact: leave out --noise, or take mmps or pigdm"
        )
    if values["by"] == "level" and values["task"] != ["denoise"]:
        raise UserError(f"--by level is of --task denoise alone: take {_others(values)}")
    if values["by"] == "level" and values["travel"] > 1:
        raise UserError("--by level: going back would lose the photo: leave out --travel")
    if values["by"] in ("mmps", "pigdm") and values["dtype"] == "int8":
        raise UserError(
            f"--dtype int8: --by {values['by']} needs the gradient of the network, which has none "
            "in int8: take another dtype"
        )
    if values["by"] == "pigdm":
        _check_pigdm(values)


def _others(values):
    """The ways that go with any task."""
    return "mmps or pigdm" if values["noise"] else "ddnm, mmps or pigdm"


def _check_pigdm(values):
    method = values["method"]
    if not METHODS[method].stands_alone:
        raise UserError(
            f"--by pigdm moves what a step has come to, on which the next one of {method} would "
            "build: take --method ddpm or ddim"
        )
    if values["travel"] > 1:
        raise UserError("--by pigdm agrees with the photo in one go: leave out --travel, or give 1")


def _check_inversion(values):
    """What is enlarged by finding its noise is known in all of its pixels, which have none."""
    if values["task"] != ["upscale"]:
        raise UserError(f"--by inversion is of --task upscale alone: take {_others(values)}")
    if values["noise"]:
        raise UserError(f"--by inversion would draw the photo's noise, too: take {_others(values)}")
    if values["travel"] > 1:
        raise UserError("--by inversion: there is no other noise to go back to: leave out --travel")
    method = values["method"]
    if METHODS[method].eta == 1 or values["eta"]:
        raise UserError(
            f"--by inversion: {method} adds noise, so that it finds none: take --method "
            f"{'exact' if METHODS[method].eta == 1 else method + ' --eta 0'}"
        )
