"""A line of JSON for each finished image, in a file that several processes may add to."""

import errno
import json
import os
from pathlib import Path

from jobs.outputs import check_folder
from models.locks import locked
from values.errors import Failure, UserError, printable

MAX_LINE = 2**20  # bytes


def line_of(path, item, seconds=None, evaluations=None):
    """What is said of a finished image, as a dict.

    Args:
        path: its file.
        item: a `jobs.jobs.Item`.
        seconds: that it took, a batch's divided by its images; None: not known.
        evaluations: of the model; None: not known.
    """
    image = item.image
    masked = [p.stored for p in item.prompts if p.mask is not None]
    return {
        "file": str(path),
        "line": item.job.line,
        "seed": item.seed,
        "prompts": [p.stored for p in item.prompts if p.mask is None],
        **({"region": masked} if masked else {}),
        "images": [p.stored for p in image.images],
        "model": item.model,
        "method": image.method,
        "steps": image.steps,
        **_moving(image),
        **item.job.swept,
        "seconds": None if seconds is None else round(seconds, 4),
        "evaluations": evaluations,
    }


def _moving(image):
    """What is said of noise that is turned, and of a frame."""
    found = {"variation": str(image.variation)} if image.variation else {}
    return found | ({"frame": image.frame.number} if image.frame else {})


def as_text(line):
    return json.dumps(line, ensure_ascii=True, allow_nan=False)


def check(path):
    """UserError unless lines can be added to the file, and what it holds are such lines."""
    try:
        check_folder(path.parent)
        fits = not os.path.lexists(path) or (path.is_file() and os.access(path, os.W_OK))
        fits = fits and len(os.fsencode(path.name)) <= 255
    except (OSError, ValueError):  # no name at all
        fits = False
    if not fits:
        shown = printable(path, 200)
        raise UserError(f"--results {shown}: cannot be added to: choose another file")
    if not _holds_results(path):
        shown = printable(path, 200)
        raise UserError(f"--results {shown}: holds other things: choose another file")


def _holds_results(path):
    if not path.exists():
        return True
    with open(path, "rb") as file:
        first = file.readline(MAX_LINE)
    try:
        return not first or "file" in json.loads(first)
    except (ValueError, RecursionError, TypeError):
        return False


def append(path, line):
    """Adds a line whole or not at all; the file is made if need be.

    Raises:
        Failure: it cannot be written.
    """
    data = json.dumps(line, ensure_ascii=False, allow_nan=False).encode(errors="replace") + b"\n"
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with locked(path), open(path, "a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                # What a machine that lost its power has left of a line stays a line of its own.
                data = data if file.read(1) == b"\n" else b"\n" + data
            if file.write(data) < len(data):
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        why = printable(error.strerror or error, 80)
        raise Failure(f"{printable(path, 200)} cannot be written: {why}") from None


def files_in(path):
    """The names of files that lines speak of; what is no line of ours is passed over."""
    names = set()
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    names.add(json.loads(line)["file"])
                except (ValueError, TypeError, KeyError, RecursionError):
                    continue
    except FileNotFoundError:
        pass
    except OSError as error:
        why = printable(error.strerror or error, 80)
        raise UserError(f"{printable(path, 200)}: cannot be read: {why}") from None
    return names
