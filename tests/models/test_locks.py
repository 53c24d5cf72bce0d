import threading
import time

import pytest

from models.locks import locked

fcntl = pytest.importorskip("fcntl")


def test_one_at_a_time(tmp_path):
    inside, most = [], []

    def work():
        with locked(tmp_path / "file", tell=False):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert most == [1] * 6
    assert list(tmp_path.iterdir()) == []


def test_lock_on_a_file_that_was_removed_is_none(tmp_path):
    """One waits while the holder removes the file and a third makes and locks it anew."""
    entered = []

    def work():
        with locked(tmp_path / "file", tell=False):
            entered.append("second")

    with open(tmp_path / "file.lock", "ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = threading.Thread(target=work)
        second.start()
        time.sleep(0.1)  # time to wait for the first one's file
        (tmp_path / "file.lock").unlink()
        # Whichever of the two is quicker, they are never in at once.
        with locked(tmp_path / "file"):
            first.close()
            before = len(entered)
            time.sleep(0.5)
            assert len(entered) == before
    second.join(600)
    assert entered == ["second"]


def test_lock_is_let_go_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "file"):
        1 / 0  # noqa: B018
    with locked(tmp_path / "file"):
        pass
