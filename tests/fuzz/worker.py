"""Runs fuzz tests in a process of their own, within limits of time and memory for each case.

What hangs or takes too much is stopped wherever it is, in Pillow's or torch's own code as well.
Time is that of the CPU, so that a case passes on a busy machine as on a quiet one; only a case that
waits for something, and so uses none, is told by the clock on the wall.
"""

import contextlib
import faulthandler
import functools
import importlib
import multiprocessing
import os
import shutil
import signal
import traceback
from pathlib import Path

SECONDS = 10  # of CPU time a case may take
PATIENCE = 100 * SECONDS  # of the clock: for a case that waits, whatever else the machine does
BYTES = 2 * 2**30  # a case may add to the memory in use
FEW = 80  # cases of each test, where FUZZ_CASES does not say otherwise
SHOWN = 20_000  # characters of a case that stopped the process


class Worker:
    """The process that runs tests, started when it is needed and again after it was stopped.

    Args:
        folder: where to work; one for this alone.
        seconds, patience, size: the limits of a case.
    """

    def __init__(self, folder, seconds=SECONDS, patience=PATIENCE, size=BYTES):
        self.folder, self.size = Path(folder), size
        self.limits = (seconds, patience, size)
        self.process = None

    def run(self, module, name, arguments):
        """Runs a Hypothesis test of a module with arguments beside those that it draws.

        Returns:
            (how many cases there were, what went wrong as text or None).
        """
        if self.process is None:
            self._start()
        self.connection.send((module, name, arguments))
        cases, case, why = 0, "", "by the time limit, with a traceback on stderr, or it crashed"
        try:
            while True:
                if self.connection.poll(0.05):
                    case, failure = self.connection.recv()
                    if case is None:
                        return cases, failure
                    cases += 1
                # The worker looks at its peak after each case; this is for those that never end.
                elif in_memory(self.process.pid, "VmRSS") > 2 * self.size:
                    self.process.kill()
                    why = "as it took too much memory"
        except EOFError:
            self.close()
            return cases, f"the process was stopped {why}; the case:\n{case}"

    def close(self):
        if self.process is not None:
            self.connection.close()
            self.process.join()
            self.process = None

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, self.folder, *self.limits), daemon=True
        )
        self.process.start()
        theirs.close()


def serve(connection, folder, *limits):
    """The worker's own part: runs what comes over the connection until that is closed."""
    faulthandler.enable()
    load_profile()
    while True:
        try:
            module, name, arguments = connection.recv()
        except EOFError:
            return
        test = getattr(importlib.import_module(module), name)
        inner = test.hypothesis.inner_test
        test.hypothesis.inner_test = limited(inner, connection, folder, *limits)
        try:
            test(**arguments)
            failure = None
        except BaseException:
            failure = traceback.format_exc()
        finally:
            test.hypothesis.inner_test = inner
        connection.send((None, failure))


def limited(test, connection, folder, seconds, patience, size):
    """A test whose every case is told, then runs in an empty folder and within the limits."""
    os.chdir(folder)

    @functools.wraps(test)
    def run(*args, **kwargs):
        connection.send((repr((args, kwargs))[:SHOWN], None))
        with emptied(folder), in_time(seconds, patience), in_bytes(size):
            test(*args, **kwargs)

    return run


@contextlib.contextmanager
def emptied(folder):
    """Leaves nothing in a folder at the end."""
    try:
        yield
    finally:
        for entry in os.scandir(folder):
            shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)


@contextlib.contextmanager
def in_time(seconds, patience):
    """Ends the process, with a traceback on stderr, after so many seconds of CPU or of the clock.

    The signal of the CPU timer ends a process that does not handle it; the traceback comes first.
    """
    faulthandler.register(signal.SIGPROF, chain=True)
    faulthandler.dump_traceback_later(patience, exit=True)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def in_bytes(size):
    """An AssertionError if memory grew by more, if only for a moment. Only Linux can tell."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
    before = in_memory("self", "VmHWM")
    yield
    grown = in_memory("self", "VmHWM") - before
    assert grown <= size, f"{grown / 2**20:.0f} MiB of memory were taken"


def in_memory(pid, what):
    """Bytes of a process in memory, now (VmRSS) or at most (VmHWM); 0 where that is unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:")]
    return found[0] if found else 0


def load_profile():
    """FUZZ_CASES of each test, others each time; without it a few, the same every time."""
    from hypothesis import HealthCheck, Phase, settings

    many = int(os.environ.get("FUZZ_CASES") or 0)
    always = {
        "deadline": None,  # the worker has its own
        "suppress_health_check": list(HealthCheck),
        "phases": set(Phase) - {Phase.explain},
    }
    settings.register_profile("few", max_examples=FEW, derandomize=True, database=None, **always)
    settings.register_profile("many", max_examples=max(many, 1), print_blob=True, **always)
    settings.load_profile("many" if many else "few")
