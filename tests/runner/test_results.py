import json
import multiprocessing
import os
import resource
from pathlib import Path

import pytest

from runner import results
from values.errors import Failure, UserError


def test_lines_are_added_and_found_again(tmp_path):
    path = tmp_path / "deep" / "r.jsonl"
    for name in ("a.png", "b.png"):
        results.append(path, {"file": name, "seed": 1})
    assert [json.loads(line)["file"] for line in path.read_text().splitlines()] == [
        "a.png",
        "b.png",
    ]
    assert results.files_in(path) == {"a.png", "b.png"}
    assert results.files_in(tmp_path / "none.jsonl") == set()


def test_broken_line_of_a_crash_spoils_no_other(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"file": "a.png"}\n{"file": "b.p')
    results.append(path, {"file": "c.png"})
    assert results.files_in(path) == {"a.png", "c.png"}
    path.write_bytes(b'[1]\n"x"\n\xff\n' + b"[" * 5000 + b'\n{"file": "d.png"}\n')
    assert results.files_in(path) == {"d.png"}


def add_many(path, who):
    for i in range(200):
        results.append(path, {"file": f"{who}-{i}", "text": "x" * 500 * (1 + i % 20)})


def test_processes_add_whole_lines(tmp_path):
    path = tmp_path / "r.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_many, args=(path, who)) for who in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["file"] for line in lines} == {f"{w}-{i}" for w in range(4) for i in range(200)}
    assert len(lines) == 800


def limited(path, limit, answer):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        results.append(path, {"file": "b.png", "text": "x" * 1000})
    except Failure as error:
        answer.put(str(error))


def test_line_for_which_there_is_no_room_is_not_there_in_part(tmp_path):
    path = tmp_path / "r.jsonl"
    results.append(path, {"file": "a.png"})
    before = path.read_bytes()
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    worker = context.Process(target=limited, args=(path, len(before) + 100, answer))
    worker.start()
    assert "cannot be written" in answer.get(timeout=300)
    worker.join()
    assert path.read_bytes() == before


@pytest.mark.parametrize("held", ['{"prompt": "a cat"}\n', "a cat\n", "\x89PNG", "[1]", "3"])
def test_file_of_other_things_is_left_alone(tmp_path, held):
    path = tmp_path / "jobs.txt"
    path.write_text(held)
    with pytest.raises(UserError, match="holds other things"):
        results.check(path)


def test_place_that_takes_no_lines_is_refused_beforehand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    with pytest.raises(UserError, match="cannot be added to"):
        results.check(Path("folder"))
    Path("file").touch()
    with pytest.raises(UserError, match="not a folder"):
        results.check(Path("file/r.jsonl"))
    results.check(Path("new/r.jsonl"))
    assert not Path("new").exists()
