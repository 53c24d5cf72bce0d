"""SHA-256 of large files, remembered beside them: 2.4 GB are hashed once, not at every start."""

import contextlib
import functools
import hashlib
import os
import re
from pathlib import Path

MEMO = re.compile(r"([0-9a-f]{64}) (\d+) (\d+)\n")


def sha256(path):
    """The SHA-256 of a file, as 64 hexadecimal digits.

    It is remembered in `FILE.sha256` (hash, size in bytes, modification time in nanoseconds) and
    computed again when size or time have changed. Where the folder cannot be written to, or
    `FILE.sha256` is somebody else's, each process computes it once. Whoever can write to the folder
    can forge what is remembered; the hash guards against damage and mistakes there, not against
    them.

    Raises:
        OSError: if the file cannot be read.
    """
    path = Path(path)
    before = path.stat()
    memo = MEMO.fullmatch(read_memo(path))
    if memo and (int(memo[2]), int(memo[3])) == (before.st_size, before.st_mtime_ns):
        return memo[1]
    digest = hash_once(path.absolute(), before.st_size, before.st_mtime_ns)
    after = path.stat()
    # A file that changes while it is read has no hash worth remembering.
    if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
        remember(path, digest, after)
    return digest


@functools.lru_cache(64)
def hash_once(path, size, time):
    """The SHA-256 of a file, computed once in a process while its size and time stay the same."""
    return hash_file(path)


def hash_file(path):
    """The SHA-256 of a file as it is now."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remember(path, digest, stat=None):
    """Writes `FILE.sha256`, if it can; a file of that name in another format is left alone."""
    if "site-packages" in path.parts:  # pip removes what it has installed, and nothing else
        return
    stat = stat or path.stat()
    memo = read_memo(path)
    if memo and not MEMO.fullmatch(memo):
        return
    part = path.with_name(f"{path.name}.sha256.{os.getpid()}.part")
    try:
        part.write_text(f"{digest} {stat.st_size} {stat.st_mtime_ns}\n")
        os.replace(part, f"{path}.sha256")
    except OSError:  # a folder that may only be read
        with contextlib.suppress(OSError):
            part.unlink()


def read_memo(path):
    """The text of `FILE.sha256`; "": there is none. One that cannot be read is none of ours."""
    try:
        with open(f"{path}.sha256", "rb") as file:
            return file.read(200).decode("ascii", "replace")
    except FileNotFoundError:
        return ""
    except OSError:
        return "unreadable"
