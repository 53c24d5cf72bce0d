"""Command lines, parsed as by the scripts but in this process."""

import contextlib
import importlib
import io
import sys
from unittest.mock import patch

from cli.options import options_of
from cli.scripts import SAMPLING
from jobs.jobs import Jobs
from runner.exit import script as run
from tests.fuzz.lines import harmless, one_line
from values.errors import UserError

ROWS = {script.name.removesuffix(".py"): script for script in SAMPLING}
SCRIPTS = tuple(ROWS)


@contextlib.contextmanager
def without_torch():
    """As if torch were not installed."""
    torch = sys.modules.get("torch")
    sys.modules["torch"] = None
    try:
        yield
    finally:
        del sys.modules["torch"]
        if torch:
            sys.modules["torch"] = torch


def answer(script, argv):
    """The status that a script would exit with, were it to stop before it imports torch.

    Asserts that it is 0, or 2 with one line on stderr; what is printed cannot drive a terminal.
    """
    main = importlib.import_module(script).main
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", [f"{script}.py", *argv]),
        patch.object(sys, "stdin", None),
        without_torch(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            if images(script, argv) <= 1000:
                run(main)
        except SystemExit as stop:
            status = stop.code or 0
    harmless(out.getvalue())
    lines = harmless(err.getvalue())
    assert status in (0, 2), (status, lines)
    if status and "torch is not installed" in lines[-1]:
        return 0  # all was well
    if status:
        assert len(lines) == 1
        assert lines[0].startswith(f"{script}.py: error: ")
        one_line(lines[0])
    return status


def images(script, argv):
    """How many images a command line asks for; 0 where it is refused, which is told later."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return sum(job.image.n for job in Jobs(ROWS[script], argv).all)
        except (UserError, SystemExit):
            return 0


def flags(script):
    """All flags of a script."""
    options = options_of(ROWS[script]).values()
    return sorted(
        {"--help", "-h", *(f for o in options if not o.is_positional for f in o.flags.split())}
    )
