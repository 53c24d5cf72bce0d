"""A page, in one file, of the images in a folder: to look through, filter, compare, draw again.

    path = gallery.write("runs")            # runs/index.html

It works from the disk, without a server and without a script from elsewhere, and refers to the PNGs
by relative names. Its policy lets nothing leave the page. Prompts are strangers' texts: they reach
the page as JSON and stay text.
"""

import base64
import hashlib
import html
import json
import os
import re
import urllib.parse
from pathlib import Path

from media.preview import is_preview
from recipes import commands, info
from values.errors import UserError, printable
from values.files import open_regular, write_whole
from values.names import PICTURES
from values.picture_types import GALLERY

GENERATOR = "v-diffusion make_gallery.py"
MAX_TEXT = 2**16  # characters of what is told of an image; a longer text is no recipe for people
HERE = Path(__file__).parent


def write(folder, output=None, recursive=False, overwrite=False):
    """Write the gallery of a folder's PNGs; it appears whole or not at all.

    A gallery that is there already is replaced: it holds nothing of its own.

    Args:
        folder: where the PNGs are.
        output: the file to write; None: `index.html` in the folder.
        recursive: whether those in folders within count, too.
        overwrite: whether another file may be replaced as well.
    Returns:
        (path, names): the Path of the file, and of the PNGs those without a readable recipe.
    Raises:
        UserError: if there is no PNG, or the file cannot be written or is another's.
    """
    path = check(folder, output, overwrite)
    files = find(folder, recursive)
    if not files:
        raise UserError(f"{printable(folder, 200)} holds no PNGs" + ("" if recursive else HINT))
    entries = [entry(file, path.parent) for file in files]
    title = printable(Path(folder).absolute().name or "images", 200)
    text = page(title, entries).encode("utf-8", "surrogatepass")
    try:
        write_whole(path, lambda part: part.write_bytes(text), overwrite=True)
    except OSError as error:
        why = printable(error.strerror or error, 80)
        raise UserError(f"{printable(path, 200)} cannot be written: {why}") from None
    return path, [entry["name"] for entry in entries if entry["problem"]]


HINT = ": name another folder, or use --recursive for the folders in it"


def check(folder, output=None, overwrite=False, later=False):
    """The Path that a gallery of a folder is written to; UserError if it must not be.

    Args:
        folder, output, overwrite: as for `write`.
        later: whether the folder may be missing yet.
    """
    folder = Path(folder)
    later = later and not os.path.lexists(folder)
    if not folder.is_dir() and not later:
        what = "is not a folder" if os.path.lexists(folder) else "no such folder"
        raise UserError(f"{printable(folder, 200)}: {what}: name one with PNGs")
    path = folder if output is None else Path(output)
    if output is None or (path.is_dir() and not path.suffix):
        path /= GALLERY
    shown = printable(path, 200)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"the output name {shown} must end in .html")
    if not path.parent.is_dir() and not (later and path.parent == folder):
        raise UserError(f"{printable(path.parent, 200)}: no such folder: make it first")
    if path.is_dir():
        raise UserError(f"{shown} is a folder: choose another output name")
    if os.path.lexists(path) and not overwrite and not _is_ours(path):
        raise UserError(
            f"{shown} exists and is no gallery: choose another output name or --overwrite"
        )
    return path


def find(folder, recursive=False):
    """The paths of a folder's PNGs, and JPEGs and WebPs with recipes, in order of their names."""
    found = []

    def stop(error):
        why = printable(error.strerror or error, 80)
        raise UserError(f"{printable(error.filename, 200)} cannot be read: {why}")

    for place, folders, names in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and recursive)
        visible = (name for name in names if name.lower().endswith(PICTURES) and name[0] != ".")
        found += [Path(place, name) for name in sorted(visible)]
    return [path for path in found if _is_shown(path)]


def _is_shown(path):
    """Whether a picture is no preview, and is a PNG or says how it was made, as no photo does."""
    if path.suffix.lower() == ".png":
        return not is_preview(path)
    try:
        return bool(info.find(path))
    except UserError:
        return False


def entry(file, base):
    """What the page knows of an image: a dict for JSON.

    Args:
        file: the path of the PNG, as commands are to name it.
        base: the folder of the page.
    """
    try:
        relative = os.path.relpath(file, base)
    except ValueError:
        raise UserError("put the gallery on the drive that the images are on") from None
    told = {"size": (0, 0), "rows": [], "prompt": "", "seed": None}
    again, problem = commands.Command([], []), ""
    try:
        found = info.find(file)
        told["size"], rows = found.size, info.rows(found)
        if sum(len(name) + len(text) for name, text in rows) > MAX_TEXT:
            raise UserError("its recipe is too long to show")
        told |= {"rows": rows, "prompt": info.prompt(found), "seed": info.seed(found)}
        again = _command(found.recipe, file, base)
    except UserError as error:
        problem = str(error).removeprefix(f"{printable(file, 200)}: ")
    return {
        "name": printable(Path(relative).as_posix(), 1000),
        "src": urllib.parse.quote(os.fsencode(Path(relative).as_posix())),
        "width": told["size"][0],
        "height": told["size"][1],
        "time": _time(file),
        "seed": told["seed"],
        "prompt": told["prompt"],
        "rows": told["rows"],
        "command": again.line(),
        "notes": again.notes,
        "problem": problem,
    }


def page(title, entries):
    """The HTML of a gallery."""
    style, script = ((HERE / f"gallery.{kind}").read_text("utf-8") for kind in ("css", "js"))
    # `self` is for a server, `file:` for the disk, `data:` for the icon that there is none.
    policy = (
        f"default-src 'none'; img-src 'self' file: data:; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(entries, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "policy": policy,
        "generator": GENERATOR,
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": data,
    }
    template = (HERE / "gallery.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda field: parts[field[1]], template)


def _command(recipe, file, base):
    """The Command for our recipes, as the page's folder sees all files; of others none."""
    if recipe is None:
        return commands.Command([], [])
    return commands.command(recipe, os.path.relpath(file, base), _scripts(base), base)


def _scripts(base):
    """The folder of the scripts as the page's folder sees it; None: which one it is, is private.

    Pages are given to others: they name no folders but those that the page lies in, those within
    the folder that it is made in, and those within one's home, which is not named itself.
    """
    path, home = os.path.abspath(HERE.parent), os.path.expanduser("~")
    try:
        seen = os.path.relpath(path, base)
    except ValueError:  # on another drive
        return None
    is_above = set(seen.split(os.sep)) <= {os.pardir, os.curdir}
    if is_above or _is_within(path, os.getcwd()):
        return os.path.join(os.curdir, seen) if seen.startswith("~") else seen
    if home != os.sep and _is_within(path, home):
        return f"~/{os.path.relpath(path, home)}"
    return None


def _is_within(path, folder):
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _time(file):
    """When a file was changed, in milliseconds as JavaScript counts them; 0: it is not there."""
    try:
        return int(os.stat(file).st_mtime * 1000)
    except OSError:  # a link to nowhere
        return 0


def _source(text):
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _is_ours(path):
    with open_regular(path) as file:
        return f'<meta name="generator" content="{GENERATOR}">'.encode() in file.read(4096)
