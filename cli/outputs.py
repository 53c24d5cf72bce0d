"""Where images go: names made from a template, and files that never replace another unasked.

    targets = plan(template, images, policy)     # before any work; stops at what cannot be
    path = publish(image, target, recipe)        # once for each finished image

A file appears complete or not at all, however many runs share a folder.
"""

import functools
import os
import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cli import images as image_files
from cli import metadata
from cli.errors import UserError, printable

DEFAULT_TEMPLATE = "out_{index:05}.png"
MAX_SLUG = 80  # bytes of a prompt in a file name; most file systems allow 255 in all
# The spec that a field may have: a width for numbers, a largest length for text.
_SPECS = {
    "index": r"0?\d?\d?d?",
    "seed": r"0?\d?\d?d?",
    "prompt": r"(\.[1-9]\d?)?",
    "model": r"(\.[1-9]\d?)?",
    "photo": r"(\.[1-9]\d?)?",
}
_RESERVED = {"con", "prn", "aux", "nul"} | {
    f"{port}{i}" for port in ("com", "lpt") for i in range(10)
}


class Policy(StrEnum):
    """What happens where a file of the name exists."""

    NUMBER = "number"  # go on at the next free {index}: the default, where no name is asked for
    REFUSE = "refuse"  # stop before any work
    SKIP = "skip"  # leave that image out: it is finished
    OVERWRITE = "overwrite"  # replace it


@dataclass(frozen=True)
class Template:
    """The pattern of output names, such as "runs/{prompt}_{seed:04}.png".

    Args:
        text: the pattern.
        suffix: what names end in.
        fields: what may stand in braces: index (number of the image in the run), seed, prompt,
            model and photo (the name of the image it starts from).

    Raises:
        UserError: for any other field, for attributes, conversions and odd format specs, and for
            a name that does not end in the suffix.
    """

    text: str
    suffix: str = ".png"
    fields: tuple[str, ...] = ("index", "seed", "prompt", "model")

    def __post_init__(self):
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
        if not re.search(rf"[^/\\]{re.escape(self.suffix)}$", self.text, re.IGNORECASE):
            example = DEFAULT_TEMPLATE.replace(".png", self.suffix)
            raise UserError(f"{quoted} must end in a name with {self.suffix}, like {example}")

    def path(self, image):
        """The path for one image: a mapping with the values of the fields (index, seed, ...)."""
        return Path(self.text.format_map(_values(image)))

    def numbered(self, image):
        """A regular expression for the names in the folder that differ by their {index} alone."""
        values = _values(image)
        name = re.split(r"[/\\]" if os.name == "nt" else "/", self.text)[-1]
        parts = [
            re.escape(literal)
            + ("([0-9]{1,18})" if field == "index" else re.escape(_format(values, field, spec)))
            for literal, field, spec, _ in string.Formatter().parse(name)
        ]
        return re.compile("".join(parts))


@dataclass(frozen=True)
class Target:
    """One image of a run and where it goes.

    `image` is the mapping that was given to `plan`. `path` is None until publishing where the
    policy is to number.
    """

    image: Mapping
    path: Path | None
    template: Template
    policy: Policy


def plan(template, images, policy=None):
    """Where each image of a run goes, settled and checked before any work.

    Args:
        template: a Template or its text; None: `DEFAULT_TEMPLATE`.
        images: one mapping per image with `index` and whatever else of `seed`, `prompt`, `model`
            the template names; further keys are ignored.
        policy: a Policy or its name; None: to number without a template, to refuse with one.
    Returns:
        a list of Targets; by the policy to skip, without those whose file exists.
    Raises:
        UserError: a file exists (by the policy to refuse), two images have one name, a name is
            too long, or a folder cannot be written.
    """
    if policy is None:
        policy = Policy.NUMBER if template is None else Policy.REFUSE
    policy = Policy(policy)
    if not isinstance(template, Template):
        template = Template(DEFAULT_TEMPLATE if template is None else template)
    paths = names(template, images)
    for folder in dict.fromkeys(path.parent for path in paths):
        check_folder(folder)
    if policy is Policy.NUMBER:
        folder, _, name = template.text.rpartition("/")
        if "{index" not in name or "{index" in folder:
            raise UserError("to number the images, put {index} in the name, and in no folder of it")
        return [Target(image, None, template, policy) for image in images]
    _refuse_equal_names(paths)
    existing = [path for path in paths if os.path.lexists(path)]
    folders = [path for path in existing if path.is_dir()]
    if folders:
        raise UserError(f"{printable(folders[0], 200)} is a folder: choose another output name")
    if existing and policy is Policy.REFUSE:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        exist = "exist" if more else "exists"
        raise UserError(
            f"{printable(existing[0], 200)}{more} already {exist}: "
            "choose another output name, --skip-existing or --overwrite"
        )
    skipped = set(existing) if policy is Policy.SKIP else set()
    return [
        Target(image, path, template, policy)
        for image, path in zip(images, paths, strict=True)
        if path not in skipped
    ]


def publish(image, target, recipe=None):
    """Save a finished image with its recipe; missing folders are made.

    Args:
        image: a PIL image.
        target: one of those that `plan` returned.
        recipe: a dict for `metadata.write`; its index becomes the number in the file's name.
    Returns:
        the Path of the file. By the policy to skip, a file that another run has finished since
        is left as it is.
    Raises:
        UserError: the file cannot be written, or appeared since `plan`.
    """

    def save(path, number, overwrite):
        info = metadata.write({**recipe, "index": number}) if recipe is not None else None
        image_files.save_png(image, path, info, overwrite)

    return place(save, target)


def place(save, target):
    """Save whatever it is where a target says, as `publish` does images.

    Args:
        save: function (path, number in its name, whether to overwrite) that writes the file whole
            or raises FileExistsError.
        target: one of those that `plan` returned.
    """
    number, least = target.image["index"], 0
    path = target.template.path(target.image)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            if target.policy is Policy.NUMBER:
                number = max(least, _next_number(path.parent, target))
                path = target.template.path({**target.image, "index": number})
            try:
                save(path, number, target.policy is Policy.OVERWRITE)
                return path
            except FileExistsError:
                if target.policy is Policy.SKIP:
                    return path
                if target.policy is Policy.REFUSE:
                    raise UserError(
                        f"{printable(path, 200)} was made by another program meanwhile: "
                        "choose another output name"
                    ) from None
                least = number + 1  # another run has just taken this number
    except OSError as error:
        why = printable(error.strerror or error, 80)
        raise UserError(f"{printable(path, 200)} cannot be written: {why}") from None


def names(template, images):
    """The path of each image, in order; UserError for a name too long for a file system."""
    paths = [template.path(image) for image in images]
    for path in paths:
        check_length(path)
    return paths


def check_length(path):
    """UserError for a name too long for a file system."""
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise UserError(
            f"the output name {printable(path, 100)} is too long: shorten it, "
            "with {prompt:.40} for example"
        )


@functools.lru_cache  # a run has one prompt and many images
def slug(text):
    """Text as part of a file name that every file system takes: "a cat, 3:00" -> "a_cat_3_00".

    Letters, digits and inner dashes of any script stay; at most `MAX_SLUG` bytes of UTF-8; never
    empty, nor a name that Windows reserves.
    """
    text = unicodedata.normalize("NFKC", text)
    kept = "".join(
        character if character == "-" or unicodedata.category(character)[0] in "LNM" else "_"
        for character in text
    )
    kept = re.sub(r"_+", "_", kept).strip("-_")
    kept = kept.encode()[: MAX_SLUG - 1].decode(errors="ignore").rstrip("-_")
    return f"{kept}_" if kept.casefold() in _RESERVED else kept or "image"


def check_folder(folder):
    """UserError unless files can be made in a folder, or in the nearest above it that exists."""
    nearest = Path(folder).absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    shown = printable(nearest, 200)
    if not nearest.is_dir():
        raise UserError(f"{shown} is not a folder: choose another output name")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{shown} cannot be written to: choose another folder")


def _next_number(folder, target):
    """The number after the highest in the folder: files deleted from among them leave a gap."""
    pattern = target.template.numbered(target.image)
    matches = (pattern.fullmatch(name) for name in os.listdir(folder))
    return max((int(match[1]) + 1 for match in matches if match), default=0)


def _refuse_equal_names(paths):
    seen = set()
    for path in paths:
        key = unicodedata.normalize("NFC", os.path.normpath(path)).casefold()
        if key in seen:  # or differ by case alone, which many file systems ignore
            raise UserError(
                f"two images would be saved as {printable(path, 200)}: "
                "add {index} or {seed} to the output name"
            )
        seen.add(key)


class _Slug(str):
    """A slug that stays one where a format cuts it: the nul of "null" is reserved."""

    def __format__(self, spec):
        return slug(super().__format__(spec))


def _values(image):
    return {
        "index": image["index"],
        "seed": image.get("seed", 0),
        **{name: _Slug(slug(image.get(name, ""))) for name in ("prompt", "model", "photo")},
    }


def _format(values, field, spec):
    return "" if field is None else format(values[field], spec)
