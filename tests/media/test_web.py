import http.server
import threading

import pytest

from media.web import download
from values.errors import UserError


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        self.server.paths.append(self.path)
        getattr(self, self.path.split("?")[0].strip("/").split("/")[0], self.missing)()

    def answer(self, body=b"", status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self):
        self.answer(b"good", Content_Length=4)

    def missing(self):
        self.send_error(404, "Gone \x1b[31m fishing")

    def to(self):
        self.answer(status=302, Location=self.path[len("/to/") :])

    def endless(self):  # announces little, sends much
        self.answer(Content_Type="image/png")
        for _ in range(1000):
            self.wfile.write(b"x" * 65536)

    def liar(self):
        self.answer(b"half", Content_Length=8)

    def silent(self):
        self.server.free.wait(600)

    def drip(self):  # one byte of a header now and then: no single read times out
        for byte in b"HTTP/1.0 200 OK\r\nX: " + b"x" * 1000:
            if self.server.free.wait(0.05):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def nonsense(self):
        self.wfile.write(b"\x1b]0;SSH-2.0\r\n\r\n")

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that has heard enough hangs up


@pytest.fixture(scope="module")
def server():
    server = Server(("127.0.0.1", 0), Handler)
    server.free, server.paths = threading.Event(), []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.free.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _without_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def refusal(url, **limits):
    with pytest.raises(UserError) as refused:
        download(url, **{"max_bytes": 10**6, **limits})
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


def test_file_is_fetched(server):
    assert download(f"{server.url}/good", 4) == b"good"


def test_letters_beyond_ascii_are_encoded(server):
    assert download(f"{server.url}/good/köter 1%20.png?q=ü#f", 4) == b"good"
    assert server.paths[-1] == "/good/k%C3%B6ter%201%20.png?q=%C3%BC"


def test_redirects_are_followed(server):
    assert download(f"{server.url}/to/{server.url}/good", 4) == b"good"


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_redirects_lead_to_http_only(server, place):
    refusal(f"{server.url}/to/{place}")


def test_circles_of_redirects_end(server):
    assert "circles" in refusal(f"{server.url}/to/")


def test_missing_file_is_told_with_its_status(server):
    assert "404 Gone" in refusal(f"{server.url}/nothing")


def test_size_is_limited_whatever_the_server_says(server):
    assert "larger than 1 MiB" in refusal(f"{server.url}/endless", max_bytes=2**20)


def test_connection_that_breaks_off_is_told(server):
    assert "broke off" in refusal(f"{server.url}/liar")


def test_silent_server_is_given_up(server):
    assert "no answer for 0.2 seconds" in refusal(f"{server.url}/silent", timeout=0.2)


def test_dripping_server_is_given_up(server):
    assert "0.5 seconds" in refusal(f"{server.url}/drip", timeout=5, time_limit=0.5)


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[::1", "http://127.0.0.1:x/", "http://127.0.0.1:99999/", "http://a..b/"],
)
def test_impossible_address_is_told(url):
    refusal(url, timeout=1)


def test_refused_connection_and_nonsense_are_told(server):
    refusal("http://127.0.0.1:9/", timeout=1)
    refusal(f"{server.url}/nonsense")
