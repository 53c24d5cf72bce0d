"""Job files, taken apart: what each job says, as `cli.parser.parse` would return it.

A line is a prompt, words and flags quoted as in a shell, or a JSON object with the flags' names. A
JSON array of objects, objects of several lines and a table with a header (CSV) are read, too. What
looks like anything else is refused with its place.
"""

import csv
import difflib
import io
import json
import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from cli import other_words
from cli.options import named
from cli.parser import refuse_both
from jobs import job_lines
from jobs.job_lines import refuse_run
from values.errors import UserError, counted, printable
from values.types import is_number
from values.wildcards import escape
from values.words import Place, first_wrong

MAX_LINE = 2**20  # characters
_ALIASES = {"prompt": "prompts", "photo": "photos", "image": "images"}
_JSON = re.compile(r"""\s*(?:\{\s*(?:["'}]|\Z)|\[\s*(?:[\[\]{"']|\Z))""")
_SPACE, _BETWEEN, _END = re.compile(r"\s*"), re.compile(r"\s*,\s*"), re.compile(r"\s*\]")
_REST_OF_OBJECT = re.compile(r"^\}.*$|^(?=\{)", re.MULTILINE)  # or the next one begins


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _start(key):
    return 0, 0


class Entry(NamedTuple):
    """A job as its file holds it.

    Args:
        line: the number of its first line, from 1.
        said: a line's text; what JSON or a row of a table holds, by name; or what is wrong with it.
        place_of: function (a name) -> (lines below the first, column from 0) of what it holds.
    """

    line: int
    said: str | dict | Place
    place_of: Callable = _start


def entries(text, script, may_be_table=True):
    """All jobs of a file, as an iterator of Entries, not yet checked.

    Args:
        text: of the whole file.
        script: what the jobs are for.
        may_be_table: whether its first line may be the header of a table.
    """
    if may_be_table and (header := header_of(text, script)):
        yield from rows_of(text, *header)
        return
    place, number = 0, 1
    while place < len(text):
        end = _line_end(text, place)
        if _JSON.match(text, place, end):
            found, end = _json_at(text, place, end, number)
            yield from found
        else:
            start = _SPACE.match(text, place, end).end()
            if start < end and text[start] != "#":
                yield Entry(number, text[place:end])
        number += text.count("\n", place, end + 1)
        place = end + 1


def read_entry(entry, script):
    """What a job says: a dict from names of options of images to their values.

    Raises:
        Place: for whatever is wrong in it.
    """
    if isinstance(entry.said, Place):
        raise entry.said
    parts, read = _taken_apart(entry, script)
    try:
        return read(parts)
    except UserError as error:
        raise placed(error, entry, script) from None


def placed(error, entry, script, use=lambda said: None):
    """The mistake of a job as a Place: that of the part without which it would not be made.

    Args:
        error: the UserError.
        use: function (what the first parts of the job say) that raises it, where reading does not.
    """
    if isinstance(error, Place):
        return error
    parts, read = _taken_apart(entry, script)
    if not parts:
        return Place(str(error))
    wrong = parts[first_wrong(parts, str(error), lambda some: use(read(some)))]
    line, column = entry.place_of(wrong[0]) if isinstance(entry.said, dict) else (0, wrong[1])
    return Place(str(error), column, line)


def _taken_apart(entry, script):
    """What a job consists of, and how that is read.

    Returns:
        (parts, read): pairs of a name and its value, or of a word and its column, and a function
        (some of the parts) -> what they say.
    Raises:
        Place: for what cannot be taken apart.
    """
    if isinstance(entry.said, dict):
        return list(entry.said.items()), lambda some: _read_pairs(some, script)
    line = entry.said
    if len(line) > MAX_LINE:
        raise Place("longer than a MiB")
    return job_lines.taken_apart(line, script)


def _json_at(text, place, end, number):
    """(Entries, the end of their last line) of the JSON that begins in the line from place to end.

    Of what is broken, the lines that belong to it are left out with it: they are no prompts.
    """
    begin = _SPACE.match(text, place).end()
    is_array, found = text[begin] == "[", []
    begin = _SPACE.match(text, begin + is_array).end()
    try:
        while not (is_array and text.startswith("]", begin)):
            value, after = _decoded(text, begin)
            if not isinstance(value, dict):
                kind = type(value).__name__
                raise _Broken(f"no JSON object with the flags' names: a {kind}", begin)
            line = number + text.count("\n", place, begin)
            found.append(Entry(line, value, _finder(text, begin, after)))
            place, number, begin = begin, line, after
            if not is_array:
                break
            if comma := _BETWEEN.match(text, after):
                begin = comma.end()
            elif not (rest := _END.match(text, after)):
                raise _Broken("no JSON object: Expecting ',' delimiter", after)
            else:
                begin = rest.end() - 1
        begin += is_array
        wrong, end = None, _line_end(text, begin)
        if text[begin:end].strip(" \t,"):
            wrong = _Broken("no JSON object: Extra data", _SPACE.match(text, begin).end())
    except _Broken as broken:
        wrong = broken
        if is_array:
            end = len(text)
        elif not text[place:end].rstrip().endswith("}"):
            rest = _REST_OF_OBJECT.search(text, end)
            end = len(text) if rest is None else rest.end() if rest[0] else rest.start() - 1
            # What is missing at its end is noticed at the next one's beginning.
            broken.at = min(broken.at, place + len(text[place:end].rstrip()))
    if wrong:
        line = number + text.count("\n", place, wrong.at)
        column = wrong.at - (text.rfind("\n", 0, wrong.at) + 1)
        found.append(Entry(line, Place(str(wrong), column)))
    return found, end


class _Broken(Exception):
    def __init__(self, message, at):
        super().__init__(message)
        self.at = at


def _decoded(text, begin):
    """(value, its end) of the JSON at a place; _Broken."""
    try:
        return _DECODER.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        raise _Broken(f"no JSON object: {error.msg}", min(error.pos, len(text))) from None
    except (ValueError, RecursionError) as error:
        raise _Broken(f"no JSON object: {printable(error, 80)}", begin) from None


def _line_end(text, place):
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _finder(text, begin, end):
    """A function (key) -> (lines below, column) of a key of the JSON object from begin to end."""

    def find(key):
        spelt = "|".join(re.escape(json.dumps(key, ensure_ascii=a)) for a in (False, True))
        match = re.compile(rf"(?:{spelt})\s*:").search(text, begin, end)
        place = match.start() if match else begin
        return text.count("\n", begin, place), place - (text.rfind("\n", 0, place) + 1)

    return find


def _read_pairs(pairs, script):
    said = {}
    for key, value in pairs:
        option = _named(script, key)
        if value is None:
            continue
        if option.name in said:
            raise UserError(f"{printable(key, 60)}: {option.flag} is given twice")
        try:
            if option.name in ("prompts", "region"):
                value = [_literal(v) for v in (value if isinstance(value, list) else [value])]
            said[option.name] = option.check(value)
        except UserError as error:
            raise UserError(f"{printable(key, 60)}: {error}") from None
    # A switch that is off says so: the command line may have it on.
    refuse_both(script, {name: value for name, value in said.items() if value is not False})
    return said


def _literal(value):
    """A prompt of JSON; a list, as results and recipes hold them, is no choice of alternatives."""
    if isinstance(value, list) and len(value) > 1 and isinstance(value[0], str):
        return [escape(value[0]), *value[1:]] if is_number(value[1]) else value
    return value


def _named(script, key):
    """The option of images that a key of JSON or the title of a column names."""
    name, options = _plain(key), named(script)
    option = options.get(name)
    if option is None:
        if instead := other_words.told(script, name):
            raise UserError(f'no flag is called "{printable(key, 60)}": {instead}')
        close = difflib.get_close_matches(name, options, n=1, cutoff=0.7)
        hint = f": did you mean {close[0]}?" if close else ""
        raise UserError(f'no flag is called "{printable(key, 60)}"{hint}')
    refuse_run(option)
    return option


def _plain(key):
    name = key.strip().lower().replace("-", "_")
    return _ALIASES.get(name, name)


def header_of(text, script):
    """(where the rows begin, their first line, titles, delimiter) of a table; None: it is none."""
    start = _SPACE.match(text).end()
    start = text.rfind("\n", 0, start) + 1
    line = text[start:].partition("\n")[0]
    alone = line.strip().lower() in ("prompt", "prompts")
    if not (alone or re.search("[,;\t|]", line)) or len(line) > MAX_LINE:
        return None
    mark = max(",;\t|", key=line.count)
    titles = _cells(line, mark)
    known = [title for title in titles if _plain(title) in named(script)]
    # A title that is no option's is refused later: no prompt looks like `prompt,weight`.
    asks = {"prompt", "prompts"} & set(titles) and all(
        re.fullmatch(r"\s*[\w-]+\s*", t) for t in titles
    )
    if not asks and len(known) < max(2, len(titles) - 1):
        return None
    return start + len(line) + 1, text.count("\n", 0, start) + 2, titles, mark


def _cells(line, mark):
    try:
        return next(csv.reader([line], delimiter=mark), [])
    except csv.Error:
        return []


def rows_of(text, place, number, titles, mark):
    """Entries of the rows of a table, which begin at a place of the text in the line `number`."""
    twice = [title for title in titles if titles.count(title) > 1]
    if twice:
        yield Entry(number - 1, Place(f'two columns are called "{printable(twice[0], 60)}"'))
        return
    lines, first = list(io.StringIO(text[place:])), number
    rows = csv.reader(lines, delimiter=mark)
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if len(cells) > len(titles) and any(cells[len(titles) :]):
                yield Entry(number, Place(f"more cells than {counted(len(titles), 'column')}"))
            elif any(cells):
                said = {t: cell for t, cell in zip(titles, cells, strict=False) if cell}
                line = lines[number - first]
                yield Entry(number, said, partial(_place_of_cell, line, titles, mark))
            number = first + rows.line_num
    except csv.Error as error:
        yield Entry(first + rows.line_num - 1, Place(f"no table: {printable(error, 80)}"))


def _place_of_cell(line, titles, mark, title):
    """(0, column) of a cell in the first line of its row."""
    cells = re.finditer(rf'(?:\A|{mark})((?:"(?:[^"]|"")*"|[^{mark}])*)', line)
    starts = [match.start(1) for match in cells]
    index = titles.index(title)
    return 0, starts[index] if index < len(starts) else 0
