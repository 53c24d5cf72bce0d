"""The words of a line as a shell takes them, and the one that makes a mistake."""

import re

from values.errors import UserError

# One that is plain or quoted as a whole, as most are; any; the parts of one; the space between.
_SIMPLE = re.compile(r"""(?:"([^"\\]*)"|'([^']*)'|([^\s"'\\#][^\s"'\\]*))(?=\s|\Z)""")
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""", re.DOTALL)
_PART = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)\"|([^\s"'\\]+)""", re.DOTALL)
_SPACE = re.compile(r"\s*")


class Place(UserError):
    """A mistake at a column, from 0, of a line; line: how many lines below the job's first."""

    def __init__(self, message, column=0, line=0):
        super().__init__(message)
        self.column, self.line = column, line


def words_of(line):
    """The words of a line as a POSIX shell takes them, each with its column from 0.

    Raises:
        Place: for a quotation or an escape without an end.
    """
    words, place = [], 0
    while True:
        place = _SPACE.match(line, place).end()
        if match := _SIMPLE.match(line, place):
            words.append((match[match.lastindex], place))
        elif line[place : place + 1] in ("", "#"):
            return words
        else:
            match = _WORD.match(line, place)
            ended = match and (match.end() == len(line) or line[match.end()].isspace())
            if not ended:
                raise Place(
                    "a quotation or an escape has no end: put a prompt with a ' in double quotes",
                    place,
                )
            words.append(("".join(map(_unquoted, _PART.finditer(match[0]))), place))
        place = match.end()


def _unquoted(part):
    escaped, single, double, plain = part.groups()
    if double is not None:
        return re.sub(r'\\(["\\])', r"\1", double)
    return next(text for text in (escaped, single, plain) if text is not None)


def first_wrong(parts, message, read):
    """The index of the first of some parts up to which they make the same mistake, by halving.

    Args:
        parts: a list; all of them together make it.
        message: what it is told by.
        read: function (some of the first parts) that raises a UserError.
    """
    low, high = 0, len(parts)  # the first `low` do not make it, the first `high` do
    while high - low > 1:
        middle, same = (low + high) // 2, False
        try:
            read(parts[:middle])
        except UserError as error:
            same = str(error) == message
        low, high = (low, middle) if same else (middle, high)
    return high - 1
