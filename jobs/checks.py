"""What options must be together: functions of a dict of values that raise a UserError."""

import math
import os

from cli.options import options_of
from cli.scripts import CFG, DRAWING, MODIFY, REVERSE
from diffusion.guidance_rules import PLAIN, RULES, choose
from diffusion.methods import METHODS, NEGLIGIBLE, WHOLE, resolve_eta
from values.errors import UserError, printable
from values.prompts import each, format_prompt, is_picture
from values.sums import totals

# By the suffix of a file, the flag that it is for.
OPTIONS_OF_FILES = dict.fromkeys((".txt", ".json", ".jsonl", ".csv", ".tsv"), "from_file")
OPTIONS_OF_FILES[".safetensors"] = "latent"


def check_method(values):
    name, method = values["method"], METHODS[values["method"]]
    try:
        resolve_eta(name, values.get("eta"))
    except ValueError as error:
        raise UserError(f"--eta {values['eta']:g}: {error}") from None
    if method.evaluations is not None and values.get("tolerance") is not None:
        raise UserError(f"--tolerance: {name} takes the steps it is given: use adaptive")


def check_texts(script, said):
    """No text is an address, or the name of a picture, of jobs or of latents that are there.

    said: values by name.
    """
    for prompt in each(said.get("prompts", [])):
        text = printable(prompt.text, 200)
        if is_picture(prompt.text):
            raise UserError(f'"{text}" is a picture and no text: give it with --images "{text}"')
        name = OPTIONS_OF_FILES.get(os.path.splitext(prompt.text)[1].lower())
        if name in options_of(script) and os.path.isfile(prompt.text):
            flag = options_of(script)[name].flag
            raise UserError(f'"{text}" is a file and no text: give it with {flag} "{text}"')
    for prompt in each(said.get("source", [])):
        if is_picture(prompt.text):
            text = printable(prompt.text, 200)
            raise UserError(f'--source "{text}": that is a picture, and no text of what one shows')


def check_dtype(values):
    """Int8 is for CPUs, and not for what torch compiles."""
    if values["dtype"] != "int8":
        return
    device = values["device"] or "cpu"
    if device != "cpu":
        raise UserError(f"--dtype int8 is for CPUs: leave out --device {device}, or take float16")
    if values.get("compile"):
        raise UserError("--dtype int8: torch.compile makes it no faster: leave out --compile")


def check_size(size, network):
    multiple = network.size_multiple
    if any(side % multiple for side in size):
        w, h = size
        sizes = dict.fromkeys(
            f"{max(multiple, round_to(w))} {max(multiple, round_to(h))}"
            for round_to in (
                lambda side: side // multiple * multiple,
                lambda side: -(-side // multiple) * multiple,
            )
        )
        raise UserError(
            f"--size {w} {h}: {network.name} draws sides that are multiples of {multiple}: "
            f"the nearest are {' and '.join(sizes)}"
        )


def check_coarse(script, given, values, network):
    """Only what is larger than the network's own images is drawn small first, if there is time."""
    if given.get("coarse_until", 1) == 1:
        return
    (w, h), (_, height, width), until = values["size"], network.shape, given["coarse_until"]
    flag, by = f"--coarse-until {until:g}", values.get("by")
    if min(w // width, h // height) < 2:
        raise UserError(
            f"{flag} is for images at least twice as wide and high as {network.name} draws, "
            f"{2 * width} x {2 * height} and up, not for {w} x {h}: leave it out, or give --size"
        )
    if network.times((w, h)) == 1:
        m = 2 * network.size_multiple
        raise UserError(
            f"{flag}: {w} x {h} cannot be reduced to a size that {network.name} draws: leave it "
            f"out, or give sides that are multiples of {m}, like {w // m * m} x {h // m * m}"
        )
    if script in DRAWING and values["init"] and values["starting_timestep"] < until:
        start = values["starting_timestep"]
        raise UserError(
            f"{flag}: --init starts at {start:g}, below it: give {start:g} or less, or leave it out"
        )
    if by in ("level", "inversion"):
        raise UserError(
            f"{flag}: --by {by} starts from the photo, whose details the small image would not "
            "have: leave it out"
        )


def check_end(script, values, network):
    """There is a way to go: networks of a limited range know no noise below it."""
    for name in ("starting_timestep", "max_timestep", "strength"):
        end = values.get(name)
        if end is not None and end <= network.min_t and (script.takes_photos or values["init"]):
            raise UserError(
                f"{options_of(script)[name].flag} {end:g}: {network.name} knows no noise below "
                f"{network.min_t:.3g}: give more"
            )


def check_student(script, values, network):
    """A network that has learnt guidance draws one prompt of one weight; the rest is its teacher's.

    values: those of a job, or of a command line that its lines may add to.
    """
    prompts = [*values["prompts"], *values["images"]]
    wrong = None
    if script is not CFG:
        wrong = f"draws with {CFG.name} alone"
    elif not all(prompt.is_plain for prompt in prompts):
        wrong = "has learnt one prompt for all timesteps and the whole image"
    elif len(prompts) > 1:
        wrong = f"takes one prompt, not {len(prompts)}"
    elif prompts and prompts[0].weight < 0:
        wrong = f"takes no weight below 0, like {prompts[0].weight:g}"
    elif tuple(values["guidance_interval"]) != WHOLE:
        wrong = "has learnt guidance at all timesteps, and takes no --guidance-interval"
    elif values["guidance"] != PLAIN:
        wrong = f"has learnt the weighted sum, and takes no --guidance {values['guidance']}"
    elif values["guide"]:
        wrong = "has learnt guidance from its teacher alone, and takes no --guide"
    elif (values["coarse_until"] or 1) < 1:
        wrong = "has learnt the timesteps of small images, and takes no --coarse-until"
    if wrong:
        raise UserError(f"{network.name} {wrong}: take its teacher, --model {network.teacher}")


def check_plain(script, values):
    """CLIP looks at images as a whole, and steers at --guidance-interval."""
    for prompt in [*values["prompts"], *values["images"]]:
        if not prompt.is_plain:
            raise UserError(
                f'"{printable(format_prompt(prompt), 100)}": {script.name} steers by all prompts, '
                f"at all timesteps and everywhere: take {CFG.name}, or write \\@, \\[ or \\-> for "
                "what is text"
            )


def check_interval(script, values):
    if "guidance_interval" not in values:
        return
    asked = [*values["prompts"], *values["images"]]
    low, high = values["guidance_interval"]
    flag = f"--guidance-interval {low:g} {high:g}"
    if low >= high:
        raise UserError(f"{flag}: the first must be below the second")
    if not asked or script.guides_any or (low <= 0 and high >= 1):
        return
    if any(prompt.place is not None for prompt in asked):
        raise UserError(
            f"{flag}: outside of it the prompts' mean is drawn, and prompts in places have none: "
            "leave out one of them"
        )
    for t, total, sizes in totals(asked):
        if not low <= t <= high and sizes and total <= NEGLIGIBLE * sizes:
            at = "" if all(prompt.is_plain for prompt in asked) else f" at t = {t:.3g}"
            raise UserError(
                f"{flag}: outside of it the prompts' mean is drawn, but their weights add up to "
                f"{total:g}{at}: make that more than 0, or take --guidance-interval 0 1"
            )


def check_soft_edge(given, values):
    """How soft edges of boxes are is only asked where there is one."""
    asked = [*values["prompts"], *values["images"], *values.get("source", [])]
    if "soft_edge" in given and not any(prompt.box for prompt in asked):
        raise UserError(
            '--soft-edge is of boxes like "a cat[0,0,0.5,1]", and no prompt has one (masks say '
            "in grey how soft they are)"
        )


def check_guidance(script, values, network):
    """The rule is one for this network, this script and this method."""
    if "guidance" not in values:
        return
    chosen = choose(values["guidance"])
    flag = f"--guidance {chosen}" if chosen.rule.function else f"--guide {values['guide']}"
    if chosen.rule.function is None and not values["guide"]:
        return
    if network.clip is None:
        raise UserError(
            f"{printable(flag, 200)}: {network.name} takes no prompts, so that nothing guides it"
        )
    asked = [p for name in ("prompts", "images", "region", "source") for p in values.get(name, [])]
    if (chosen.rule.contrasts or values["guide"]) and any(p.place is not None for p in each(asked)):
        raise UserError(
            f"{flag}: is for prompts of the whole image, and some here are of a part of it"
        )
    if script in (REVERSE, MODIFY) and not chosen.invertible:
        can = [name for name in RULES if choose(name).invertible]
        why = "what it cuts off cannot be found again"
        if chosen.remembers:
            why = "what it remembers of one way is not that of the other"
            can.append("apg with momentum 0")
        raise UserError(
            f"{flag}: {script.name} goes from photos to noise, and {why}: take {', '.join(can)}"
        )
    if chosen.remembers and METHODS[values["method"]].evaluations is None:
        raise UserError(
            f"{flag}: it remembers the evaluations before, of which --method {values['method']} "
            f"repeats some: give it momentum 0, or choose another method"
        )


def check_steering(values, asks):
    asked = [*values["prompts"], *values["images"]]
    if asks and abs(math.fsum(prompt.weight for prompt in asked)) < 1e-9:
        raise UserError("the weights of the prompts add up to 0, and are divided by their sum")
    if asked and values["clip_guidance_scale"] > 0 and values["dtype"] == "int8":
        raise UserError(
            "--dtype int8: the gradient that steers goes through the network, which has none in "
            "int8: take another dtype, or -cs 0"
        )
    method = values["method"]
    if asked and values["clip_guidance_scale"] > 0 and METHODS[method].evaluations is None:
        raise UserError(
            f"--method {method}: CLIP looks at other crops in every evaluation, so that no "
            "step would be short enough: choose another, or -cs 0"
        )


def check_edit(values):
    if values["init"] is None:
        raise UserError("name the photo to edit, then the prompts")
    if not (values["prompts"] or values["images"] or values["source"]):
        raise UserError(
            "nothing to do: say what the photo is to become, or --source and what it shows"
        )
    if values["n"] > 1 and not values["direct"]:
        raise UserError("only --direct draws noise: without it all images would be the same")


def check_start(given, values):
    """How much noise a picture gets is only asked where there is one."""
    if "starting_timestep" in given and not values["init"] and "from_file" not in given:
        raise UserError("--starting-timestep is of --init IMAGE, which is not given")


def check_round_trip(values):
    if values["round_trip"] and (values["normalise_latent"] or values["noise_mix"]):
        raise UserError(
            "--round-trip goes back from the latent as it was found: leave out --normalise-latent "
            "and --noise-mix"
        )
