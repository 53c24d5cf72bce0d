"""Downloads of large files whose SHA-256 is known beforehand.

The hash decides when a file is complete. Sizes, ranges and types are what a server says, and are
taken as hints: one that lies costs time and never gives a wrong file.
"""

import hashlib
import http.client
import os
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

from models import hashes
from models.locks import locked
from models.web import web_opener

TIMEOUT = 30.0  # seconds without a sign of life
ATTEMPTS = 5  # in a row without getting any further
PAUSE = 1.0  # seconds before the second attempt, twice as long before each next one
LARGEST = 16 * 2**30  # bytes that are written at the most
CHUNK = 2**20  # bytes read at a time; also what counts as getting further
PATIENT_WITH = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may pass
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError)


class DownloadError(Exception):
    """A download failed for good; its message is one line and tells how to do it by hand.

    Its attribute `reason` is the first half of that.
    """


class Hopeless(Exception):
    """Another attempt would end the same way."""


class Broken(Exception):
    """Another attempt may succeed."""


def download(url, path, sha256, progress=True):
    """Downloads a file to its place, going on where an earlier attempt broke off.

    The bytes go to `FILE.part` and stay there for the next attempt or the next start; the file gets
    its name once its hash is right. Processes that want the same file wait for the first of them.

    Args:
        url: its http or https address; redirects are followed, to http and https only.
        path: where to put it. A file that is there already is kept, if it has the right hash.
        sha256: its hash, 64 hexadecimal digits.
        progress: whether to say on stderr what happens, with a bar if that is a terminal.
    Raises:
        DownloadError: for anything that goes wrong.
    """
    path, expected = Path(path).absolute(), sha256.lower()
    try:
        check_address(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        waits = f"waiting for another process that downloads {path.name}" if progress else None
        with locked(path, waits):
            if os.path.lexists(path):
                if (found := hashes.sha256(path)) != expected:
                    raise Hopeless(f"a file is there already, with SHA-256 {found}")
                return
            fetch(url, path, expected, progress)
    except (Hopeless, OSError) as error:
        reason = error if isinstance(error, Hopeless) else os_reason(error)
        failure = DownloadError(
            f"cannot download {path.name}: {reason}; by hand: get {url!r}, check that its SHA-256 "
            f"is {expected} and put it at {path}"
        )
        failure.reason = f"cannot download {path.name} from {url}: {reason}"
        raise failure from error


def os_reason(error):
    """An OSError in words, without its number."""
    name = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error or type(error).__name__}{name}"


def check_address(url):
    """Raises Hopeless unless `url` is an http or https address."""
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise Hopeless(f"{url!r} is not an http or https address")


def fetch(url, path, expected, progress):
    """Attempts until the bytes have the expected hash; Hopeless when that leads nowhere."""
    part_path = path.with_name(f"{path.name}.part")
    failures, furthest = 0, 0
    if progress and not sys.stderr.isatty():
        print(f"downloading {path.name} from {url}", file=sys.stderr)
    with (
        Part(part_path) as part,
        tqdm(
            desc=path.name,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            dynamic_ncols=True,
            disable=None if progress else True,  # None: where no terminal shows it
        ) as bar,
    ):
        while part.digest() != expected:
            try:
                judge(part, expected, receive(url, part, bar))
            except ValueError as error:  # an address that a redirect made up
                raise Hopeless(str(error)) from error
            except (Broken, *NETWORK_ERRORS) as error:
                if part.digest() == expected:
                    break
                reason = last_words(error)
                failures = 1 if part.size >= furthest + CHUNK else failures + 1
                furthest = max(furthest, part.size)
                if failures >= ATTEMPTS:
                    raise Hopeless(f"{reason} ({failures} attempts)") from error
                if progress:
                    bar.write(f"{path.name}: {reason}; trying again", file=sys.stderr)
                time.sleep(PAUSE * 2 ** (failures - 1))
    if hashes.hash_file(part_path) != expected:
        part_path.unlink()
        raise Hopeless(
            "what is on the disk is not what the server sent: something else wrote there"
        )
    os.replace(part_path, path)
    hashes.remember(path, expected)


def receive(url, part, bar):
    """One request for what is missing; its bytes are added to the part as they come.

    Returns:
        The size of the whole file in bytes, as the server says; None: it does not say.
    Raises:
        Broken or one of NETWORK_ERRORS: another attempt may get further.
        Hopeless: it would not.
    """
    headers = {"User-Agent": "v-diffusion", "Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    try:
        response = web_opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.restart()  # we have all that the server has, and it is not what we want
        raise Broken("what was there before does not fit the server's file") from error
    with response:
        total = place(response, part)
        if total is not None:
            if total > LARGEST:
                raise Hopeless(f"the server announces {total} bytes, more than {LARGEST}")
            free = shutil.disk_usage(part.path.parent).free
            if free < total - part.size:
                raise Hopeless(f"{total - part.size} bytes are missing, the disk has {free} left")
        bar.total, bar.initial, bar.n = total, part.size, part.size
        bar.refresh()
        end = LARGEST if total is None else total
        # read1 hands over what has come: nothing is lost when the rest does not.
        while chunk := response.read1(max(0, min(CHUNK, end - part.size))):
            part.write(chunk)
            bar.update(len(chunk))
    return total


def place(response, part):
    """Brings the part to where the answer's bytes begin; returns what `receive` returns."""
    length = response.headers.get("Content-Length", "")
    if response.status == 206:
        unit, _, content_range = response.headers.get("Content-Range", "").partition(" ")
        asked, _, total = content_range.partition("/")
        if unit != "bytes" or asked.partition("-")[0] != str(part.size):
            part.restart()
            raise Broken("the server sends another range than it was asked for")
        part.resumed = part.size > 0
        return number(total)
    if response.status != 200:
        raise Hopeless(f"the server answers with status {response.status}")
    part.restart()  # it knows no ranges, or its file has changed
    # A weak validator does not vouch for bytes.
    etag = response.headers.get("ETag", "")
    part.validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    return number(length)


def number(text):
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def judge(part, expected, size):
    """Raises Broken or Hopeless unless we have it all; `size`, in bytes, as the server says."""
    if part.digest() == expected:
        return
    if size is None and part.size >= LARGEST:
        part.restart()
        raise Hopeless(f"the server sends more than {LARGEST} bytes")
    if size is None or part.size < size:
        of = "" if size is None else f" of {size}"
        raise Broken(f"the connection broke after {part.size}{of} bytes")
    count, digest, page, resumed = part.size, part.digest(), part.is_page(), part.resumed
    part.restart()
    if resumed:  # the beginning may be of another file
        raise Broken("what was there before and what came now do not fit together")
    what = "an HTML page" if page else f"{count} bytes with SHA-256 {digest}"
    raise Hopeless(f"the server sends another file, {what}")


def last_words(error):
    """Why an attempt failed, for a message. Raises Hopeless where another one would fail too."""
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server answers {error.code} {error.msg!r}"
        if error.code not in PATIENT_WITH:
            raise Hopeless(reason) from error
        return reason
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, (str, ssl.SSLCertVerificationError, http.client.InvalidURL)):
        raise Hopeless(str(cause)) from error
    if isinstance(cause, TimeoutError):
        return f"no answer for {TIMEOUT:g} seconds"
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)


class Part:
    """The bytes got so far, in a file beside the place of the whole, and their running hash."""

    def __init__(self, path):
        self.path, self.validator, self.resumed = path, None, False
        self.file = open(path, "a+b")  # noqa: SIM115
        self.file.seek(0)
        self.hash = hashlib.file_digest(self.file, "sha256")
        self.size = self.file.seek(0, os.SEEK_END)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        if not self.size:
            self.path.unlink(missing_ok=True)

    def digest(self):
        return self.hash.hexdigest()

    def write(self, chunk):
        try:
            self.file.write(chunk)
            self.file.flush()
        except OSError as error:  # the disk, which no other attempt would mend
            raise Hopeless(f"cannot write {self.path}: {error.strerror}") from error
        self.hash.update(chunk)
        self.size += len(chunk)

    def restart(self):
        self.file.truncate(0)
        self.hash, self.size, self.resumed = hashlib.sha256(), 0, False

    def is_page(self):
        self.file.seek(0)
        return self.file.read(64).lstrip().lower().startswith((b"<!doctype", b"<html"))
