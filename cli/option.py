"""What an option is. The options themselves are the rows of `cli/options.py`."""

import dataclasses
from dataclasses import dataclass
from enum import Flag, auto
from functools import cached_property
from typing import Any

from values.errors import UserError


class Is(Flag):
    """What may be said of an option beside its values."""

    RUNS = 0  # of the run as a whole
    IMAGES = auto()  # of images: lines of a job file and sweeps may say it
    RECORDED = auto()  # a PNG's recipe holds it, under its name
    SHAPE = auto()  # images must have it in common to be drawn in one batch
    FILE = auto()  # names a file; a recipe does so without folders, and it is looked for
    JOINS = auto()  # what a line of a job file says is put before what the command line does


@dataclass(frozen=True)
class Option:
    """A row of the table. All but `scripts` may be dicts from scripts.

    Args:
        flags: as on the command line, the usual one first, with a space between; without dashes:
            the words between the flags.
        scripts: those that have it.
        type: from `values.types`; None: a switch, which is on where it is given.
        metavar: what `--help` calls its values.
        default: its value where nothing says otherwise, or a function of the values of the others.
        is_: what it is, as `Is` lists.
        help: a line for `--help`, to which a default that is a plain value is added.
        many: how many values it takes: a number, "+" or "*"; None: one; "?": one or none.
        takes: of one of several values, function (a word behind the first) -> whether it is a
            value, too; None: it may be one or a word between the flags.
        spelt: function (words) -> (values, words left), where so many values may be written as
            fewer words.
        joint: what two words are joined with that make one of several values; "": each is one.
        follows: names of options; a recipe's value counts only while these are the recipe's, too.
        excludes: names of options that cannot be given beside it. Where a line of a job file
            gives one of them, the command line does not give the other.
        own_name: of its attribute, where that is not its first flag.
        group: the heading in `--help`.
    """

    flags: Any
    scripts: tuple
    type: Any = None
    metavar: str | tuple[str, ...] | None = None
    default: Any = None
    is_: Is = Is.RUNS
    help: Any = ""
    many: int | str | None = None
    takes: Any = None
    spelt: Any = None
    joint: str = ""
    follows: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    own_name: str | None = None
    group: str = ""

    @cached_property
    def name(self):
        """Of its attribute; a recipe and a job file's JSON call it so, too."""
        return self.own_name or self.flags.split()[0].lstrip("-").replace("-", "_")

    @property
    def flag(self):
        """What an error calls it."""
        return self.flags.split()[0]

    @property
    def is_positional(self):
        return not self.flags.startswith("-")

    def of(self, script, group=""):
        """The row as a script has it, without dicts."""
        dicts = {name: value for name, value in vars(self).items() if isinstance(value, dict)}
        chosen = {name: by_script[script] for name, by_script in dicts.items()}
        return dataclasses.replace(self, group=group, **chosen)

    @property
    def shown_default(self):
        """The default where that is a plain value, as text; else "", and the help tells it."""
        if self.is_switch or not isinstance(self.default, int | float | str):
            return ""
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    @property
    def is_switch(self):
        return self.type is None

    def check(self, value):
        """The option's value of a value of JSON, from a job file or a recipe; UserError.

        A text is read as the command line would; several values may be one text.
        """
        if isinstance(value, str) and self.is_switch and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if isinstance(value, str) and isinstance(self.many, int):
            value = value.split()
        if self.spelt and not isinstance(value, list | tuple | dict):
            value = [str(value)]
        if self.spelt and isinstance(value, list) and len(value) == 1:
            value = self.spelt([str(value[0])])[0]
        return self._each(
            value, lambda v: (self.type if isinstance(v, str) else self.type.check)(v)
        )

    def stored(self, value):
        """A value of JSON, checked as far as one is that is only shown; UserError."""
        return self._each(value, self.type and self.type.stored)

    def _each(self, value, check):
        if self.is_switch:
            if not isinstance(value, bool):
                raise UserError(f"{self.flag} is a switch: give true or false")
            return value
        if self.many in (None, "?"):
            return check(value)
        values = value if isinstance(value, list | tuple) else [value]
        if isinstance(self.many, int) and len(values) != self.many:
            raise UserError(f"{self.flag} takes {self.many} values, not {len(values)}")
        return [check(one) for one in values]
