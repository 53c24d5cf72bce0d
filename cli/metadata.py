"""The recipe inside a PNG: how the image was made, for us as JSON and for common viewers as text.

A recipe is a plain dict; `FIELDS` lists what it may hold. A field that is None is left out.
"""

import json
import math
import re
import unicodedata
import warnings

from cli.errors import UserError, printable
from cli.image_limits import Stream
from cli.images import MAX_BYTES, MAX_PIXELS, read_file
from cli.prompts import Prompt, format_prompt

KEY = "v-diffusion"
VERSION = 1
MAX_CHARACTERS = 4 * 2**20  # of JSON; ours has some thousands, or a few per character of a prompt


def write(recipe):
    """The text chunks of a recipe: our JSON under `KEY` and `parameters` for viewers.

    Returns:
        a PIL.PngImagePlugin.PngInfo.
    Raises:
        ValueError: for a field that `FIELDS` does not list or a value it does not allow.
    """
    from PIL.PngImagePlugin import PngInfo

    recipe = checked(recipe)
    info = PngInfo()
    text = parameters_text(recipe)
    if text.isascii():
        info.add_text("parameters", text)
    else:
        info.add_itxt("parameters", text, lang="", tkey="parameters")
    info.add_text(KEY, json.dumps({"version": VERSION, **recipe}, allow_nan=False))
    return info


def read(path):
    """The recipe in a PNG that `write` was used for.

    Returns:
        a dict with the known fields that the file has, each of the type that `FIELDS` demands.
    Raises:
        UserError: in one line, for any other file, a damaged recipe and one of a later version.
    """
    name = printable(path, 200)
    text = _text_chunk(read_file(path, MAX_BYTES), name)
    if text is None:
        raise UserError(f"{name}: holds no recipe: only PNGs made by these scripts do")
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"{name}: its recipe is too large: the file is damaged or not ours")
    try:
        recipe = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise UserError(f"{name}: its recipe is not valid JSON: the file is damaged") from None
    if not isinstance(recipe, dict):
        raise UserError(f"{name}: its recipe is no JSON object: the file is damaged or not ours")
    version = recipe.get("version")
    if type(version) is not int or version != VERSION:
        raise UserError(
            f"{name}: its recipe has version {_shown(version)}, this program reads "
            f"{VERSION}: update the program"
        )
    try:
        return checked({field: recipe[field] for field in FIELDS if field in recipe})
    except ValueError as error:
        raise UserError(f"{name}: its recipe is damaged: {error}") from None


def parameters_text(recipe):
    """A recipe as the viewers of generated images show it.

    Prompts first, then those of negative weight after "Negative prompt: ", then one line of
    "Name: value" pairs. A single prompt stands alone, its weight is the CFG scale; several show
    their weights.
    """
    prompts = [Prompt(text, weight) for text, weight in recipe.get("prompts", [])]
    show = (lambda prompt: prompt.text) if len(prompts) == 1 else format_prompt
    wanted = [_one_line(show(prompt)) for prompt in prompts if prompt.weight >= 0]
    unwanted = [_one_line(show(prompt)) for prompt in prompts if prompt.weight < 0]
    if unwanted:
        unwanted[0] = f"Negative prompt: {unwanted[0]}"
    pairs = ", ".join(
        f"{name}: {_value(value)}" for name, value in _pairs(recipe) if value not in (None, "")
    )
    return "\n".join([*wanted, *unwanted, pairs])


def file_name(source):
    """The name of a file or address without its folders, query and credentials."""
    source = str(source)
    if re.match("[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
        source = re.split("[?#]", source)[0].partition("://")[2]
    return re.split(r"[/\\]", source.rstrip("/\\"))[-1]


def _pairs(recipe):
    get = recipe.get
    scale = sum(weight for _, weight in [*get("prompts", []), *get("images", [])] if weight > 0)
    yield "Steps", get("steps")
    yield "Sampler", get("method")
    yield "Schedule type", get("schedule")
    if "clip_guidance_scale" in recipe:
        yield "CLIP guidance scale", recipe["clip_guidance_scale"]
    else:
        yield "CFG scale", scale or None
    yield "Seed", get("seed")
    yield "Size", "x".join(str(side) for side in get("size", []))
    yield "Model hash", get("model_sha256", "")[:10]
    yield "Model", get("model")
    yield "Denoising strength", get("starting_timestep") if get("init") else None
    yield "Eta", get("eta")
    images = [Prompt(name, weight) for name, weight in get("images", [])]
    yield "Image prompts", " | ".join(format_prompt(image) for image in images)
    yield "Version", get("software")


def _value(value):
    text = f"{value:g}" if isinstance(value, float) else _one_line(str(value))
    # As the viewers expect it: what could be taken for the next pair is quoted.
    return json.dumps(text, ensure_ascii=False) if re.search('[,:"]', text) else text


def _one_line(text):
    spaced = "".join(" " if unicodedata.category(c) in ("Zl", "Zp") else c for c in text)
    return printable(re.sub(r"[\t\n\v\f\r\x85]+", " ", spaced), limit=len(text) + 1)


def _text_chunk(data, name):
    from PIL import Image

    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(Stream(data), formats=["PNG"]) as image,
        ):
            if KEY not in image.info and image.width * image.height <= MAX_PIXELS:
                image.load()  # other programs may have moved the text behind the pixels
            text = image.info.get(KEY)
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: not a PNG, and only our PNGs hold a recipe") from None
    except Exception as error:  # the decoder raises all kinds of errors for broken files
        raise UserError(f"{name}: damaged ({printable(error, 120)})") from None
    return text if isinstance(text, str) else None


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def checked(recipe):
    """A recipe with each value of the type that `FIELDS` demands, without what is None.

    Raises:
        ValueError: for a field that `FIELDS` does not list or a value it does not allow.
    """
    good = {}
    for field, value in recipe.items():
        if field not in FIELDS:
            raise ValueError(f"unknown field {printable(field, 40)}")
        if value is not None:
            try:
                good[field] = FIELDS[field](value)
            except (ValueError, TypeError, OverflowError):
                raise ValueError(f"{field} cannot be {_shown(value)}") from None
    return good


def _shown(value):
    scalar = value is None or isinstance(value, str | int | float)
    return printable(value, 60) if scalar else f"a {type(value).__name__}"


def _text(value):
    if not isinstance(value, str) or len(value) > 20_000:
        raise ValueError
    return value


def _name(value):
    return file_name(_text(value))


def _hash(value):
    if not re.fullmatch("[0-9a-f]{64}", _text(value)):
        raise ValueError
    return value


def _number(value):
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return value


def _whole(least, most=2**63 - 1):
    def check(value):
        if type(value) is not int or not least <= value <= most:
            raise ValueError
        return value

    return check


def _weighted(text):
    def check(value):
        return [[text(name), float(_number(weight))] for name, weight in _list(value)]

    return check


def _size(value):
    width, height = (_whole(1, 2**20)(side) for side in _list(value))
    return [width, height]


def _interval(value):
    low, high = (_number(end) for end in _list(value))
    return [low, high]


def _flag(value):
    if not isinstance(value, bool):
        raise ValueError
    return value


def _batch(value):
    rows, row = _list(value)
    return [_whole(1, 4096)(rows), _whole(0, rows - 1)(row)]


def _list(value):
    if not isinstance(value, list | tuple):
        raise ValueError
    return value


# Each field with the check that returns its value, or raises ValueError or TypeError.
FIELDS = {
    "script": _text,
    "prompts": _weighted(_text),  # [[text, weight], ...]
    "images": _weighted(_name),  # [[file name, weight], ...]
    "seed": _whole(0),
    "index": _whole(0),  # the number in the file's name
    "steps": _whole(1),
    "method": _text,
    "schedule": _text,
    "eta": _number,
    "tolerance": _number,  # of the adaptive method
    "starting_timestep": _number,
    "max_timestep": _number,
    "init": _name,  # the image that the sampling started from
    "source": _weighted(_text),  # what that image shows
    "mask": _name,  # the picture of where it was changed
    "direct": _flag,  # whether it was changed without finding its noise
    "latent": _name,  # the file of latent noise that it started from
    "latent_index": _whole(0),  # which of that file's
    "timesteps_of_latent": _flag,  # whether it went back over the timesteps of that file
    "batch": _batch,  # [rows, row]: the shape of the batch it was drawn in, and its place there
    "chunk": _whole(1),
    "size": _size,  # [width, height] in pixels
    "model": _text,
    "model_sha256": _hash,
    "checkpoint": _name,
    "clip": _text,
    "clip_sha256": _hash,
    "clip_model": _text,  # the CLIP that steers
    "guiding_clip_sha256": _hash,
    "clip_guidance_scale": _number,
    "cutn": _whole(1),
    "cut_pow": _number,
    "guide_every": _whole(1),
    "guidance_interval": _interval,
    "low_memory": _flag,
    "dtype": _text,
    "device": _text,  # its kind, such as "cuda"
    "software": _text,  # name and version of this program
}
