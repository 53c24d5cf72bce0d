"""How a script ends: errors told in a line, exit statuses, signals, and a quick way out."""

import atexit
import os
import signal
import sys
import time

from cli.begin import die_of, missing, quit_at_once
from diffusion.errors import NonFiniteError, is_out_of_memory
from models.checkpoints import CheckpointError
from values.errors import Failure, UserError, printable, say

PARTIAL = 3
STOPS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and schedulers' way to end a job


class PartialFailure(Exception):
    """Some of the run's images are missing, and all that could be drawn are there."""


class Stop(KeyboardInterrupt):
    """A signal that ends the run, raised where there are finished images to be kept."""

    def __init__(self, which):
        super().__init__(which)
        self.which = which


class Stopped(SystemExit):
    """The end of a script that a signal has stopped; `program` dies of that signal."""

    def __init__(self, which):
        super().__init__(128 + which)  # the status that shells give to it
        self.which = which


def script(main):
    """Runs a script's main and exits; whatever a user can cause is told in one line on stderr.

    The status is 0, 2 after a user's mistake, 1 after a failure, 3 if `--keep-going` left something
    out. After Ctrl-C or SIGTERM it is what shells give to the signal: 130 or 143.
    """
    name = os.path.basename(sys.argv[0])
    _mend_streams()

    def stop(message, status):
        say(f"{name}: error: {message}")
        sys.exit(status)

    before = {which: signal.signal(which, quit_at_once) for which in heeded()}
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        print(f"{name}: stopped; finished images are kept", file=sys.stderr)
        raise Stopped(getattr(error, "which", signal.SIGINT)) from None
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except PartialFailure as error:
        stop(error, PARTIAL)
    except Exception as error:
        known = explained(error)
        if not known:
            raise
        stop(*known)
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def program(main):
    """Runs a script's main as `script` does, and leaves at once.

    Python would take torch apart first, which takes half a second, with open_clip more than one.
    """
    status, stopped_by = 1, None  # the status of a traceback

    def leave():
        nonlocal status
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # its reader has gone, or the disk is full
                status = status or 1
        if stopped_by:
            die_of(stopped_by)
        os._exit(status)

    atexit.register(leave)  # before any other library does, and so called after theirs
    try:
        script(main)
        status = 0
    except SystemExit as end:
        stopped_by = getattr(end, "which", None)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


def explained(error):
    """What to tell of an error and the exit status; None: it is a fault of the program."""
    if isinstance(error, UserError):
        return error, 1 if isinstance(error, Failure) else 2
    if isinstance(error, CheckpointError):
        return printable(error, 2000), 2
    if isinstance(error, OSError):
        return f"{printable(error.filename or 'output')}: {error.strerror or error}", 1
    if isinstance(error, ModuleNotFoundError):
        return printable(missing(error)), 2
    if isinstance(error, NonFiniteError):
        return f"{error}: float32 may help (--dtype float32), or lower weights", 1
    if is_out_of_memory(error):
        return (
            "out of memory: lower --batch-size, --chunk or --size, or use --low-memory",
            1,
        )
    return None


def _mend_streams():
    """Makes stdout and stderr fit to print any file name on, even where they were closed.

    Lines are written whole: torchrun starts its processes unbuffered, and then the line of one
    would end in the midst of another's.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
            if stream.write_through:
                stream.reconfigure(write_through=False, line_buffering=True)


def heeded():
    """The signals that end a run: a shell has its background jobs ignore the Ctrl-C of others."""
    return [which for which in STOPS if signal.getsignal(which) != signal.SIG_IGN]


def finished_images_are_kept():
    """Until here there was nothing to lose; from here on a Ctrl-C must not cut a file short."""

    def stop(which, frame):
        began = time.monotonic()

        def again(which, frame):
            # torchrun passes on the Ctrl-C that a terminal has sent to its processes as well.
            if time.monotonic() - began > 1:
                die_of(which)

        for each in heeded():
            signal.signal(each, again)
        raise Stop(which)

    for each in heeded():
        signal.signal(each, stop)
