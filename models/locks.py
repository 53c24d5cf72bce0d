"""A lock that dies with its process, so that two of them do not write one file."""

import contextlib
import errno
import os
import sys

from filelock import FileLock, Timeout

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP}  # of a file system that has none


@contextlib.contextmanager
def locked(path, tell=None):
    """A context that one process at a time can be in, for each path; the others wait.

    It is a lock on `FILE.lock`, which is removed at the end. The system lets go of it when its
    process dies, however that happens. Where the file system has no locks there is none.

    Args:
        path: what is being made.
        tell: a line for stderr, printed if we have to wait.
    """
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if tell:
            print(tell, file=sys.stderr)
        lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        # Who waits for it sees that its file has no name any more, and makes another.
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()
