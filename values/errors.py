"""A user's mistake, told in one line, and text made safe to show in it."""

import functools
import os
import sys
import unicodedata

# Format characters that emoji and several scripts are spelt with; they cannot reorder a line.
_JOINERS = "\u200c\u200d"


class UserError(Exception):
    """A mistake the user can mend; its message is one line: what is wrong and what to do.

    The scripts print it on stderr as `NAME: error: MESSAGE` and exit with status 2.
    """


class Failure(UserError):
    """What went wrong in the midst of a run through no mistake; the exit status is 1."""


_quiet = False


def be_quiet(quiet):
    """Whether `note` prints nothing from here on (`--quiet`)."""
    global _quiet
    _quiet = quiet


def note(message, environment=os.environ):
    """`say` of what is good to know, which `--quiet` keeps back."""
    if not _quiet:
        say(message, environment)


def say(message, environment=os.environ):
    """A line on stderr, with the number of the process where torchrun has started several."""
    print(f"{prefix(environment)}{message}", file=sys.stderr, flush=True)


@functools.lru_cache(maxsize=1000)
def note_once(message):
    """`note`, but not what was said before."""
    note(message)


def prefix(environment=os.environ):
    """What a process's lines on stderr begin with."""
    shared = "TORCHELASTIC_RUN_ID" in environment and environment.get("WORLD_SIZE", "1") != "1"
    return f"[{environment['RANK']}] " if shared and "RANK" in environment else ""


def counted(number, what):
    """A number of things in words: "1 image", "2 images"; what: one of them."""
    return f"{number:,} {what}" + "s" * (number != 1)


def printable(text, limit=500):
    """Text that cannot drive a terminal: what is not a visible character is shown escaped.

    Control characters (ANSI escapes, line breaks), bidirectional overrides, invisible format
    characters and undecodable bytes of file names come out as \\x1b, \\u202e and the like.

    Args:
        text: anything; str() of it is used.
        limit: the most characters to read; a longer text is cut and ends in "...".
    """
    text = str(text)
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    if cut.isprintable():  # most are: it is told at once
        return cut
    return "".join(_visible(character) for character in cut)


def quoted(text, limit=100):
    """Text in quotes, as `printable` shows it."""
    return f'"{printable(text, limit)}"'


def _visible(character):
    # Zl and Zp break lines, Cc drives the terminal, Cf reorders or hides, Cs cannot be encoded.
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    if not hidden or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")
