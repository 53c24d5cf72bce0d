"""A web server on this machine that misbehaves as it is told."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves one file at every path; each request is answered by the next of `answers`.

    Args:
        data: the file's bytes.
        answers: functions (handler, server) -> None; the last one answers all further requests.
    """

    def __init__(self, data, *answers):
        self.data, self.answers = data, list(answers) or [whole]
        self.requests = []  # (path, headers) of each request
        self.stop = threading.Event()

    @property
    def ranges(self):
        """The Range header of each request, None where there was none."""
        return [headers.get("Range") for _, headers in self.requests]

    @contextmanager
    def running(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append((self.path, dict(self.headers)))
                answer = server.answers[min(len(server.requests), len(server.answers)) - 1]
                answer(self, server)

            def log_message(self, *_):
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads, http.block_on_close = True, False
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{http.server_port}/file.pth"
        try:
            yield self
        finally:
            self.stop.set()
            http.shutdown()
            http.server_close()


def head(handler, status, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def wanted(handler, server):
    """(first byte asked for, status): what a server that knows ranges makes of the request."""
    asked = handler.headers.get("Range")
    if not asked or handler.headers.get("If-Range", '"v1"') != '"v1"':
        return 0, 200
    return int(asked.removeprefix("bytes=").removesuffix("-")), 206


def good_head(handler, server):
    """The honest headers of an answer; returns the bytes that belong to it."""
    start, status = wanted(handler, server)
    if status == 206 and start >= len(server.data):
        head(handler, 416, Content_Range=f"bytes */{len(server.data)}")
        return b""
    body = server.data[start:]
    more = {}
    if status == 206:
        last = len(server.data) - 1
        more["Content_Range"] = f"bytes {start}-{last}/{len(server.data)}"
    head(handler, status, Content_Length=len(body), ETag='"v1"', **more)
    return body


def whole(handler, server):
    """All that is asked for."""
    handler.wfile.write(good_head(handler, server))


def breaks_after(count):
    """Announces all, sends `count` bytes, hangs up."""

    def answer(handler, server):
        handler.wfile.write(good_head(handler, server)[:count])

    return answer


def hangs_after(count):
    """Announces all, sends `count` bytes, then nothing, and does not hang up."""

    def answer(handler, server):
        handler.wfile.write(good_head(handler, server)[:count])
        handler.wfile.flush()
        server.stop.wait(600)

    return answer


def halts_until(event):
    """All that is asked for, the second half of it when the event is set."""

    def answer(handler, server):
        body = good_head(handler, server)
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        event.wait(600)
        handler.wfile.write(body[len(body) // 2 :])

    return answer


def without_ranges(count=None):
    """Sends the file from its beginning whatever is asked for; hangs up after `count` bytes."""

    def answer(handler, server):
        head(handler, 200, Content_Length=len(server.data))
        handler.wfile.write(server.data[:count])

    return answer


def announces(length, sends=None):
    """Lies about the size: says `length`, sends the file, or `sends`, and hangs up."""

    def answer(handler, server):
        head(handler, 200, Content_Length=length)
        handler.wfile.write(server.data if sends is None else sends)

    return answer


def endless(handler, server):
    """Announces no size and does not stop."""
    head(handler, 200)
    while not server.stop.is_set():
        handler.wfile.write(bytes(2**16))


def status(code):
    """An error, or what else a status alone says."""

    def answer(handler, server):
        head(handler, code, Content_Length=0)

    return answer


def redirects(url, code=302):
    """Sends the client elsewhere."""

    def answer(handler, server):
        head(handler, code, Location=url, Content_Length=0)

    return answer
