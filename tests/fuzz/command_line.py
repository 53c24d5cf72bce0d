"""Command lines, parsed as by the scripts but in this process."""

import contextlib
import functools
import importlib
import io
import re
import sys
from unittest.mock import patch

from runner import run
from tests.fuzz.lines import harmless, one_line

SCRIPTS = ("cfg_sample", "clip_sample", "reverse_sample", "cfg_modify_image")


def answer(script, argv):
    """The status that a script would exit with, were it to stop before it imports torch.

    Asserts that it is 0, or 2 with one line on stderr; what is printed cannot drive a terminal.
    """
    module = importlib.import_module(script)
    out, err, status = io.StringIO(), io.StringIO(), 0

    def main():
        parsed = module.parse(argv)
        if getattr(parsed, "args", parsed).n <= 1000:
            module.main()

    with (
        patch.object(sys, "argv", [f"{script}.py", *argv]),
        patch.object(sys, "stdin", None),
        patch.dict(sys.modules, {"torch": None}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run.script(main)
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


@functools.cache
def flags(script):
    """All flags of a script, as its --help lists them."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        importlib.import_module(script).parse(["--help"])
    return sorted(set(re.findall(r"(?:^  |, )(--?[a-z-]+)", shown.getvalue(), re.MULTILINE)))
