"""What a script does before it imports anything else, so that this is told in a line, too."""

import os
import signal
import sys


def begin():
    """Has Ctrl-C end the script at once, and a package that is missing told in a line."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as shells start what ends with `&`
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.excepthook = _tell


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
