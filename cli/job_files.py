"""Job files, taken apart: what each job says, as `cli.parser.parse` would return it.

A line is a prompt, words and flags quoted as in a shell, or a JSON object with the flags' names. A
JSON array of objects and a table with a header (CSV) are read, too. What looks like anything else
is refused with its place.
"""

import csv
import difflib
import json
import re
from functools import cache
from typing import NamedTuple

from cli.errors import UserError, printable
from cli.option import Is
from cli.options import named, options_of
from cli.parser import parse
from cli.types import is_number
from cli.wildcards import escape

MAX_LINE = 2**20  # characters
_PLAIN = re.compile(r"""(?:"([^"\\]*)"|'([^']*)'|([^\s"'\\#][^\s"'\\]*))(?=\s|\Z)""")
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""", re.DOTALL)
_PIECE = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)\"|([^\s"'\\]+)""", re.DOTALL)
_SPACE = re.compile(r"\s*")
_ALIASES = {"prompt": "prompts", "photo": "photos", "image": "images"}


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class Place(UserError):
    """A mistake at a column, from 0, of a line."""

    def __init__(self, message, column=0):
        super().__init__(message)
        self.column = column


class Entry(NamedTuple):
    """A job as its file holds it: the number of its line, from 1, and its text or its values."""

    line: int
    said: str | dict


def entries(text, script):
    """All jobs of a file, not yet checked.

    Args:
        text: of the whole file.
        script: what the jobs are for.
    Returns:
        an iterator of Entries; of broken JSON one with the text of its first line.
    """
    lines = text.split("\n")
    if header := _header(lines, script):
        yield from _table(lines, *header)
        return
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.lstrip()[:1] in ("{", "["):
            found, height = _json_at(lines, number)
            yield from found
            number += height
            continue
        if line.strip() and line.lstrip()[0] != "#":
            yield Entry(number + 1, line)
        number += 1


def read_entry(entry, script):
    """What a job says: a dict from names of options of images to their values.

    Raises:
        Place: for whatever is wrong in it.
    """
    if isinstance(entry.said, dict):
        return _read_object(entry.said, script)
    line = entry.said
    if len(line) > MAX_LINE:
        raise Place("longer than a MiB")
    if line.lstrip()[:1] in ("{", "["):
        return _broken_json(line)
    if not is_shell(line, script):
        return _read_prompt(line, script)
    words = words_of(line)
    said = _said(words, script)
    for option in map(options_of(script).get, said):
        flags = option.flags.split()
        _refuse_run(option, next((c for w, c in words if w.partition("=")[0] in flags), 0))
    return said


def words_of(line):
    """The words of a line as a POSIX shell takes them, each with its column from 0.

    Raises:
        Place: for a quotation or an escape without an end.
    """
    words, place = [], 0
    while True:
        place = _SPACE.match(line, place).end()
        if match := _PLAIN.match(line, place):  # most are
            words.append((match[match.lastindex], place))
            place = match.end()
            continue
        if line[place : place + 1] in ("", "#"):
            return words
        match = _WORD.match(line, place)
        ended = match and (match.end() == len(line) or line[match.end()].isspace())
        if not ended:
            raise Place("a quotation or an escape has no end", place)
        words.append(("".join(map(_unquoted, _PIECE.finditer(match[0]))), place))
        place = match.end()


def _unquoted(piece):
    escaped, single, double, plain = piece.groups()
    if double is not None:
        return re.sub(r'\\(["\\])', r"\1", double)
    return next(part for part in (escaped, single, plain) if part is not None)


def is_shell(line, script):
    """Whether a line is words and flags, and not a prompt as a whole."""
    if line.lstrip()[0] in "\"'-" or " --" in line:
        return True
    return " -" in line and any(word in short_flags(script) for word in line.split())


@cache
def short_flags(script):
    """The flags of a script that begin with one dash."""
    flags = [flag for option in options_of(script).values() for flag in option.flags.split()]
    return {flag for flag in flags if re.match("-[^-]", flag)}


def _read_prompt(line, script):
    """A line without a quote at its start or a flag: a prompt as one argument would be."""
    column = len(line) - len(line.lstrip())
    text = line.strip()
    if text.startswith("//"):
        raise Place("a comment begins with #", column)
    if text[0] in "“”„«‘’‚":
        raise Place(f'{text[0]} is a typographic quote: use " or none', column)
    return _said([(word, column) for word in ("--", text)], script)


def _said(words, script):
    """What words say; Place for what is wrong, at the word without which it would not be."""
    plain = [word for word, _ in words]
    if {"-h", "--help"} & set(plain):
        raise Place("--help is for the command line")
    try:
        return parse(script, plain, needs_words=False)
    except UserError as error:
        message = str(error)

    def parsed(part):
        parse(script, [word for word, _ in part], needs_words=False)

    raise Place(message, column_of(words, message, parsed))


def column_of(words, message, read):
    """The column of the first word up to which words make the same mistake, by halving.

    Args:
        words: as `words_of` returns them; all of them make it.
        message: what it is told by.
        read: function (some of the first words) that raises a UserError.
    """
    low, high = 0, len(words)  # the first `low` words do not make it, the first `high` do
    while high - low > 1:
        middle, same = (low + high) // 2, False
        try:
            read(words[:middle])
        except UserError as error:
            same = str(error) == message
        low, high = (low, middle) if same else (middle, high)
    return words[high - 1][1]


def _refuse_run(option, column=0):
    if Is.IMAGES not in option.is_:
        raise Place(f"{option.flag} is for the whole run: give it on the command line", column)


def _json_at(lines, number):
    """(Entries, lines that they fill) of the JSON that begins in a line: an object, or an array."""
    text = lines[number]
    if text.lstrip()[0] == "[" or not _decoded(text, 0):  # it may go on in the next lines
        text = "\n".join(lines[number:])
    start = len(text) - len(text.lstrip())
    is_array = text[start] == "["
    found, place, line = [], start + is_array, number + 1
    while not is_array or not (rest := re.compile(r"\s*\]").match(text, place)):
        begin = re.compile(r"[\s,]*" if found else r"\s*").match(text, place).end()
        decoded = _decoded(text, begin)
        if not decoded or not isinstance(decoded[0], dict):
            return [Entry(number + 1, lines[number])], 1
        line += text.count("\n", place, begin)
        found.append(Entry(line, decoded[0]))
        line += text.count("\n", begin, decoded[1])
        place = decoded[1]
        if not is_array:
            break
    end = rest.end() if is_array else place
    if text[end:].partition("\n")[0].strip():  # something else behind it
        return [Entry(number + 1, lines[number])], 1
    return found, text.count("\n", 0, end) + 1


def _decoded(text, place):
    """(value, its end) of the JSON at a place, or None."""
    try:
        return _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return None


def _broken_json(line):
    """Raises what is wrong with a line that begins like JSON."""
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise Place(f"no JSON object: {error.msg}", error.colno - 1) from None
    except (ValueError, RecursionError):
        raise Place("no JSON object") from None
    raise Place(f"no JSON object with the flags' names: a {type(value).__name__}")


def _read_object(values, script):
    said = {}
    for key, value in values.items():
        option = _named(script, key)
        if value is None or value is False:
            continue
        try:
            if option.name == "prompts":
                value = [_literal(v) for v in (value if isinstance(value, list) else [value])]
            said[option.name] = option.check(value)
        except UserError as error:
            raise Place(f"{printable(key, 60)}: {error}") from None
    return said


def _literal(value):
    """A prompt of JSON; a pair, as results and recipes hold them, is no choice of alternatives."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return [escape(value[0]), value[1]] if is_number(value[1]) else value
    return value


def _named(script, key):
    """The option of images that a key of JSON or the title of a column names."""
    name = key.strip().lower().replace("-", "_")
    options = named(script)
    option = options.get(_ALIASES.get(name, name))
    if option is None:
        close = difflib.get_close_matches(name, options, n=1, cutoff=0.7)
        hint = f": did you mean {close[0]}?" if close else ""
        raise Place(f'no flag is called "{printable(key, 60)}"{hint}')
    _refuse_run(option)
    return option


def _header(lines, script):
    """(place of the first line, its cells) of a table; None: the first line is no header."""
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None or not re.search("[,;\t]", lines[first]):
        return None
    mark = max(",;\t", key=lines[first].count)
    cells = next(csv.reader([lines[first]], delimiter=mark))
    names = [cell.strip().lower().replace("-", "_") for cell in cells]
    known = [name for name in names if _ALIASES.get(name, name) in named(script)]
    return (first, cells, mark) if len(known) >= max(2, len(names) - 1) else None


def _table(lines, first, cells, mark):
    rows = csv.reader(lines[first + 1 :], delimiter=mark)
    for row in rows:
        if any(cell.strip() for cell in row):
            said = dict(zip(cells, (cell.strip() for cell in row), strict=False))
            if len(row) > len(cells):
                said["more cells than columns"] = row[len(cells)]
            yield Entry(first + 1 + rows.line_num, {k: v for k, v in said.items() if v != ""})
