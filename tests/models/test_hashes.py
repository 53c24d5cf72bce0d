import os
from pathlib import Path

import pytest

from models import hashes
from models.hashes import sha256
from tests.models.small import digest, saved


@pytest.fixture
def pth(tmp_path):
    return saved(tmp_path / "small.pth")


def test_hash_is_remembered_until_the_file_changes(pth, monkeypatch):
    first = sha256(pth)
    assert first == digest(pth)
    counted = []
    whole = hashes.hash_file
    monkeypatch.setattr(hashes, "hash_file", lambda path: counted.append(path) or whole(path))
    assert sha256(pth) == first
    assert counted == []
    time = pth.stat().st_mtime_ns
    pth.write_bytes(pth.read_bytes()[::-1])
    os.utime(pth, ns=(time + 1, time + 1))
    assert sha256(pth) == digest(pth) != first
    assert counted == [pth]


@pytest.mark.parametrize("memo", ["", "nonsense", "0" * 64, "0" * 64 + " 1 1\n", "\xff" * 300])
def test_bad_memory_is_not_believed(pth, memo):
    (pth.parent / "small.pth.sha256").write_text(memo, encoding="latin-1")
    assert sha256(pth) == digest(pth)


def test_hash_file_of_somebody_else_is_kept(pth):
    theirs = f"{'0' * 64}  small.pth\n"
    (pth.parent / "small.pth.sha256").write_text(theirs)
    assert sha256(pth) == digest(pth)
    assert (pth.parent / "small.pth.sha256").read_text() == theirs


def test_folder_that_is_only_read_is_no_trouble(pth, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert sha256(pth) == digest(pth)
    assert sorted(os.listdir(pth.parent)) == ["small.pth"]
