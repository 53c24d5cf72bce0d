"""The jobs of a run: the command line is one, or each line of `--from-file` is, times `--sweep`.

A line holds prompts and flags as a command line does, quoted as in a shell, or a JSON object with
the flags' names. What it does not say, the command line does.
"""

import atexit
import contextlib
import copy
import itertools
import json
import math
import re
import shlex
import shutil
import sys
import tempfile
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

from cli.errors import UserError, printable
from cli.prompts import Prompt, format_prompt
from cli.wildcards import escape
from runner.workers import note

MAX_LINE = 2**20  # characters
MAX_SWEEP = 10_000  # jobs that one becomes

# What a line may not say, as the model and the process are there before it.
RUN_WIDE = (
    *("model", "checkpoint", "clip_checkpoint", "clip_model", "mirror", "device", "dtype"),
    *("compile", "no_embedding_cache", "low_memory", "batch_size", "chunk", "from_png"),
    *("output", "skip_existing", "overwrite", "no_metadata", "from_file", "keep_going", "sweep"),
    *("wildcards", "results", "json", "shard", "dry_run", "grid"),
    *("preview_every", "trajectory", "fps", "gallery"),
)
# Where a line says one of these, it is not the command line that says the others.
TOGETHER = (("seed", "seeds"), ("n", "seeds"), ("init", "latent"))


@dataclass(frozen=True, eq=False)
class Job:
    """Images that differ by their seeds alone.

    Args:
        line: its number in the file, from 1; 0: the command line.
        args: settled.
        swept: the values that `--sweep` gave it, from flag names to text.
        row: of these, its number among those that differ by the last of the flags alone.
    """

    line: int
    args: Namespace
    swept: dict = field(default_factory=dict)
    row: int = 0


class Jobs:
    """The jobs of a run, which can be gone through again and again; none are kept in memory.

    Args:
        parser: of the script.
        given: the arguments as parsed, not settled.
        settle: function (parsed arguments) -> settled ones; raises UserError.
        check: function (settled arguments) that raises UserError where what they name is not
            there; called while the jobs are gone through for the first time.
    """

    def __init__(self, parser, given, settle, check=lambda args: None):
        self.parser, self.given, self._settle, self.check = parser, given, settle, check
        self.sweep = getattr(given, "sweep", None) or []
        self.count = None  # of lines, once all have been read
        self.bad = set()  # numbers of lines that are left out, since the run is to keep going
        given.from_file = getattr(given, "from_file", None)
        if given.from_file and given.from_png:
            raise UserError("--from-png and --from-file are two sources of jobs: give one of them")
        if math.prod(len(values) for _, values in self.sweep) > MAX_SWEEP:
            raise UserError(f"--sweep: more than {MAX_SWEEP:,} combinations: leave some out")
        self.args = settle(copy.copy(given))  # the run's own, and those of its only job
        self.path = _file_of(given.from_file) if given.from_file else None

    def __iter__(self):
        if self.path is None:
            yield from self._variants(0, Namespace())
            self.count = 0
            return
        last = 0
        for last, line in _lines(self.path, self.count):
            if last not in self.bad:
                yield from self._jobs_of(last, line)
        self.count = last

    def _jobs_of(self, number, line):
        """All jobs of a line or none."""
        try:
            words = words_of(line)
            try:
                return list(self._variants(number, self._read(words))) if words else []
            except UserError as error:
                error.column = self._column(str(error), number, words)
                raise
        except UserError as error:
            place = f"{printable(self.given.from_file, 200)}, line {number}"
            place = f"{place}, column {error.column + 1}: {error}"
            if not self.given.keep_going:
                raise UserError(place) from None
            self.bad.add(number)
            note(f"left out: {place}")
            return []

    def _column(self, message, number, words):
        """Where what an error speaks of stands: the word without which there is no such error."""
        for i, (_, column) in enumerate(words):
            try:
                list(self._variants(number, self._read(words[: i + 1])))
            except UserError as error:
                if str(error) == message:
                    return column
        return words[0][1]

    def _read(self, words):
        """What a line says, parsed."""
        plain = [word for word, _ in words]
        if {"-h", "--help"} & set(plain):
            raise UserError("--help is for the command line")
        said = self.parser.parse_args(plain)
        for name in RUN_WIDE:
            if getattr(said, name, None) not in (None, False):
                flag = "--" + name.replace("_", "-")
                raise UserError(f"{flag} is for the whole run: give it on the command line")
        return said

    def _variants(self, line, said):
        """The jobs of a line: one for each combination of what is swept."""
        names = [name for name, _ in self.sweep]
        across = len(self.sweep[-1][1]) if self.sweep else 1
        for i, values in enumerate(itertools.product(*(values for _, values in self.sweep))):
            swept, args = dict(zip(names, values, strict=True)), merged(self.given, said)
            for name, value in swept.items():
                args = merged(args, self._read([(w, 0) for w in _words_of_flag(name, value)]))
            args = self._settle(args)
            if self.count is None:
                self.check(args)
            yield Job(line, args, swept, i // across)


def merged(args, said):
    """Arguments with what a line says put over them; its prompts join those that are there."""
    result = copy.copy(args)
    values = {name: value for name, value in vars(said).items() if value not in (None, [], False)}
    for one, other in TOGETHER:
        for mine, beaten in ((one, other), (other, one)):
            if mine in values and beaten not in values:
                setattr(result, beaten, None)
    for name, value in values.items():
        together = name in ("prompts", "images")
        setattr(result, name, [*value, *(getattr(args, name) or [])] if together else value)
    return result


def words_of(line):
    """The words of a line as a command line would have them, each with its column from 0.

    Raises:
        UserError: with an attribute `column`.
    """
    if re.match(r'\s*\{\s*["}]', line):
        return _words_of_json(line)
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters, words = True, "", []
    while True:
        start = lexer.instream.tell()
        start += len(line[start:]) - len(line[start:].lstrip(lexer.whitespace))
        if line[start : start + 1] in ("", "#"):
            return words
        try:
            words.append((lexer.get_token(), start))
        except ValueError:
            raise _at(start, "a quotation or an escape has no end") from None


def _words_of_json(line):
    try:
        said = json.loads(line)
    except json.JSONDecodeError as error:
        raise _at(error.colno - 1, f"no JSON object: {error.msg}") from None
    except (ValueError, RecursionError):
        raise _at(0, "no JSON object") from None
    flags, prompts = [], []
    for key, value in said.items():
        found = re.search(re.escape(json.dumps(key)[:60]), line)
        column = found.start() if found else 0
        name = key.replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z-]*", name):
            raise _at(column, f'no flag is called "{printable(key, 60)}"')
        try:
            if name == "prompts":
                values = [value] if isinstance(value, str) else value
                if not isinstance(values, list):
                    raise UserError("prompts: a text or a list of texts, or of [text, weight]")
                prompts += [(_argument(v), column) for v in values]
            else:
                flags += [(word, column) for word in _words_of_flag(name, value)]
        except UserError as error:
            raise _at(column, str(error)) from None
    return [*flags, *([("--", 0)] if prompts else []), *prompts]


def _words_of_flag(name, value):
    """A flag and its values as words."""
    flag = f"-{name}" if len(name) == 1 else f"--{name}"
    if value in (None, False) and value != 0:
        return []
    if value is True:
        return [flag]
    values = value if isinstance(value, list) else [value]
    return [flag, *(_argument(v) for v in values)]


def _argument(value):
    if isinstance(value, list):
        text, weight = value if len(value) == 2 else (None, None)
        if isinstance(text, str) and _is_number(weight):  # as results and recipes name them
            return format_prompt(Prompt(escape(text), float(weight)))
    if isinstance(value, str):
        return value
    if _is_number(value):
        return str(value)
    raise UserError(f"{printable(json.dumps(value), 60)} is not a text or a number")


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _at(column, message):
    error = UserError(message)
    error.column = column
    return error


def sweep(text):
    """A type for `--sweep`: `steps=10,20` as ("steps", ["10", "20"]).

    Raises:
        UserError: for what is not of that form, and for flags that are the whole run's.
    """
    name, equals, rest = text.partition("=")
    name = name.strip().lstrip("-").replace("_", "-")
    values = [value.strip() for value in rest.split(",")]
    if not equals or not re.fullmatch("[a-z][a-z-]*", name) or not all(values):
        raise UserError(f'"{printable(text, 80)}": write FLAG=VALUE,VALUE like steps=10,20,50')
    if name.replace("-", "_") in RUN_WIDE:
        raise UserError(f"--{name} is for the whole run and cannot be swept")
    return name, [value.split() if " " in value else value for value in values]


def _file_of(source):
    """The path of a job file; of standard input, a copy, as it is read more than once."""
    if str(source) != "-":
        return Path(source)
    copied = tempfile.NamedTemporaryFile(prefix="jobs-", suffix=".txt")  # noqa: SIM115
    with contextlib.suppress(AttributeError):  # closed: no jobs
        shutil.copyfileobj(sys.stdin.buffer, copied)
    copied.flush()
    atexit.register(copied.close)  # which removes it
    return Path(copied.name)


def _lines(path, count):
    """The numbered lines of a file; of one that has grown since it was checked, the first ones."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            for number in itertools.count(1) if count is None else range(1, count + 1):
                line = file.readline(MAX_LINE + 1)
                if not line:
                    return
                if len(line) > MAX_LINE:
                    raise UserError(f"{printable(path, 200)}, line {number}: longer than a MiB")
                yield number, line.rstrip("\n")
    except OSError as error:
        why = printable(error.strerror or error, 80)
        raise UserError(f"{printable(path, 200)}: cannot be read: {why}") from None
