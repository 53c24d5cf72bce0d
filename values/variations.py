"""`SEED:SHARE` and `FILE:SHARE`: how far noise is turned towards another."""

import re
from dataclasses import dataclass

from values.errors import UserError, printable
from values.files import file_name
from values.types import MAX_SEED, MAX_TEXT, Number, Whole, existing_file

LATENTS = ".safetensors"  # what files of latents end in
_SHARES = re.compile(r"([\d.]+(?:e-?\d+)?)(?:-([\d.]+(?:e-?\d+)?))?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Variation:
    """What noise is turned towards.

    Args:
        other: a seed, or the path of a file of latents as text.
        share: of the way there, from 0 to 1.
        last: the share that the frames of an animation go to; None: it stays the same.
    """

    other: int | str
    share: float
    last: float | None = None

    def __str__(self):
        shares = [self.share] if self.last is None else [self.share, self.last]
        return f"{self.other}:{'-'.join(map(_short, shares))}"

    def at(self, part):
        """The Variation of a frame, at a part of the way from the first share to the last."""
        if self.last is None:
            return self
        return Variation(self.other, (1 - part) * self.share + part * self.last)


class VariationType:
    """The type of `SEED:SHARE`, `FILE:SHARE`, and of either with FIRST-LAST for the share."""

    def __call__(self, text):
        other, share, last = _parts(text)
        return Variation(
            other if isinstance(other, int) else str(existing_file(other)), share, last
        )

    def check(self, value):
        return self(value if isinstance(value, str) else str(value))

    def stored(self, value):
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise UserError("it is no text of a fair length")
        other, share, last = _parts(value)
        return str(Variation(other if isinstance(other, int) else file_name(other), share, last))

    def found(self, value, find):
        """A recipe's value with the path of its file; find: function (its name) -> its path."""
        other, share, last = _parts(self.stored(value))
        return str(Variation(other if isinstance(other, int) else find(other), share, last))


def _parts(text):
    other, colon, after = text.rpartition(":")
    shares = _SHARES.fullmatch(after)
    is_seed = re.fullmatch(r"\d{1,30}", other, re.ASCII)
    if not colon or not shares or not (is_seed or other.lower().endswith(LATENTS)):
        raise UserError(
            f'"{printable(text, 100)}": write SEED:SHARE like 7:0.2, with --latent '
            f"FILE{LATENTS}:SHARE, and for an animation two shares like 7:0-1"
        )
    share, last = (None if part is None else Number(0, 1)(part) for part in shares.groups())
    return Whole(0, MAX_SEED)(other) if is_seed else other, share, last


def _short(share):
    short = f"{share:g}"
    return short if float(short) == share else repr(share)
