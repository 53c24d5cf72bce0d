"""From a recipe to the command line that draws its image again, safe to paste into a shell.

Flags say what differs from the defaults. What no flag can say, the shape of the batch that an image
was rounded in and which latent of a file it started from, is read from the PNG by --from-png.
"""

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import diffusion
from cli import prompts, wildcards
from cli.errors import UserError, printable
from cli.recipes import number
from cli.scripts import CFG, CLIP, MODIFY
from diffusion.adaptive import TOLERANCE
from models import checkpoints
from models.zoo import NETWORKS

SCRIPTS = {script.name: script for script in (CFG, CLIP, MODIFY)}
DTYPES = ("float32", "bfloat16", "float16")
STEERING = {"clip_guidance_scale": 500, "cutn": 16, "cut_pow": 1, "guide_every": 1}  # defaults


class Command(NamedTuple):
    """A command line.

    Args:
        arguments: the script first.
        notes: what to know before running it, a line each.
    """

    arguments: list[str]
    notes: list[str]

    def line(self):
        """It all as one line for bash, zsh or ksh."""
        return " ".join(quote(argument) for argument in self.arguments)


def command(recipe, png, scripts="."):
    """The Command that draws the image of a recipe again.

    Args:
        recipe: as `cli.metadata.read` returns it.
        png: the path of its PNG as the command is to name it. Files that the recipe names, without
            their folders, are looked for beside it and here.
        scripts: the folder of the scripts; None: they are named without one.
    Raises:
        UserError: if the recipe names what is not known here or no command line can say.
    """
    script = SCRIPTS[_known("script", recipe.get("script", CFG.name), SCRIPTS)]
    row = NETWORKS[_known("model", recipe.get("model"), NETWORKS)]
    png, notes = Path(png), []
    rows, _ = recipe.get("batch", (1, 0))
    from_png = rows > 1 or "latent" in recipe
    if rows > 1:
        notes.append(
            f"it shares the roundings of its batch of {rows}: without --from-png a level may differ"
        )
    if "latent" in recipe:
        notes.append("--from-png knows which latent it started from")

    def file(name):
        return _found(name, png, notes)

    edits = script is MODIFY
    # A recipe's prompts are what became of all choices.
    literal = (lambda text: text) if edits else wildcards.escape
    texts = [_format((literal(text), weight)) for text, weight in recipe.get("prompts", [])]
    words = [_path(file(_needed(recipe, "init")))] if edits else []
    dashed = any(text.startswith("-") for text in texts)
    flags = {
        **_files(recipe, edits, file),
        **_model(recipe, row, file),
        **_sampling(recipe, script, row),
        **(_steering(recipe, row) if script is CLIP else {}),
        **_machine(recipe),
    }
    if from_png:
        flags["--from-png"] = [_path(str(png))]
    elif edits:
        flags["-n"] = ["1"]  # has images numbered: its one usual name, out.png, may be taken
    path = script.name if scripts is None else os.path.join(scripts or ".", script.name)
    arguments = [path, *words, *([] if dashed else texts)]
    for flag, values in flags.items():
        arguments += [flag, *values]
    arguments += ["--", *texts] if dashed else []
    if any("\0" in argument or not _is_unicode(argument) for argument in arguments):
        raise UserError("no command line can hold its prompts or names")
    return Command(arguments, notes)


def quote(text):
    """An argument in a shell's quotes, without a character that could drive the terminal."""
    if printable(text, len(text)) == text:
        return shlex.quote(text)
    return "$'" + "".join(_spelt(character) for character in text) + "'"


def _spelt(character):
    if character.isascii() and character.isprintable() and character not in "'\\":
        return character
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))


def _files(recipe, edits, file):
    """The flags for files to draw from, and for what is in them."""
    flags = {}
    if pairs := recipe.get("images"):
        pairs = [(_path(file(name)), weight) for name, weight in pairs]
        flags["--images"] = [prompts.format_prompt(prompts.Prompt(*pair)) for pair in pairs]
    if "init" in recipe and not edits:
        flags["--init"] = [_path(file(recipe["init"]))]
    if "mask" in recipe:
        flags["--mask"] = [_path(file(recipe["mask"]))]
    if pairs := recipe.get("source"):
        texts = [_format(pair) for pair in pairs]
        if any(text.startswith("-") for text in texts):
            raise UserError("--source cannot name a text that starts with a dash: use --from-png")
        flags["--source"] = texts
    if recipe.get("direct"):
        flags["--direct"] = []
    return flags


def _model(recipe, row, file):
    flags = {"--model": [row.name]}
    own = recipe.get("checkpoint", row.file)
    usual = {Path(row.file).with_suffix(suffix).name for suffix in checkpoints.SUFFIXES}
    other = own == row.file and row.sha256 != recipe.get("model_sha256", row.sha256)
    if own not in usual or (row.sha256 and other):
        flags["--checkpoint"] = [_path(file(own))]
    return flags


def _machine(recipe):
    """The flags for what is chosen by the machine otherwise."""
    flags = {}
    if "dtype" in recipe:
        flags["--dtype"] = [_known("dtype", recipe["dtype"], DTYPES)]
    if recipe.get("device") == "cpu":  # which every machine has; others are taken where they are
        flags["--device"] = ["cpu"]
    return flags


def _sampling(recipe, script, row):
    name = recipe.get("method", script.method)
    method = diffusion.METHODS[_known("method", name, diffusion.METHODS)]
    pairs = [*recipe.get("prompts", []), *recipe.get("images", [])] if script is CFG else []
    weights = [weight for _, weight in pairs]
    usual = {
        "seed": 0,
        "method": script.method,
        "steps": script.steps if script.steps and method.evaluations else method.steps,
        "schedule": method.schedule or ("ddpm" if row.min_t > 0 else "spliced"),
        "eta": method.eta or 0,
        "tolerance": TOLERANCE,
        "starting_timestep": script.start,
        "chunk": None,
        "size": [row.shape[2], row.shape[1]],
        "guidance_interval": list(diffusion.default_interval(name, weights)),
    }
    if "schedule" in recipe:
        _known("schedule", recipe["schedule"], diffusion.SCHEDULES)
    if recipe.get("timesteps_of_latent"):
        usual["steps"] = recipe.get("steps")
        usual["schedule"] = recipe.get("schedule")
    flags = _unusual({"guidance_interval": [0, 1], **recipe}, usual)
    if script is MODIFY and "--starting-timestep" in flags:
        flags["--strength"] = flags.pop("--starting-timestep")
    return flags


def _steering(recipe, row):
    flags = _unusual(recipe, {**STEERING, "clip_model": row.clip or "ViT-B-16"})
    return {**flags, **({"--low-memory": []} if recipe.get("low_memory") else {})}


def _unusual(recipe, usual):
    """The flags for what is not as usual."""
    flags = {}
    for name, default in usual.items():
        value = recipe.get(name, default)
        if value != default:
            values = value if isinstance(value, list) else [value]
            flag = "--" + name.replace("_", "-")
            flags[flag] = [v if isinstance(v, str) else number(v) for v in values]
    return flags


def _format(pair):
    return prompts.format_prompt(prompts.Prompt(*pair))


def _known(kind, name, names):
    if name not in names:
        raise UserError(f'the recipe names the {kind} "{printable(name, 60)}", not known here')
    return name


def _needed(recipe, field):
    if field not in recipe:
        raise UserError(f"the recipe does not name its {field}")
    return recipe[field]


def _found(name, png, notes):
    """The path of a file that the recipe names; where it is not here, its name and a note."""
    for path in (str(png.parent / name), name):
        if os.path.isfile(path):
            return path
    notes.append(f"it needs {printable(name, 100)}: give its path")
    return name


def _path(path):
    # No flag, nor the drive of a Windows path once a weight follows.
    return f"./{path}" if re.match("-|[A-Za-z]$", path) else path


def _is_unicode(text):
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
