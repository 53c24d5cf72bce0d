"""Checkpoints as files: find one, download it, check its hash. Imports no torch.

A checkpoint is a stranger's file. Its hash is checked before anything parses it.
"""

import os
import sys
import urllib.parse
from pathlib import Path

import models
from models.hashes import sha256
from models.zoo import clip_row

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "checkpoints"
# What pip has installed is its own: what is downloaded goes elsewhere.
INSTALLED = "site-packages" in ROOT.parts
USUAL = (INSTALLED and models.cache.cache_folder("checkpoints")) or BUNDLED
CHECKPOINTS = Path(os.environ.get("V_DIFFUSION_CHECKPOINTS") or USUAL).expanduser()
SUFFIXES = (".pth", ".safetensors")
MAX_HEADER = 2**23  # bytes of a .safetensors header; ours have up to 70,000


class CheckpointError(Exception):
    """There is no usable checkpoint; the message is one line: what is wrong and what to do."""


def place_of(file, bundled):
    """Where a checkpoint is looked for; bundled: whether it comes with the suite."""
    return (BUNDLED if bundled and CHECKPOINTS == USUAL else CHECKPOINTS) / file


def present(network):
    """The network's file in `checkpoints/`; None: there is none."""
    own = place_of(network.file, bundled=not network.url)
    for path in (own, *(own.with_suffix(suffix) for suffix in SUFFIXES)):
        if os.path.isfile(path):
            return path
    return None


def is_present(network):
    """Whether the network's checkpoint is in `checkpoints/`, good or bad. Reads nothing."""
    return present(network) is not None


def find(network, checkpoint=None, mirror=None, progress=True):
    """The network's checkpoint as a file on this disk, downloaded if need be.

    A file in `checkpoints/` under its published name must have its published hash. One that the
    user names may be anything: people fine-tune.

    Args:
        network: a `models.zoo.Network`.
        checkpoint: the user's own file; None: the one in `checkpoints/`.
        mirror: address of a folder to download from instead of the published place; None: the
            environment's V_DIFFUSION_MIRROR, if that is set.
        progress: whether to show a download's progress on stderr.
    Returns:
        Its path. Nothing has parsed the file yet.
    Raises:
        CheckpointError: if there is none, or the wrong one.
    """
    if checkpoint is not None:
        path = Path(checkpoint)
        head_of(path)
        return path
    path = present(network) or place_of(network.file, bundled=not network.url)
    if not os.path.lexists(path):
        fetch(network, path, mirror, progress)
    head_of(path)
    if network.sha256 and path.name == network.file:
        verify(network, path)
    return path


def fetch(network, path, mirror, progress):
    """Downloads a published checkpoint to its place, from the first address that gives it."""
    if not network.url or not network.sha256:
        put = "put it there"
        if network.sha256:
            put = "it comes with the suite, so restore it"
        elif network.teacher:
            put = f"python -m train.distil --teacher {network.teacher} makes it (train/README.md)"
        raise CheckpointError(
            f"{path} is missing, and is published nowhere: {put}, or name a file with --checkpoint"
        )
    mirror = mirror or os.environ.get("V_DIFFUSION_MIRROR")
    urls = [network.url, *network.mirrors]
    if mirror:
        urls = [f"{mirror.rstrip('/')}/{urllib.parse.quote(network.file)}"]
    for url in urls:
        try:
            return models.downloads.download(url, path, network.sha256, progress=progress)
        except models.downloads.DownloadError as error:
            if url == urls[-1]:
                raise CheckpointError(f"{error}; --mirror names another place to look") from error
            if progress:
                print(f"{error.reason}; trying the next address", file=sys.stderr)


def verify(network, path):
    """Raises CheckpointError unless the file has the hash of the published one."""
    head = head_of(path)
    try:
        found = sha256(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if found != network.sha256:
        what = f"its SHA-256 is {found}, expected {network.sha256}"
        if page := strange(head):
            what = f"{page}; {what}"
        again = "delete it and it is downloaded again" if network.url else "restore it"
        raise CheckpointError(
            f"{path} is not the {network.name} checkpoint: {what}; {again}, or, if it is your own, "
            "move it and name it with --checkpoint"
        )


def head_of(path):
    """The first bytes of a file. Raises CheckpointError if it cannot be read or has none."""
    if os.path.isdir(path):
        raise CheckpointError(f"{path} is a directory, not a checkpoint")
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(f"{path} is a device or a pipe, not a checkpoint")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise CheckpointError(f"{path} is empty: delete it and get it again")
    return head


def strange(head):
    """What a file that begins so is, if it is something people often get for a checkpoint."""
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is an HTML page, which a server sent in its place"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; `git lfs pull` gets the file itself"
    return None


def header_fits(head):
    """Whether a .safetensors file that begins so has a header that takes no minutes to read."""
    return int.from_bytes(head[:8], "little") <= MAX_HEADER


def clip_file(name, checkpoint=None):
    """The file of weights that `models.clip.load` reads; None: open_clip finds it by itself."""
    bundled = clip_row(name).file
    return checkpoint or (place_of(bundled, bundled=True) if bundled else None)


def clip_sha256(name, checkpoint=None):
    """The SHA-256 of that file, None where there is none to name. Raises CheckpointError."""
    path = clip_file(name, checkpoint)
    if path is None:
        return None
    head_of(path)
    return sha256(path)
