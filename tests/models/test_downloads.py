import hashlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models import downloads
from models.downloads import DownloadError, download
from tests.models import server as does
from tests.models.server import Server

ROOT = Path(__file__).parents[2]
DATA = bytes(range(256)) * 4000 + b"the end"
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pth"


@pytest.fixture
def written(monkeypatch):
    """The number of bytes of every write."""
    counts, write = [], downloads.Part.write
    monkeypatch.setattr(
        downloads.Part, "write", lambda part, chunk: counts.append(len(chunk)) or write(part, chunk)
    )
    return counts


def run(path, *answers, data=DATA):
    """Downloads from a server with these answers; returns the server, to be asked what it saw."""
    with Server(data, *answers).running() as server:
        download(server.url, path, HASH, progress=False)
    return server


def left(path):
    return sorted(p.name for p in path.parent.iterdir())


def fails(path, *answers, **options):
    """The message of a download that does not succeed and must leave no file in its place."""
    with pytest.raises(DownloadError) as caught:
        run(path, *answers, **options)
    assert not path.exists()
    message = str(caught.value)
    assert "\n" not in message
    assert HASH in message
    assert str(path) in message
    return message


def test_file_arrives_and_nothing_else_is_left(path):
    assert run(path).ranges == [None]
    assert path.read_bytes() == DATA
    assert left(path) == ["file.pth", "file.pth.sha256"]


def test_folder_is_made(tmp_path):
    run(tmp_path / "a" / "b" / "file.pth")
    assert (tmp_path / "a" / "b" / "file.pth").read_bytes() == DATA


def test_broken_connections_are_resumed_where_they_broke(path):
    server = run(path, does.breaks_after(1000), does.breaks_after(2000), does.whole)
    assert server.ranges == [None, "bytes=1000-", "bytes=3000-"]
    assert [headers.get("If-Range") for _, headers in server.requests] == [None, '"v1"', '"v1"']
    assert path.read_bytes() == DATA


def test_resumes_after_a_restart(path):
    path.with_name("file.pth.part").write_bytes(DATA[:5000])
    assert run(path).ranges == ["bytes=5000-"]
    assert path.read_bytes() == DATA


def test_complete_part_needs_no_server(path):
    path.with_name("file.pth.part").write_bytes(DATA)
    download("http://127.0.0.1:9/file.pth", path, HASH, progress=False)
    assert left(path) == ["file.pth", "file.pth.sha256"]


def test_part_of_another_file_is_thrown_away(path):
    path.with_name("file.pth.part").write_bytes(b"x" * 5000)
    assert run(path).ranges == ["bytes=5000-", None]
    assert path.read_bytes() == DATA


def test_part_that_is_too_long_is_thrown_away(path):
    path.with_name("file.pth.part").write_bytes(DATA + b"x")  # the server answers 416
    assert run(path).ranges == [f"bytes={len(DATA) + 1}-", None]
    assert path.read_bytes() == DATA


def test_server_that_ignores_ranges_starts_over(path):
    server = run(path, does.without_ranges(1000), does.without_ranges())
    assert server.ranges == [None, "bytes=1000-"]
    assert path.read_bytes() == DATA


def test_file_that_changed_on_the_server_starts_over(path):
    def changed(handler, server):
        handler.headers.replace_header("If-Range", '"of the old file"')
        does.whole(handler, server)

    run(path, does.breaks_after(1000), changed)
    assert path.read_bytes() == DATA


def test_server_that_sends_another_range_is_not_trusted(path):
    def shifted(handler, server):
        does.head(handler, 206, Content_Range=f"bytes 7-{len(DATA) - 1}/{len(DATA)}")
        handler.wfile.write(DATA[7:])

    server = run(path, does.breaks_after(1000), shifted, does.whole)
    assert server.ranges == [None, "bytes=1000-", None]
    assert path.read_bytes() == DATA


def test_range_with_an_absurd_total_is_survived(path, written):
    def absurd(handler, server):
        does.head(handler, 206, Content_Range="bytes 1000-2000/10")
        handler.wfile.write(DATA[1000:])

    run(path, does.breaks_after(1000), absurd, does.whole)
    assert sum(written) == 1000 + len(DATA)  # nothing of the absurd answer
    assert path.read_bytes() == DATA


def test_announcing_too_much_does_not_matter_once_all_is_there(path, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    assert run(path, does.announces(len(DATA) + 1000)).ranges == [None]
    assert path.read_bytes() == DATA


@pytest.mark.slow
def test_hanging_does_not_matter_once_all_is_there(path, monkeypatch):
    def more_to_come(handler, server):
        does.announces(len(DATA) + 1000)(handler, server)
        handler.wfile.flush()
        server.stop.wait(20)

    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    run(path, more_to_come)
    assert path.read_bytes() == DATA


def test_announcing_too_little_gives_no_file(path):
    message = fails(path, does.announces(1000))
    assert "another file, 1000 bytes" in message
    assert left(path) == []


def test_no_more_is_written_than_the_limit(path, written, monkeypatch):
    monkeypatch.setattr(downloads, "LARGEST", 100_000)
    assert "sends more than 100000 bytes" in fails(path, does.endless)
    assert sum(written) == 100_000
    assert left(path) == []
    assert "more than 100000" in fails(path)


def test_full_disk_is_noticed_before(path, monkeypatch):
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert f"{len(DATA)} bytes are missing, the disk has 1000 left" in fails(path)


def test_full_disk_is_noticed_while_writing(path, monkeypatch):
    def full(part, chunk):
        raise OSError(28, "No space left on device")

    class File:
        truncate = close = lambda *_: None
        write = full

    init = downloads.Part.__init__
    monkeypatch.setattr(
        downloads.Part, "__init__", lambda part, p: init(part, p) or setattr(part, "file", File())
    )
    assert "No space left on device" in fails(path)


def test_wrong_bytes_give_no_file(path):
    message = fails(path, data=b"x" + DATA[1:])
    assert "another file" in message
    assert left(path) == []


def test_html_page_is_called_one(path):
    assert "an HTML page" in fails(path, data=b"<!DOCTYPE html><title>Log in</title>")


def test_missing_file_is_not_asked_for_twice(path):
    with Server(DATA, does.status(404)).running() as server:
        with pytest.raises(DownloadError, match="404") as caught:
            download(server.url, path, HASH, progress=False)
        assert len(server.requests) == 1
        assert server.url in str(caught.value)  # for doing it by hand
    assert left(path) == []


def test_server_errors_are_asked_again_but_not_for_ever(path):
    run(path, does.status(500), does.status(503), does.whole)
    assert path.read_bytes() == DATA
    path.unlink()
    with Server(DATA, does.status(500)).running() as server:
        with pytest.raises(DownloadError, match="500"):
            download(server.url, path, HASH, progress=False)
        assert len(server.requests) == downloads.ATTEMPTS


@pytest.mark.slow
def test_server_that_hangs_is_left(path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 2)
    server = run(path, does.hangs_after(1000), does.whole)
    assert server.ranges == [None, "bytes=1000-"]
    assert path.read_bytes() == DATA


@pytest.mark.slow
def test_server_that_always_hangs_is_given_up_and_the_part_kept(path, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 2)
    monkeypatch.setattr(downloads, "TIMEOUT", 1.5)
    assert "no answer for 1.5 seconds" in fails(path, does.hangs_after(1000))
    assert path.with_name("file.pth.part").read_bytes() == DATA[:2000]


def test_getting_further_is_worth_any_number_of_attempts(path, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 50_000)
    server = run(path, does.breaks_after(60_000))
    assert len(server.requests) > downloads.ATTEMPTS
    assert path.read_bytes() == DATA


def test_nobody_listening_is_one_line(path):
    with pytest.raises(DownloadError, match="refused"):
        download("http://127.0.0.1:9/file.pth", path, HASH, progress=False)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_ranges_with_them(path, code):
    with Server(DATA, does.breaks_after(1000), does.whole).running() as behind:
        run(path, does.redirects(behind.url, code))
    assert behind.ranges == [None, "bytes=1000-"]
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("scheme", ["file://", "ftp://127.0.0.1", "data:text/plain,"])
def test_redirects_leave_the_web_never(path, tmp_path, scheme):
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)  # it even has the right hash
    fails(path, does.redirects(f"{scheme}{secret}"))


def test_redirects_in_a_circle_end(path):
    fails(path, does.redirects("/file.pth"))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y", "/tmp/x", "http://", "http://[::1", "http://x/ y"]
)
def test_only_web_addresses_are_downloaded(path, url):
    with pytest.raises(DownloadError, match="not an http or https address"):
        download(url, path, HASH, progress=False)
    assert left(path) == []


def test_file_that_is_there_is_kept(path):
    path.write_bytes(DATA)
    assert run(path).requests == []
    path.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="there already"):
        run(path)
    assert path.read_bytes() == b"mine"


def test_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert "File exists" in fails(tmp_path / "file" / "file.pth")


def test_folder_that_cannot_be_written_is_one_line(path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "folder")

    monkeypatch.setattr(downloads, "locked", refuse)
    assert "Permission denied: folder" in fails(path)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_on_stderr_and_a_bar_only_where_that_is_a_terminal(
    path, capsys, monkeypatch, terminal
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with Server(DATA, does.breaks_after(1000), does.whole).running() as server:
        download(server.url, path, HASH)
    out, err = capsys.readouterr()
    assert out == ""
    assert "the connection broke after 1000" in err
    assert ("file.pth: 100%" in err) == terminal
    assert (f"downloading file.pth from {server.url}\n" in err) != terminal


def start(url, path):
    """A process of its own that downloads."""
    code = (
        "import sys; from models import downloads; downloads.PAUSE = 0.01\n"
        "downloads.download(sys.argv[1], sys.argv[2], sys.argv[3])\n"
        "assert 'torch' not in sys.modules"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, url, path, HASH], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition):
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_at_once_download_once(path):
    waiting = threading.Event()

    def listen(process):
        text = ""
        for line in process.stderr:
            text += line
            if "waiting for another process" in line:
                waiting.set()
        return text

    with Server(DATA, does.halts_until(waiting)).running() as server:
        processes = [start(server.url, path) for _ in range(2)]
        with ThreadPoolExecutor() as pool:
            said = list(pool.map(listen, processes))
        assert [process.wait() for process in processes] == [0, 0], said
        assert server.ranges == [None]
    assert sum("waiting for another process" in text for text in said) == 1
    assert path.read_bytes() == DATA
    assert left(path) == ["file.pth", "file.pth.sha256"]


def test_killed_process_leaves_no_lock_and_its_bytes(path):
    part = path.with_name("file.pth.part")
    with Server(DATA, does.hangs_after(300_000), does.whole).running() as server:
        first = start(server.url, path)
        wait_for(lambda: part.exists() and part.stat().st_size == 300_000)
        second = start(server.url, path)
        assert second.stderr.readline().startswith("waiting")
        first.send_signal(signal.SIGKILL)
        assert second.wait(timeout=600) == 0
        first.communicate()
        second.communicate()
        assert server.ranges == [None, "bytes=300000-"]
    assert path.read_bytes() == DATA
    assert left(path) == ["file.pth", "file.pth.sha256"]
