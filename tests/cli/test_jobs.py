import functools
import io
import json
import sys
from types import SimpleNamespace

import pytest

import cfg_sample
from cli import jobs as jobs_module
from cli.errors import UserError
from cli.jobs import Jobs, words_of
from cli.prompts import Prompt
from runner.batches import items

FLAGS = ("--model", "emoji")


@pytest.fixture
def read(tmp_path, monkeypatch):
    """A function (lines of a job file, flags of the command line) -> the run's Jobs."""
    monkeypatch.chdir(tmp_path)

    def call(text, *flags):
        (tmp_path / "jobs.txt").write_text(text)
        return cfg_sample.parse([*FLAGS, "--from-file", "jobs.txt", *flags])

    return call


def described(job):
    return job.line, [(p.text, p.weight) for p in job.args.prompts], list(job.args.seeds)


def refusal(jobs):
    with pytest.raises(UserError) as refused:
        list(jobs)
    assert str(refused.value).isprintable()
    return str(refused.value)


# What a line says.


def test_a_line_is_a_command_line(read):
    text = """
# hearts
"a red heart:3" "blue:1" --seed 7 -n 2   # two of them
'a cat' --seeds 5,1-2

star --steps 10 --method ddim --size 64 32
"""
    jobs = list(read(text))
    assert [described(job) for job in jobs] == [
        (3, [("a red heart", 3), ("blue", 1)], [7, 8]),
        (4, [("a cat", 3)], [5, 1, 2]),
        (6, [("star", 3)], [0]),
    ]
    last = jobs[-1].args
    assert (last.steps, last.method, last.size) == (10, "ddim", (64, 32))


def test_a_line_may_be_a_json_object_of_the_same_names(read):
    same = ['"a red heart:3" "blue:1.5" --seed 7 -n 2 --size 64 32 --guidance-interval 0.1 1']
    said = {"seed": 7, "n": 2, "size": [64, 32], "guidance_interval": [0.1, 1]}
    same += [
        json.dumps({"prompts": ["a red heart:3", "blue:1.5"], **said}),
        json.dumps({"prompts": [["a red heart", 3], ["blue", 1.5]], **said, "eta": None}),
        json.dumps({"guidance-interval": [0.1, 1], "prompts": ["a red heart", "blue:1.5"], **said}),
    ]
    first, *others = (vars(job.args) for job in read("\n".join(same)))
    assert all(other == first for other in others)


def test_texts_of_json_are_no_flags_and_keep_what_they_hold(read):
    texts = ["--seed", "-n", 'say "hi" # $HOME', "a\\:b", "# no comment", "{not json}"]
    (item,) = items(read(json.dumps({"prompts": [[text, 2] for text in texts]})))
    assert [p.text for p in item.prompts] == texts


def test_what_a_line_does_not_say_the_command_line_does(read):
    jobs = list(read("a cat --steps 7\na dog --seeds 3\n", "--steps", "9", "-n", "2", "oil:1"))
    assert [job.args.steps for job in jobs] == [7, 9]
    assert [len(job.args.seeds) for job in jobs] == [2, 1]
    assert [p.text for p in jobs[0].args.prompts] == ["a", "cat", "oil"]


def test_results_of_a_run_are_jobs(read):
    text = r"a {real,brace} __init__ \{ ___"
    line = {"prompts": [[text, 2.5]], "seed": 3, "steps": 4, "method": "ddim"}
    (item,) = items(read(json.dumps(line)))
    assert (item.prompts, item.seed) == ([Prompt(text, 2.5)], 3)


def test_standard_input_is_read_as_often_as_need_be(monkeypatch):
    stdin = SimpleNamespace(buffer=io.BytesIO(b"cat\ndog --seed 3\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    jobs = cfg_sample.parse([*FLAGS, "--from-file", "-"])
    assert [[job.line for job in jobs] for _ in range(3)] == [[1, 2]] * 3


def test_lines_that_were_added_after_the_check_are_not_drawn(read, tmp_path):
    jobs = read("cat\ndog\n")
    assert [job.line for job in jobs] == [1, 2]
    with open(tmp_path / "jobs.txt", "a") as file:
        file.write("--nonsense\n")
    assert [job.line for job in jobs] == [1, 2]


# What is wrong with a line.


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("cat --steps 0", 13, "whole number"),
        ('"a cat" dog --method plsm', 22, "did you mean plms"),
        ('cat "dog', 5, "no end"),
        ("cat --seeds 1,2 -n 3", 20, "--seeds names all seeds"),
        ("cat --nonsense", 5, "unrecognized"),
        ("cat --model cc12m_1", 13, "--model is for the whole run"),
        ("cat --overwrite", 5, "--overwrite is for the whole run"),
        ("cat --help", 5, "--help"),
        ("cat --init nowhere.png", 12, "no such file"),
        ("'__nowhere__ cat'", 1, "no such file"),
        ('{"prompts": "cat", "steps": 0}', 20, "whole number"),
        ('{"prompts": "cat", "n" 0}', 24, "no JSON object"),
        ('{"prompts": 3}', 2, "a text or a list"),
        ('{"seed": {"a": 1}}', 2, "is not a text or a number"),
        ('{"No Flag": 1}', 2, "no flag"),
        ('{"steps": true}', 2, "expected one argument"),
    ],
)
def test_error_names_line_and_column(read, line, column, message):
    jobs = read(f"dog\n\n{line}\n")
    from runner.plans import look_at

    jobs.check = look_at
    text = refusal(jobs)
    assert text.startswith(f"jobs.txt, line 3, column {column}: ")
    assert message in text


def test_bytes_that_are_no_text_are_refused(read, tmp_path):
    jobs = read("")
    (tmp_path / "jobs.txt").write_bytes(b"cat\n\xff\xfe\n")
    assert "line 2, column 1" in refusal(jobs)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(read, monkeypatch):
    monkeypatch.setattr(jobs_module, "MAX_LINE", 100)
    assert "line 1: longer" in refusal(read("cat" * 100))


def test_bad_lines_are_left_out_and_said_once_where_the_run_keeps_going(read, capsys):
    jobs = read("cat\ndog --steps 0\nfox\n'\n", "--keep-going")
    for _ in range(2):
        assert [job.line for job in jobs] == [1, 3]
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert "line 2, column 13" in err[0]
    assert jobs.bad == {2, 4}


# Sweeps.


def test_sweep_is_the_product_of_its_values(read):
    jobs = list(read("cat\ndog --steps 99\n", "--sweep", "steps=10,20", "method=plms,ddim,ab2"))
    assert len(jobs) == 2 * 6
    assert [(j.args.steps, j.args.method) for j in jobs[:6]] == [
        (steps, method) for steps in (10, 20) for method in ("plms", "ddim", "ab2")
    ]
    assert [job.row for job in jobs[:6]] == [0, 0, 0, 1, 1, 1]
    assert jobs[-1].swept == {"steps": "20", "method": "ab2"}


def test_values_of_several_words_are_swept(read):
    sizes = [job.args.size for job in read("cat\n", "--sweep", "size=64 32,32 64")]
    assert sizes == [(64, 32), (32, 64)]


@pytest.mark.parametrize(
    "sweep", ["steps", "steps=", "steps=1,,2", "model=emoji", "steps=0", "nonsense=1", "=1"]
)
def test_sweeps_that_make_no_sense_are_refused(sweep):
    with pytest.raises(UserError) as refused:
        list(cfg_sample.parse([*FLAGS, "cat", "--sweep", sweep]))
    assert sweep.split("=")[0] in str(refused.value)


def test_sweep_of_more_than_anyone_looks_at_is_refused():
    many = "seed=" + ",".join(map(str, range(200)))
    with pytest.raises(UserError, match="10,000 combinations"):
        cfg_sample.parse([*FLAGS, "cat", "--sweep", many, many.replace("seed", "steps")])


# Words.


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a b", [("a", 0), ("b", 2)]),
        ('  "a b"  c', [("a b", 2), ("c", 9)]),
        ("a # b", [("a", 0)]),
        ("C# d", [("C#", 0), ("d", 3)]),
        (r"a\ b 'c\d'", [("a b", 0), (r"c\d", 5)]),
        ("# all", []),
        ("   ", []),
        ("{a,b} c", [("{a,b}", 0), ("c", 6)]),
    ],
)
def test_words_are_those_of_a_shell(line, words):
    assert words_of(line) == words


def test_every_flag_of_the_scripts_is_for_the_run_or_for_an_image():
    given = vars(cfg_sample.parse([*FLAGS]).given)
    per_image = {
        *("prompts", "images", "init", "latent", "starting_timestep", "n", "seed", "seeds"),
        *("size", "method", "steps", "schedule", "tolerance", "eta", "guidance_interval"),
    }
    assert set(given) == per_image | (set(jobs_module.RUN_WIDE) - {"clip_model", "low_memory"})


def test_jobs_are_settled_each_for_itself():
    seen = []
    parser = SimpleNamespace(parse_args=None)
    given = SimpleNamespace(from_png=None, prompts=None)
    jobs = Jobs(parser, given, functools.partial(lambda args: seen.append(args) or args))
    assert len(list(jobs)) == 1
    assert seen[0] is not seen[1]
