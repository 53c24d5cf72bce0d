"""Names of files made from a template such as `runs/{prompt}_{seed:04}.png`."""

import functools
import os
import re
import string
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from values.errors import UserError, printable
from values.files import expanded

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
DEFAULT_TEMPLATE = "out_{index:05}.png"
LATENT_TEMPLATE = "latent_{index:05}.safetensors"
LATENT_FIELDS = ("index", "line", "photo", "model")
FIELDS = ("index", "line", "seed", "prompt", "model", "steps", "method", "schedule")
MAX_SLUG = 80  # bytes of a prompt in a file name; most file systems allow 255 in all
# The spec that a field may have: a width for numbers, a largest length for text.
_NUMBER, _TEXT = r"0?\d?\d?d?", r"(\.[1-9]\d?)?"
_SPECS = {
    **dict.fromkeys(("index", "line", "seed", "steps", "frame", "frames", "film"), _NUMBER),
    **dict.fromkeys(("prompt", "model", "photo", "method", "schedule"), _TEXT),
}
_RESERVED = {"con", "prn", "aux", "nul"} | {
    f"{port}{i}" for port in ("com", "lpt") for i in range(10)
}


@dataclass(frozen=True)
class Template:
    """The pattern of output names, such as "runs/{prompt}_{seed:04}.png".

    Args:
        text: the pattern.
        suffix: what names end in, or several of it.
        fields: what may stand in braces: index (number of the image in the run), line (of the job
            file), seed, prompt, model, steps, method, schedule, photo (the name of the image it
            starts from), frame and frames (its number in an animation, and their number), film
            (the number of the animation in the run).
        goes_on: whether {index} goes on from the files that are there.

    Raises:
        UserError: for any other field, for attributes, conversions and odd format specs, and for
            a name that does not end in the suffix.
    """

    text: str
    suffix: str | tuple[str, ...] = ".png"
    fields: tuple[str, ...] = FIELDS
    goes_on: bool = False

    def __post_init__(self):
        # The folder that ~ stands for is no part of the pattern.
        first, slash, rest = self.text.partition("/")
        if first.startswith("~") and slash:
            home = expanded(first).replace("{", "{{").replace("}", "}}")
            object.__setattr__(self, "text", home + slash + rest)
        quoted = f'the output name "{printable(self.text, 100)}"'
        *others, last = (f"{{{field}}}" for field in self.fields)
        fields = f"use {', '.join(others)} or {last}, with formats like {{index:05}}"
        try:
            parts = list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise UserError(f"{quoted} is no template ({printable(error, 60)}): {fields}") from None
        for _, field, spec, conversion in parts:
            if field is None:
                continue
            if field not in self.fields or conversion is not None:
                shown = field + (f"!{conversion}" if conversion else "")
                shown = "{" + printable(shown, 40) + "}"
                raise UserError(f"{quoted} has the unknown field {shown}: {fields}")
            if not re.fullmatch(_SPECS[field], spec, re.ASCII):
                shown = printable(spec, 40)
                raise UserError(f'{quoted} has the odd format "{shown}" for {field}: {fields}')
        if any(unicodedata.category(character) == "Cc" for character in self.text):
            raise UserError(f"{quoted} has control characters: leave them out")
        try:
            os.fsencode(self.text)
        except UnicodeEncodeError:
            raise UserError(f"{quoted} is not valid Unicode: type it anew") from None
        kinds = (self.suffix,) if isinstance(self.suffix, str) else self.suffix
        if not re.search(rf"[^/\\]({'|'.join(map(re.escape, kinds))})$", self.text, re.IGNORECASE):
            example = DEFAULT_TEMPLATE.replace(".png", kinds[0])
            ending = " or ".join([", ".join(kinds[:-1]), kinds[-1]][len(kinds) < 2 :])
            raise UserError(
                f"{quoted} must end in a name with {ending}, like {example}, or in / for a folder"
            )

    @property
    def ending(self):
        """What its names end in."""
        return Path(self.text).suffix

    @functools.cached_property
    def named(self):
        """The fields that it has."""
        return {field for _, field, _, _ in string.Formatter().parse(self.text) if field}

    def path(self, image):
        """The path for one image: a mapping with the values of the fields (index, seed, ...)."""
        return Path(self.text.format_map(self._values(image)))

    def _values(self, image):
        return {
            field: image.get(field, 0)
            if _SPECS[field] is _NUMBER
            else _Slug(slug(image.get(field, "")))
            for field in self.named
        }

    def numbered(self, image):
        """A regular expression for the names in the folder that differ by their {index} alone."""
        values = self._values(image)
        name = re.split(r"[/\\]" if os.name == "nt" else "/", self.text)[-1]
        parts = [
            re.escape(literal)
            + ("([0-9]{1,18})" if field == "index" else re.escape(_format(values, field, spec)))
            for literal, field, spec, _ in string.Formatter().parse(name)
        ]
        return re.compile("".join(parts))


def output(text, usual=DEFAULT_TEMPLATE, **more):
    """The Template of a text, or of a folder with the usual names, which go on from those there.

    Args:
        text: a folder ends in a slash, or is there and has no suffix.
        usual: the name of files in a folder.
        more: what else a Template is.
    """
    if text.endswith("/"):
        return Template(f"{text.rstrip('/') or '/'}/{usual}", goes_on=True, **more)
    try:
        is_folder = os.path.isdir(expanded(text)) and not Path(text).suffix
    except ValueError:  # no name at all
        is_folder = False
    if is_folder:
        literal = text.replace("{", "{{").replace("}", "}}")
        return Template(f"{literal}/{usual}", goes_on=True, **more)
    return Template(text, **more)


class _Slug(str):
    """A slug that stays one where a format cuts it: the nul of "null" is reserved."""

    def __format__(self, spec):
        return slug(super().__format__(spec))


@functools.lru_cache  # a run has few prompts and many images
def slug(text):
    """Text as part of a file name that every file system takes: "a cat, 3:00" -> "a_cat_3_00".

    Letters, digits and inner dashes of any script stay, marks with the letter that they belong to,
    as far as names can hold them here; at most `MAX_SLUG` bytes of UTF-8; never empty, nor a name
    that Windows reserves.
    """
    kept = ""
    for character in unicodedata.normalize("NFKC", text):
        kind = unicodedata.category(character)[0]
        stays = (
            character == "-" or kind in "LN" or (kind == "M" and kept[-1:] not in ("", "-", "_"))
        )
        kept += character if stays and _can_be_named(character) else "_"
    kept = re.sub(r"_+", "_", kept).strip("-_")
    kept = kept.encode()[: MAX_SLUG - 1].decode(errors="ignore").rstrip("-_")
    return f"{kept}_" if kept.casefold() in _RESERVED else kept or "image"


def _can_be_named(character):
    """Whether names of files can hold a character: under some locales they are ASCII."""
    try:
        os.fsencode(character)
    except UnicodeEncodeError:
        return False
    return True


def _format(values, field, spec):
    return "" if field is None else format(values[field], spec)
