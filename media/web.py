"""Small files from the web, for image prompts: bounded in bytes and in seconds."""

import http.client
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from models.web import web_opener
from values.errors import UserError, printable

TIME_LIMIT = 120.0  # seconds for one file, however steadily it drips


def download(url, max_bytes, timeout=20.0, time_limit=TIME_LIMIT):
    """The bytes behind an http or https address.

    Args:
        url: the address; redirects are followed, to http and https only.
        max_bytes: the most to accept, whatever the server announces.
        timeout: seconds to wait for each sign of life.
        time_limit: seconds for all of it.
    Raises:
        UserError: for anything that goes wrong, in one line.
    """
    deadline = time.monotonic() + time_limit
    answer = queue.SimpleQueue()

    def work():
        try:
            answer.put(_fetch(url, max_bytes, timeout, deadline))
        except BaseException as error:
            answer.put(error)

    # A look-up of the name or a server that sends its headers byte by byte obeys no time-out of
    # the socket. So a thread waits for them, and is left behind when time is up.
    threading.Thread(target=work, daemon=True).start()
    try:
        result = answer.get(timeout=time_limit)
    except queue.Empty:
        result = _TooSlow()
    if isinstance(result, bytes):
        return result
    name = printable(url, 200)
    if isinstance(result, _TooSlow):
        raise UserError(f"{name}: not complete after {time_limit:g} seconds: download it by hand")
    raise UserError(f"{name}: {_reason(result, max_bytes, timeout)}") from result


class _TooSlow(Exception):
    pass


class _TooLarge(Exception):
    pass


def _fetch(url, max_bytes, timeout, deadline):
    request = urllib.request.Request(_ascii(url), headers={"User-Agent": "v-diffusion"})
    with web_opener().open(request, timeout=timeout) as response:
        data = bytearray()
        while chunk := response.read1(1 << 16):
            data += chunk
            if len(data) > max_bytes:
                raise _TooLarge
            if time.monotonic() > deadline:
                raise _TooSlow
        if response.length:  # what the server announced and did not send
            raise http.client.IncompleteRead(b"", response.length)
    return bytes(data)


def _ascii(url):
    parts = urllib.parse.urlsplit(url)
    keep = "/%:@!$&'()*+,;=~?"
    return parts._replace(
        path=urllib.parse.quote(parts.path, safe=keep),
        query=urllib.parse.quote(parts.query, safe=keep),
        fragment="",
    ).geturl()


def _reason(error, max_bytes, timeout):
    if isinstance(error, _TooLarge):
        return f"larger than {max_bytes / 2**20:g} MiB: download it and make it smaller"
    if isinstance(error, urllib.error.HTTPError):
        if 300 <= error.code < 400:
            return "redirects in circles or to what is not http or https: check the address"
        return f"the server answers {error.code} {printable(error.reason, 80)}: check the address"
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no answer for {timeout:g} seconds: try again or download it by hand"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke off: try again or download it by hand"
    text = printable(str(error) or type(error).__name__, 120)
    return f"cannot be downloaded ({text}): check the address"
