"""Jobs that are read as they come say what those of a file do, and no line is asked for early."""

import itertools
import json
import os

import pytest

from cli.scripts import CFG
from jobs.job_files import entries
from jobs.job_stream import entries_of, is_stream
from jobs.jobs import Jobs, items
from values.errors import UserError

OBJECTS = [{"prompt": f'cat "{i}" }}', "seed": i} for i in range(3)]
TEXTS = [
    "# jobs\n\na cat\n{red,blue} heart\n[a] cat # 5\n'a dog' -n 2\n",
    "a cat without an end of its line",
    *("\n".join(json.dumps(one, indent=i) for one in OBJECTS) + "\ndog\n" for i in (None, 1)),
    *(f"\n{json.dumps(OBJECTS, indent=i)}\ndog\n" for i in (None, 2)),
    "[\n" + ",\n".join(map(json.dumps, OBJECTS)) + "\n]\ncat\n",
    ",\n".join(map(json.dumps, OBJECTS)),
    '# a table\nprompt,seed\na cat,7\n"a ""red"" cat,\ntwo",3\n\nb,8\n',
    'a cat\nprompt,seed\n{"seed": 3}\n',
    "prompt,steps,steps\na,1,1\n",
    '{"prompt": "a" "seed": 2}\n',
    '{\n "prompt": "a",\n "steps" 0\n}\n',
    '{"prompt": "a"} b\n',
]


def told(found):
    return [(e.line, str(e.said) if isinstance(e.said, UserError) else e.said) for e in found]


@pytest.mark.parametrize("text", TEXTS)
def test_lines_that_come_say_what_a_file_says(text):
    lines = text.splitlines(keepends=True)
    found = told(entries_of(lines, CFG))
    wanted = told(entries(text, CFG))
    assert [(line, _stripped(said)) for line, said in found][: len(wanted)] == [
        (line, _stripped(said)) for line, said in wanted
    ]


def _stripped(said):
    return said.strip() if isinstance(said, str) else said


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        (["a cat\n", "a dog\n"], 1),
        (['{"prompt": "a cat"}\n', "a dog\n"], 1),
        (['{"prompt":\n', '"a cat"}\n', "a dog\n"], 2),
        (['{"prompt": "a cat"\n', '"seed": 3}\n', "a dog\n"], 2),
        (['{"prompt": "a cat\n', '{"prompt": "a dog"}\n'], 1),
        (["prompt,seed\n", "a cat,3\n", "a dog,4\n"], 2),
        (["prompt,seed\n", '"a\n', 'cat",3\n', "a dog,4\n"], 3),
    ],
)
def test_no_line_is_asked_for_before_the_job_is_there(lines, needed):
    taken = []
    source = (taken.append(line) or line for line in lines)
    next(entries_of(source, CFG))
    assert len(taken) == needed


def test_an_array_of_ten_thousand_objects_is_read_quickly():
    lines = ["[\n", *(['{"seed": 1},\n'] * 10_000), '{"seed": 2}]\n']
    assert len(list(entries_of(lines, CFG))) == 10_001


def test_whoever_types_begins_no_table():
    found = entries_of(["prompt,seed\n"], CFG, may_be_table=False)
    assert [entry.said for entry in found] == ["prompt,seed"]


def test_a_named_pipe_is_a_stream_and_a_file_is_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    assert [is_stream(tmp_path / name) for name in ("pipe", "file", "none")] == [True, False, False]
    assert is_stream("-")


def test_a_stream_ends_at_a_line_that_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.job_stream.lines_of", lambda file: iter(["cat\n", "a -z\n", "dog\n"]))
    jobs = Jobs(CFG, ["--model", "emoji", "--from-file", "-"])
    assert [item.job.line for item in items(jobs)] == [1]
    assert "-, line 2, column 3: unrecognized arguments: -z" in str(jobs.failure)
    jobs = Jobs(CFG, ["--model", "emoji", "--from-file", "-", "--keep-going"])
    assert [item.job.line for item in items(jobs)] == [1, 3]
    assert (jobs.failure, jobs.bad) == (None, {2})


@pytest.mark.parametrize(
    "flags", [["--sweep", "steps=1,2"], ["--grid", "a.png"], ["--shard", "1/2"], ["--dry-run"]]
)
def test_what_needs_to_know_all_images_reads_to_the_end(flags, monkeypatch):
    lines = itertools.chain(["cat\n", "dog\n"])
    monkeypatch.setattr("jobs.job_stream.lines_of", lambda file: lines)
    jobs = Jobs(CFG, ["--model", "emoji", "--from-file", "-", *flags])
    assert not jobs.streams
    assert {job.line for job in jobs.all} == {1, 2}


def test_typing_needs_a_terminal():
    with pytest.raises(UserError, match="--from-file - reads the lines of a program"):
        Jobs(CFG, ["--model", "emoji", "--interactive"])
