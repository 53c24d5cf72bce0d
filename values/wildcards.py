"""Prompts that stand for many: `a {red,blue} heart`, `a __animal__`, chosen by an image's own seed.

`{A,B}` is one of its alternatives, `__NAME__` one of the lines of `NAME.txt`; they nest. A
backslash before either, as in `\\{` and `\\__`, makes it text, and so are braces without a comma.
"""

import functools
import random
import re
from pathlib import Path

from values.errors import UserError, printable, quoted
from values.files import read_file
from values.prompts import MAX_LENGTH

FOLDER = "wildcards"  # where lists lie, if nothing else is said
MAX_BYTES = 16 * 2**20  # of a list
MAX_DEPTH = 16  # of what stands in one another

_LIST = re.compile(r"(?<!\\)__([A-Za-z0-9]+(?:[-_/]?[A-Za-z0-9]+)*?)__")


def may_choose(text):
    """Whether a text holds what could be a choice."""
    return "{" in text or "__" in text


def chooses(text):
    """Whether a text holds a choice."""
    return bool(braces_of(text) or _LIST.search(text))


def escape(text):
    """A text that stands for this one alone."""
    return re.sub(r"\{|__", lambda mark: "\\" + mark[0], text)


class Wildcards:
    """The lists of a folder, and the choices made among their lines.

    Args:
        folder: where `NAME.txt` is looked for; None: `wildcards` in the current folder.
    """

    def __init__(self, folder=None):
        self.folder = Path(folder or FOLDER)

    def expand(self, texts, seed):
        """Texts with every choice made, the same for the same seed.

        Raises:
            UserError: for a list that is not there, is empty or leads back to itself, and for a
                text that becomes longer than a prompt may be.
        """
        chance = random.Random(seed)
        # Of all that a generator draws, Python promises only that random() stays what it is.
        return [self._expand(text, lambda n: int(chance.random() * n), 0) for text in texts]

    def check(self, texts):
        """UserError for lists that are not there or lead back to themselves, wherever it goes."""
        sound = set()
        for text in texts:
            self._follow(text, (), sound)

    def _follow(self, text, within, sound):
        for name in _LIST.findall(text):
            if name in within:
                raise UserError(f"the list {name}.txt leads back to itself: mend its lines")
            if name not in sound:
                for line in self._lines(name):
                    self._follow(line, (*within, name), sound)
                sound.add(name)

    def _expand(self, text, choose, depth, escapes=("{", "__")):
        if depth > MAX_DEPTH:
            raise UserError(f"{quoted(text)} goes too deep: alternatives within alternatives")
        made, i, braces = [], 0, braces_of(text)
        while i < len(text):
            escaped = [e for e in escapes if text.startswith("\\" + e, i)]
            if escaped:
                piece, i = escaped[0], i + 1 + len(escaped[0])
            elif match := _LIST.match(text, i):
                lines, i = self._lines(match[1]), match.end()
                piece = self._expand(lines[choose(len(lines))], choose, depth + 1)
            elif cuts := braces.get(i):
                which, i = choose(len(cuts) - 1), cuts[-1] + 1
                option = text[cuts[which] + 1 : cuts[which + 1]]
                piece = self._expand(option, choose, depth + 1, ("{", "__", ",", "}"))
            else:
                piece, i = text[i], i + 1
            made.append(piece)
        whole = "".join(made)
        if len(whole) > MAX_LENGTH:
            raise UserError(f"{quoted(text)} becomes longer than {MAX_LENGTH:,} characters")
        return whole

    def _lines(self, name):
        return lines_of(self.folder / f"{name}.txt", name)


def braces_of(text):
    """Where alternatives stand: from the place of a brace to those of it, its commas, its end."""
    found, unfinished = {}, []
    for mark in re.finditer(r"\\[{},]|[{},]", text):
        if mark[0] == "{":
            unfinished.append([mark.start()])
        elif mark[0] == "," and unfinished:
            unfinished[-1].append(mark.start())
        elif mark[0] == "}" and unfinished:
            cuts = [*unfinished.pop(), mark.start()]
            if len(cuts) > 2:
                found[cuts[0]] = cuts
    return found


@functools.lru_cache(maxsize=256)
def lines_of(path, name):
    """The lines of a list, without blank ones and comments."""
    try:
        text = read_file(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{printable(path, 200)}: not UTF-8: save it as that") from None
    except UserError as error:
        hint = r"--wildcards names the folder, \__ is text"
        raise UserError(f"__{name}__: {error} ({hint})") from None
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise UserError(f"{printable(path, 200)}: has no lines to choose from")
    return lines
