"""Files that are whole or absent, and never replace another unasked."""

import os
import secrets
from pathlib import Path


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
        write(part)
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
