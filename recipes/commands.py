"""From a recipe to the command line that draws its image again, safe to paste into a shell.

Flags say what differs from the defaults. What no flag can say, the shape of the batch that an image
was rounded in, whether others of its run needed gradients, and which latent of a file it started
from, is read from the PNG by --from-png.
"""

import functools
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cli.defaults import default, size
from cli.option import Is
from cli.options import marked, options_of
from cli.scripts import CFG, CLIP, EDITING, MODIFY, as_called
from diffusion.methods import METHODS
from models import checkpoints
from models.zoo import NETWORKS
from values import wildcards
from values.errors import UserError, printable
from values.extents import number
from values.prompts import Prompt, format_prompt
from values.types import Name

SCRIPTS = {script.name: script for script in (CFG, CLIP, *EDITING)}


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
        words = [quote(argument) for argument in self.arguments]
        if words and self.arguments[0].startswith("~/"):  # a shell finds home where it is bare
            words[0] = "~/" + quote(self.arguments[0][2:])
        return " ".join(words)


def command(recipe, png, scripts=".", base=""):
    """The Command that draws the image of a recipe again.

    Args:
        recipe: as `recipes.recipe.read` returns it.
        png: the path of its PNG as the command is to name it. Files that the recipe names, without
            their folders, are looked for beside it and in `base`.
        scripts: the folder of the scripts, which may begin with ~/ for the home of who runs it;
            None: they are named without one.
        base: the folder that the command is for, from which it names files.
    Raises:
        UserError: if the recipe names what is not known here or no command line can say.
    """
    script = SCRIPTS[_known("script", recipe.get("script", CFG.name), SCRIPTS)]
    row = NETWORKS[_known("model", recipe.get("model"), NETWORKS)]
    png, notes, flags = Path(png), [], {}
    batches = [recipe.get("batch", (1, 0)), *recipe.get("frame_batches", [])]
    rows = max(rows for rows, _ in batches)
    find = functools.partial(_found, png=png, base=base, notes=notes)
    if "latent" in recipe:
        notes.append("--from-png knows which latent it started from")
    if recipe.get("unpacked"):
        notes.append(
            "--from-png knows that others of its run needed gradients, which rounds otherwise"
        )
    values = _values(script, recipe, row)
    for name, option in marked(script, Is.RECORDED).items():
        if name in ("prompts", "model", "latent"):
            continue
        words = _words(option, recipe, values, find)
        if words is not None:
            flags[option.flag] = words
    flags |= _machine(recipe, row, find)
    if "frames" in recipe:
        flags["--output"] = [_path(str(png.with_name(f"{png.stem}_again{png.suffix}")))]
    if rows > 1 or "latent" in recipe or recipe.get("unpacked"):
        flags["--from-png"] = [_path(str(png))]
    elif script is MODIFY:
        flags["-n"] = ["1"]  # has images numbered: its one usual name, out.png, may be taken
    edits = script in EDITING
    photo = [_path(find(_needed(recipe, "init")))] if edits else []
    # A recipe's prompts are what became of all choices.
    literal = (lambda text: text) if edits else wildcards.escape
    prompts = [Prompt.of(stored) for stored in recipe.get("prompts", [])]
    texts = [format_prompt(replace(p, text=literal(p.text))) for p in prompts]
    dashed = any(text.startswith("-") for text in texts)
    name = as_called(script.name)
    path = name if scripts is None else os.path.join(scripts or ".", name)
    arguments = [path, *photo, *([] if dashed else texts)]
    for option in options_of(script).values():  # in the order of --help
        if option.flag in flags:
            arguments += _given(option, flags[option.flag])
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


def _values(script, recipe, row):
    """What defaults depend on, as the recipe has it."""
    usual = default(options_of(script)["method"], {"model": row.name})
    method = recipe.get("method", usual)
    pairs = {name: list(map(Prompt.of, recipe.get(name, []))) for name in ("prompts", "images")}
    method = _known("method", method, METHODS)
    of_photo = {name: recipe[name] for name in ("task", "noise", "by") if name in recipe}
    known = {"script": script, "model": row.name, "method": method}
    known |= {name: recipe.get(name) for name in ("init", "latent")}
    return {**pairs, **of_photo, **known, "size": recipe.get("size", size({"model": row.name}))}


def _words(option, recipe, values, find):
    """The words behind the flag of an option; None: the command need not give it."""
    usual = default(option, values)
    if option.name in ("steps", "schedule") and recipe.get("timesteps_of_latent"):
        return None
    value = recipe.get(option.name, usual)
    if value == usual and not (option.name == "dtype" and "dtype" in recipe):
        return None
    if option.is_switch:
        return [] if value else None
    if option.name == "variation":
        text = option.type.found(value, find)
        return [f"./{text}" if text.startswith("-") else text]
    if option.name in ("images", "source", "region", "morph"):
        prompts = list(map(Prompt.of, value))
        if option.joint:
            edits = values["script"] in EDITING
            escape = (lambda text: text) if edits else wildcards.escape
            texts = [format_prompt(replace(p, text=escape(p.text), place=None)) for p in prompts]
            masks = [_path(find(p.mask)) for p in prompts]
            return list(zip(texts, masks, strict=True))
        if Is.FILE in option.is_:
            prompts = [replace(p, text=_path(find(p.text))) for p in prompts]
        return [format_prompt(prompt) for prompt in prompts]
    if Is.FILE in option.is_:
        return [_path(find(value))]
    values = value if isinstance(value, list) else [value]
    if isinstance(option.type, Name):
        for value in values:
            _known(option.type.kind, option.type.name_of(value), option.type.names)
    return [v if isinstance(v, str) else number(v) for v in values]


def _given(option, words):
    """A flag and its words; of several values it stands before each."""
    if option.many != "+":
        return [option.flag, *words]
    if option.joint:
        pairs = [
            (f"{option.flag}={word}", mask) if word.startswith("-") else (option.flag, word, mask)
            for word, mask in words
        ]
        return [argument for arguments in pairs for argument in arguments]
    each = [(f"{option.flag}={w}",) if w.startswith("-") else (option.flag, w) for w in words]
    return [argument for arguments in each for argument in arguments]


def _machine(recipe, row, find):
    """The flags for the network, its weights and the device."""
    flags = {"--model": [row.name]}
    own = recipe.get("checkpoint", row.file)
    usual = {Path(row.file).with_suffix(suffix).name for suffix in checkpoints.SUFFIXES}
    other = own == row.file and row.sha256 != recipe.get("model_sha256", row.sha256)
    if own not in usual or (row.sha256 and other):
        flags["--checkpoint"] = [_path(find(own))]
    if recipe.get("device") == "cpu":  # which every machine has; others are taken where they are
        flags["--device"] = ["cpu"]
    return flags


def _known(kind, name, names):
    if name not in names:
        raise UserError(f'the recipe names the {kind} "{printable(name, 60)}", not known here')
    return name


def _needed(recipe, field):
    if field not in recipe:
        raise UserError(f"the recipe does not name its {field}")
    return recipe[field]


def _found(name, png, base, notes):
    """The path of a file that the recipe names; where it is not here, its name and a note."""
    for path in (str(png.parent / name), name):
        if os.path.isfile(os.path.join(base, path)):
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
