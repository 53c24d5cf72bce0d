"""Where images go: names that are checked before any work, and files that never replace another.

    outputs = Outputs(template, policy)
    found = outputs.check(images)                      # before any work: raises UserError
    path = place(save, outputs.target(...))            # once for each finished image

A file appears complete or not at all, however many runs share a folder.
"""

import array
import hashlib
import itertools
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from values.errors import Failure, UserError, printable
from values.names import DEFAULT_TEMPLATE, Template


class Policy(StrEnum):
    """What happens where a file of the name exists."""

    NUMBER = "number"  # go on at the next free {index}: the default, where no name is asked for
    REFUSE = "refuse"  # stop before any work
    SKIP = "skip"  # leave that image out: it is finished
    OVERWRITE = "overwrite"  # replace it


@dataclass(frozen=True)
class Target:
    """One image of a run and where it goes.

    `image` is the mapping that `Outputs.target` was given. `path` is None until publishing where
    the policy is to number.
    """

    image: Mapping
    path: Path | None
    template: Template
    policy: Policy


class Found(NamedTuple):
    """What a check of names found.

    Args:
        images: how many there are.
        existing: how many of their files exist.
        first: the path of one that does; or None.
    """

    images: int
    existing: int
    first: Path | None


class Outputs:
    """The names of a run's images and what happens where a file exists.

    Args:
        template: a Template or its text; None: `DEFAULT_TEMPLATE`.
        policy: a Policy or its name; None: NUMBER without a template, REFUSE with one.
    Raises:
        UserError: for a template that cannot be numbered, if that is the policy.
    """

    def __init__(self, template=None, policy=None):
        if policy is None:
            policy = Policy.NUMBER if template is None else Policy.REFUSE
        self.policy = Policy(policy)
        if not isinstance(template, Template):
            template = Template(DEFAULT_TEMPLATE if template is None else template)
        self.template, self._hashes = template, set()
        if self.policy is Policy.NUMBER:
            folder, _, name = template.text.rpartition("/")
            if "{index" not in name or "{index" in folder:
                raise UserError(
                    "to number the images, put {index} in the name, and in no folder of it"
                )

    def target(self, image):
        """Where an image goes: a mapping with `index` and whatever else the template names."""
        numbers = self.policy is Policy.NUMBER
        path = None if numbers else self.template.path(image)
        return Target(image, path, self.template, self.policy)

    def exists(self, image):
        """Whether the file of an image exists; False under NUMBER: names are not fixed yet."""
        return self.policy is not Policy.NUMBER and self.is_taken(self.template.path(image))

    def is_taken(self, path):
        """As `exists`, of an image's path."""
        return self.policy is not Policy.NUMBER and self._is_there(path)

    def _is_there(self, path):
        """Whether a file exists; under SKIP an empty one counts as missing."""
        return os.path.lexists(path) and not (self.policy is Policy.SKIP and is_empty(path))

    def check(self, images):
        """Checks the images of a run one by one, keeping eight bytes of each in memory.

        Args:
            images: one mapping per image with `index` and whatever else the template names;
                further keys are ignored.
        Returns:
            what is Found.
        Raises:
            UserError: two images have one name, a name is too long or that of a folder, or a
                folder cannot be written.
        """
        count, existing, first, folders = 0, 0, None, set()
        unique = self.policy is Policy.NUMBER or self.template.named == {"index"}
        seen = array.array("Q")  # eight bytes of a hash for each
        for image in images:
            count += 1
            path = checked_path(self.template, image)
            if path.parent not in folders:
                check_folder(path.parent)
                folders = folders if len(folders) < 1000 else set()
                folders.add(path.parent)
            if self.policy is Policy.NUMBER:
                continue
            if not unique:
                seen.append(_hash(path))
            if path.is_dir():
                raise UserError(f"{printable(path, 200)} is a folder: choose another output name")
            if self._is_there(path):
                existing, first = existing + 1, first or path
        if len(seen) > 1:
            self._refuse_equal(seen, path)
        return Found(count, existing, first)

    def refuse(self, found):
        """UserError if files exist and may be neither replaced nor left out."""
        if found.existing and self.policy is Policy.REFUSE:
            more = f" and {found.existing - 1} more" if found.existing > 1 else ""
            exist = "exist" if more else "exists"
            raise UserError(
                f"{printable(found.first, 200)}{more} already {exist}: "
                "choose another output name, --skip-existing or --overwrite"
            )

    def check_next(self, image):
        """As `check` and `refuse`, for the next image of a run that does not know all of them."""
        path = checked_path(self.template, image)
        check_folder(path.parent)
        if self.policy is Policy.NUMBER:
            return
        if path.is_dir():
            raise UserError(f"{printable(path, 200)} is a folder: choose another output name")
        key = _hash(path)
        if key in self._hashes:
            raise self._same_name(path)
        if self._is_there(path):
            self.refuse(Found(1, 1, path))
        self._hashes.add(key)

    def _refuse_equal(self, seen, path):
        hashes = sorted(seen)
        if any(one == other for one, other in itertools.pairwise(hashes)):
            raise self._same_name(path)

    def _same_name(self, path):
        fields = [field for field in ("index", "seed") if field in self.template.fields]
        return UserError(
            f"two images would be saved under one name, such as {printable(path, 200)}: "
            f"add {' or '.join(f'{{{f}}}' for f in fields)} to the output name"
        )


def is_empty(path):
    """Whether a regular file is empty, as after a full disk."""
    try:
        return path.is_file() and not path.stat().st_size
    except OSError:
        return False


def _hash(path):
    """Eight bytes that tell names apart as file systems do, many of which ignore case."""
    key = unicodedata.normalize("NFC", os.path.normpath(path)).casefold()
    return int.from_bytes(hashlib.blake2b(os.fsencode(key), digest_size=8).digest(), "little")


def plan(template, images, policy=None):
    """Where each image of a run goes, checked before any work.

    Args:
        template, policy: as for `Outputs`.
        images: as for `Outputs.check`, a list.
    Returns:
        a list of Targets; under SKIP without those whose file exists.
    Raises:
        UserError: as `Outputs.check`, and under REFUSE if a file exists.
    """
    outputs = Outputs(template, policy)
    outputs.refuse(outputs.check(images))
    skips = outputs.policy is Policy.SKIP
    return [outputs.target(image) for image in images if not (skips and outputs.exists(image))]


def place(save, target):
    """Call `save` with the path of a target; missing folders are made.

    Args:
        save: function (path, number in its name, whether to overwrite) that writes the file whole
            or raises FileExistsError.
        target: as `Outputs.target` returns it.
    Returns:
        the Path of the file; None under SKIP, where another run has finished it meanwhile.
    Raises:
        UserError: the file cannot be written, or under REFUSE exists by now.
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
                if target.policy is Policy.SKIP and is_empty(path):
                    save(path, number, True)
                    return path
                if target.policy is Policy.SKIP:
                    return None
                if target.policy is Policy.REFUSE:
                    raise UserError(
                        f"{printable(path, 200)} appeared while this run was drawing: "
                        "choose another output name"
                    ) from None
                least = number + 1  # another run has just taken this number
    except OSError as error:
        why = printable(error.strerror or error, 80)
        raise Failure(f"{printable(path, 200)} cannot be written: {why}") from None


def checked_path(template, image):
    """The path of an image; UserError for a name too long for a file system."""
    path = template.path(image)
    check_length(path)
    return path


def check_length(path):
    """UserError for a name too long for a file system."""
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise UserError(
            f"the output name {printable(path, 100)} is too long: shorten it, "
            "with {prompt:.40} for example"
        )


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
