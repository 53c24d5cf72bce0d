"""What a script does before it imports anything else, so that this is told in a line, too."""

import contextlib
import os
import signal
import sys


def begin():
    """Has Ctrl-C end the script at once, and a package that is missing told in a line."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as shells start what ends with `&`
        signal.signal(signal.SIGINT, quit_at_once)
    sys.excepthook = _tell


def quit_at_once(which, frame):
    """A handler of signals: one line on stderr, and the end.

    An exception raised in the middle of an import would be swallowed, or leave it half-done.
    """
    with contextlib.suppress(OSError):  # nobody reads stderr
        os.write(2, f"{os.path.basename(sys.argv[0])}: stopped\n".encode())
    die_of(which)


def die_of(which):
    """Ends the process by a signal, as if nothing had been done about it.

    An exit status would not do: a shell's loop ends only where its command dies of the Ctrl-C.
    """
    signal.signal(which, signal.SIG_DFL)
    signal.raise_signal(which)
    os._exit(128 + which)  # on systems where that was not the end


def missing(error):
    """What to say of a ModuleNotFoundError."""
    package = (error.name or "a package").partition(".")[0][:60]
    return (
        f"{package} is not installed for this Python: first . .venv/bin/activate, which make "
        "sample has made, or install requirements.txt"
    )


def _tell(kind, error, traceback):
    if not isinstance(error, ModuleNotFoundError):
        sys.__excepthook__(kind, error, traceback)
        return
    print(f"{os.path.basename(sys.argv[0])}: error: {missing(error)}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(2)  # the interpreter's own status would be 1
