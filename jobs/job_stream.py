"""Jobs read as they come: from a program that writes them, or from whoever types them.

A stream is standard input, a named pipe or the terminal. Nothing is read before it is needed, so
that an image can be finished before its reader asks for the next line.
"""

import contextlib
import io
import json
import os
import re
import stat
import sys
from pathlib import Path

from jobs.job_files import entries, header_of, rows_of
from models.cache import cache_folder
from values.errors import UserError, note, printable, say
from values.prompts import Prompt, TextPrompt

MAX_BYTES = 2**30  # of a line, and of a prompt on standard input
MAX_HISTORY = 1000  # lines
HELP = 'a line is a prompt, or like "a cat:2" "a hat" --seed 3; exit or Ctrl-D ends'
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def is_stream(file):
    """Whether a job file is standard input or another pipe."""
    if file == "-":
        return True
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def lines_of(file, told=False):
    """The lines of a stream as they come, each with its end.

    Args:
        told: whether it was said already that the terminal is read.
    """
    with contextlib.ExitStack() as stack:
        if file == "-":
            source = sys.stdin.buffer if sys.stdin else io.BytesIO()
            if source.isatty() and not told:
                note("reading jobs from the terminal, one a line: Ctrl-D ends (see --interactive)")
        else:
            try:
                source = stack.enter_context(open(file, "rb"))
            except OSError as error:
                why = printable(error.strerror or error, 80)
                raise UserError(f"{printable(file, 200)}: cannot be read: {why}") from None
        encoding = "utf-8-sig"  # the first line may begin with a byte order mark
        while data := source.readline(MAX_BYTES):
            yield data.decode(encoding, errors="surrogateescape").replace("\r\n", "\n")
            encoding = "utf-8"


def with_standard_input(script, said):
    """What a command line says, with the text of standard input for the prompt `-`.

    Raises:
        UserError: where that holds no prompt or several lines, or is asked for twice.
    """
    dash = Prompt("-", script.weight)
    prompts = said.get("prompts", [])
    if dash not in prompts:
        return said
    if script.takes_photos and not {"photos", "from_png", "from_file"} & set(said):
        raise UserError("a photo cannot be read from standard input: name its file")
    if (
        prompts.count(dash) > 1
        or "-" in str(said.get("from_file")).split()
        or "interactive" in said
    ):
        raise UserError("- is standard input, which can be read once: use it for one thing")
    if sys.stdin and sys.stdin.isatty():
        note("reading the prompt from the terminal: Ctrl-D ends it")
    lines = [line for line in "".join(lines_of("-", told=True)).splitlines() if line.strip()]
    if len(lines) != 1:
        raise UserError(
            "-: standard input holds "
            + ("several lines: --from-file - draws each" if lines else "no prompt")
        )
    read = TextPrompt(script.weight)(lines[0].strip())
    return {**said, "prompts": [read if prompt == dash else prompt for prompt in prompts]}


def typed_lines():
    """The lines that are typed at the terminal, which remembers those of earlier runs.

    Raises:
        UserError: without a terminal.
    """
    history = _history()
    while True:
        try:
            line = input("> ")
        except EOFError:
            print()  # behind the prompt
            return
        if line.strip() in ("exit", "quit"):
            return
        if line.strip() in ("help", "?"):
            say(HELP)
            continue
        if history:
            with contextlib.suppress(OSError):
                history()
        yield line + "\n"


def check_terminal():
    """UserError unless somebody can type here, and see what is said."""
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        raise UserError(
            "--interactive is for a terminal: --from-file - reads the lines of a program"
        )


def _history():
    """A function () that keeps what was typed for later runs; None where nothing can be kept."""
    try:
        import readline  # input() edits lines with it from now on
    except ImportError:  # Windows has an editing of its own
        return None
    folder = cache_folder("history")
    if folder is None:
        return None
    path = Path(folder) / "prompts"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        readline.read_history_file(str(path))
    readline.set_history_length(MAX_HISTORY)
    return lambda: readline.write_history_file(str(path))


def entries_of(lines, script, may_be_table=True):
    """All jobs of lines, as `jobs.job_files.entries` gives those of a text, each once it is whole.

    Args:
        lines: an iterator of lines with their ends, of which no more are taken than are needed.
        script: what the jobs are for.
        may_be_table: whether the first line may be the header of a table.
    """
    lines, number, table = iter(lines), 1, None
    for line in lines:
        text = _whole_row(line, lines) if table else _whole_json(line, lines)
        if table:
            yield from rows_of(text, 0, number, *table)
        elif may_be_table and (header := header_of(text, script)):
            table = header[2:]
            yield from rows_of("", 0, number + 1, *table)  # refuses titles that are there twice
        else:
            for entry in entries(text, script, may_be_table=False):
                yield entry._replace(line=entry.line + number - 1)
        may_be_table = may_be_table and not text.strip()
        number += text.count("\n")


def _whole_row(text, lines):
    """A line with those behind it that belong to the same row of a table."""
    while text.count('"') % 2 and (more := next(lines, None)) is not None:
        text += more
    return text


def _whole_json(text, lines):
    """A line with those behind it that belong to the same JSON."""
    if re.match(r'\s*\{\s*(?:["}]|\Z)', text):
        while _ends_too_early(text) and (more := next(lines, None)) is not None:
            text += more
    elif re.match(r"\s*\[\s*(?:[\[{]|\Z)", text):
        parts, depth = [text], _depth(text)
        while depth > 0 and (more := next(lines, None)) is not None:
            parts.append(more)
            depth += _depth(more)
        text = "".join(parts)
    return text


def _ends_too_early(text):
    """Whether a JSON object could go on; one that is broken cannot."""
    text = text.strip()
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (ValueError, RecursionError):
        pass
    return False


def _depth(line):
    line = _STRING.sub("", line)
    return sum(line.count(mark) for mark in "[{") - sum(line.count(mark) for mark in "]}")
