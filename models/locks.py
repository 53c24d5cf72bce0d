"""A lock that dies with its process, so that two of them do not write one file."""

import contextlib
import os
import sys
import time

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


@contextlib.contextmanager
def locked(path, tell=True):
    """A context that one process at a time can be in, for each path; the others wait.

    It is a lock on `FILE.lock`, removed at the end. The system lets go of it when its process dies,
    however that happens.

    Args:
        path: what is being made.
        tell: whether to say on stderr that we wait.
    """
    lock_path = path.with_name(f"{path.name}.lock")
    while True:
        with open(lock_path, "ab") as lock:
            while not try_lock(lock):
                if tell:
                    tell = False
                    print(
                        f"waiting for another process that downloads {path.name}", file=sys.stderr
                    )
                time.sleep(0.2)
            # The one before us removed its lock file: what we hold may have no name any more.
            try:
                ours = os.path.samestat(os.fstat(lock.fileno()), os.stat(lock_path))
            except FileNotFoundError:
                ours = False
            if ours:
                try:
                    yield
                finally:
                    with contextlib.suppress(OSError):
                        lock_path.unlink()
                return


def try_lock(file):
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        if not fcntl:
            return False
        # A file system without locks: better to go on without one than not at all.
    return True
