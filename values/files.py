"""Files that are whole or absent and never replace another unasked; and those that are read."""

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path

from values.errors import UserError, printable


@contextlib.contextmanager
def open_regular(path):
    """A regular file opened for reading bytes; UserError for what is none or cannot be read."""
    name = printable(path, 200)
    try:
        if "\0" in os.fspath(path):
            raise OSError(None, "no file has such a name")
        with open(path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{name}: not a regular file (folder, pipe or device): name a file")
            yield file
    except FileNotFoundError:
        raise UserError(f"{name}: no such file: check the path") from None
    except IsADirectoryError:
        raise UserError(f"{name}: is a folder: name a file in it") from None
    except (OSError, UnicodeEncodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{name}: cannot be read: {printable(why, 80)}") from None


@contextlib.contextmanager
def open_limited(path, max_bytes):
    """A regular file of limited size, open for reading; else a UserError."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise _too_large(path, max_bytes)
        yield file


def read_file(path, max_bytes):
    """The bytes of a regular file; UserError for what is none, is missing or is too large."""
    with open_limited(path, max_bytes) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, max_bytes) + 1)  # read() sets as much memory aside
    if len(data) > max_bytes:
        raise _too_large(path, max_bytes)
    return data


def _too_large(path, max_bytes):
    name = printable(path, 200)
    return UserError(f"{name}: larger than {max_bytes / 2**20:g} MiB: make it smaller")


def _open_without_waiting(path, flags):
    # Opening a pipe that nobody writes to would wait for ever. Windows has neither.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_whole(path, write, overwrite=False):
    """Write a file that appears at its place complete, or not at all.

    Args:
        path: the file; its folder exists.
        write: function (path of a new file beside it) that writes the content there.
        overwrite: whether to replace an existing file. Where not, it is left untouched even if
            it appears while this one is being written.
    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: it cannot be written.
    """
    path = Path(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} exists")
    part = path.with_name(f".{secrets.token_hex(8)}.part")  # beside it: on the same file system
    try:
        part.touch(exist_ok=False)
        mode = part.stat().st_mode
        write(part)
        part.chmod(mode)  # safetensors makes files that nobody else can read
        if overwrite:
            os.replace(part, path)
        else:
            _place(part, path)
    finally:
        part.unlink(missing_ok=True)


def _place(part, path):
    """Give a complete file its name unless that name is taken, as one step."""
    try:
        os.link(part, path)
        return
    except FileExistsError:
        raise
    except (OSError, AttributeError, NotImplementedError):
        pass  # a file system without links, such as exFAT
    # Claim the name with an empty file, then replace that.
    with open(path, "xb"):
        pass
    try:
        os.replace(part, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def expanded(path):
    """A path, or an address, with the home folder that a leading ~ stands for."""
    return os.path.expanduser(path) if path.startswith("~") else path


def file_name(source):
    """The name of a file or address without its folders, query and credentials."""
    source = str(source)
    if re.match("[a-z][a-z0-9+.-]+://", source, re.IGNORECASE):
        source = re.split("[?#]", source)[0].partition("://")[2]
    return re.split(r"[/\\]", source.rstrip("/\\"))[-1]
