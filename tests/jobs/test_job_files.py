"""Job files: what their lines say, and where what is wrong with them stands."""

import json

import pytest

from cli.scripts import CFG, MODIFY, REVERSE
from jobs import job_files, job_lines
from jobs import jobs as jobs_module
from jobs.jobs import Jobs, items
from runner.photos import look_at
from values.errors import UserError
from values.prompts import Prompt


@pytest.fixture
def read(tmp_path, monkeypatch):
    """A function (text of a job file, flags of the command line) -> the run's Jobs."""
    monkeypatch.chdir(tmp_path)

    def call(text, *flags, script=CFG):
        (tmp_path / "jobs.txt").write_text(text)
        return Jobs(script, ["--model", "emoji", "--from-file", "jobs.txt", *flags])

    return call


@pytest.fixture
def refusal(read):
    """A function (arguments of `read`) -> why it is refused, in a line."""

    def call(*arguments, **options):
        with pytest.raises(UserError) as refused:
            checked(read(*arguments, **options))
        assert str(refused.value).isprintable()
        return str(refused.value)

    return call


def checked(jobs):
    jobs.check(lambda image: look_at(jobs.run, image))
    return jobs


def described(job):
    return job.line, [(p.text, p.weight) for p in job.image.prompts], list(job.image.seeds)


def texts(jobs):
    return [[p.text for p in job.image.prompts] for job in jobs.all]


# What a line says.


def test_a_line_is_a_command_line(read):
    text = """
# hearts
"a red heart:3" "blue:1" --seed 7 -n 2   # two of them
'a cat' --seeds 5,1-2

bee -n 2
star --steps 10 --method ddim --size 64 32
"""
    jobs = read(text)
    assert [described(job) for job in jobs.all] == [
        (3, [("a red heart", 3), ("blue", 1)], [7, 8]),
        (4, [("a cat", 3)], [5, 1, 2]),
        (6, [("bee", 3)], [0, 1]),
        (7, [("star", 3)], [0]),
    ]
    last = jobs.all[-1].image
    assert (last.steps, last.method, last.size) == (10, "ddim", [64, 32])


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("a red heart", Prompt("a red heart", 3)),
        ("  a red heart:2 ", Prompt("a red heart", 2)),
        ('a cat\'s "own" bed', Prompt('a cat\'s "own" bed', 3)),
        ("C:\\new", Prompt("C:\\new", 3)),
        ("a well-known cat - in oil", Prompt("a well-known cat - in oil", 3)),
        ("{red,blue} heart", Prompt("{red,blue} heart", 3)),
        ("[a] cat # 5", Prompt("[a] cat # 5", 3)),
        ("a cat, a dog; a bird", Prompt("a cat, a dog; a bird", 3)),
        ("l'été", Prompt("l'été", 3)),
        ("a cold day at -5 degrees", Prompt("a cold day at -5 degrees", 3)),
    ],
)
def test_a_line_without_quotes_and_flags_is_one_prompt(read, line, prompt):
    (job,) = read(line).all
    assert job.image.prompts == [prompt]


def test_lines_of_photos_name_them_first(read, tmp_path):
    (tmp_path / "a.png").touch()
    (job,) = read("'a.png' 'a tiger' --strength 0.5\n", script=MODIFY).all
    assert (job.image.init, job.image.prompts) == ("a.png", [Prompt("a tiger", 3)])
    photos = [job.image.photos for job in read('a.png\n{"photo": "a.png"}', script=REVERSE).all]
    assert photos == [["a.png"], ["a.png"]]


def test_a_line_may_be_a_json_object_of_the_same_names(read):
    same = ['"a red heart:3" "blue:1.5" --seed 7 -n 2 --size 64 32 --guidance-interval 0.1 1']
    said = {"seed": 7, "n": 2, "size": [64, 32], "guidance_interval": [0.1, 1]}
    same += [
        json.dumps({"prompts": ["a red heart:3", "blue:1.5"], **said}),
        json.dumps({"prompts": [["a red heart", 3], ["blue", 1.5]], **said, "eta": None}),
        json.dumps(
            {key.replace("_", "-"): value for key, value in said.items()}
            | {"Prompt": ["a red heart", "blue:1.5"]}
        ),
    ]
    first, *others = (vars(job.image) for job in read("\n".join(same)).all)
    assert all(other == first for other in others)


def test_texts_of_json_are_no_flags_and_keep_what_they_hold(read):
    texts = ["--seed", "-n", 'say "hi" # $HOME', "a\\:b", "# no comment", "{not json}"]
    (item,) = items(read(json.dumps({"prompts": [[text, 2] for text in texts]})))
    assert [p.text for p in item.prompts] == texts


def test_results_of_a_run_are_jobs(read):
    text = r"a {real,brace} __init__ \{ ___"
    line = {"prompts": [[text, 2.5]], "seed": 3, "steps": 4, "method": "ddim"}
    (item,) = items(read(json.dumps(line)))
    assert (item.prompts, item.seed) == ([Prompt(text, 2.5)], 3)


def test_objects_may_stand_in_an_array_and_on_several_lines(read):
    objects = [{"prompt": f"cat {i}", "seed": i} for i in range(3)]
    for text in (
        json.dumps(objects),
        json.dumps(objects, indent=2),
        "\n".join(json.dumps(one, indent=1) for one in objects),
        "[\n" + ",\n".join(map(json.dumps, objects)) + "\n]\n",
        ",\n".join(map(json.dumps, objects)),
    ):
        jobs = read(f"# jobs\n{text}\ndog\n")
        assert texts(jobs) == [["cat 0"], ["cat 1"], ["cat 2"], ["dog"]]
        lines = text.split("\n")
        assert all("{" in lines[job.line - 2] for job in jobs.all[:-1])
        assert jobs.all[-1].line == 2 + len(lines)


def test_a_header_makes_it_a_table(read):
    for mark in ",;\t":
        text = """
Prompt|seed|size|guidance-interval
a cat|7|64 32|0.1 1
"a ""red"" cat| or
two:2"||64 32|
|||

-dog|8
"""
        jobs = read(text.replace("|", mark))
        assert [described(job) for job in jobs.all] == [
            (3, [("a cat", 3)], [7]),
            (4, [(f'a "red" cat{mark} or\ntwo', 2)], [0]),
            (8, [("-dog", 3)], [8]),
        ]
        assert jobs.all[0].image.size == [64, 32]
        assert jobs.all[0].image.guidance_interval == [0.1, 1]


def test_cells_of_switches_are_true_or_false(read, tmp_path):
    (tmp_path / "a.png").touch()
    jobs = read("photo,prompt,direct\na.png,a,true\na.png,a,False\na.png,a,\n", script=MODIFY)
    assert [job.image.direct for job in jobs.all] == [True, False, False]


# What is wrong with a line.


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("cat --steps 0", 13, "whole number"),
        ('"a cat" dog --method plsm', 22, "did you mean plms"),
        ('cat "dog --steps 5', 5, "no end"),
        ("cat --seeds 1,2 -n 3", 20, "exclude each other"),
        ("cat --nonsense", 5, "unrecognized"),
        ("a cat on a hat -z 3", 16, "unrecognized arguments: -z"),
        ("a cat on a hat --seed 3", 1, '"a" and "cat" would be prompts by themselves'),
        ("--seed 3 cat hat", 10, "put each prompt in quotes"),
        ('"a fox" a cat -n 2', 9, "put each prompt in quotes"),
        ("it's a cat --seed 3", 1, "a quotation or an escape has no end: put"),
        ("cat --model cc12m_1", 13, "--model is for the whole run"),
        ("cat --overwrite", 5, "--overwrite is for the whole run"),
        ("cat --help", 5, "--help"),
        ("cat --init nowhere.png", 12, "no such file"),
        ("'__nowhere__ cat'", 1, "no such file"),
        ("a __nowhere__ cat", 1, "no such file"),
        ("  // a cat", 3, "a comment begins with #"),
        ("/* a cat */", 1, "a comment begins with #"),
        ("“a cat”", 1, "typographic quote"),
        ("a cat:inf", 1, "not finite"),
        ("cat --eta 0.5 --method ab2", 24, "adds no noise"),
        ('{"prompts": "cat", "steps": 0}', 20, 'steps: "0" is not a whole number'),
        ('{"prompts": "cat", "n" 0}', 24, "no JSON object"),
        ('{"prompts": 3}', 2, "no text with a weight"),
        ('  {"seed": {"a": 1}}', 4, "is not a whole number"),
        ('{"No Flag": 1}', 2, 'no flag is called "No Flag"'),
        ('{"stesp": 1}', 2, "did you mean steps?"),
        ('{"model": "emoji"}', 2, "--model is for the whole run"),
        ('{"steps": true}', 2, "is not a whole number"),
        ('{"size": [64, 64, 64]}', 2, "takes 2 values, not 3"),
        ('{"size": "64y64"}', 2, '"64y64" is not a whole number'),
        ('{"prompt": "a", "seed": 1, "seeds": "1,2"}', 28, "exclude each other"),
        ('{"prompt": "a", "prompts": "b"}', 17, "given twice"),
        ('{"prompt": "a", "eta": 0.5}', 17, "--eta 0.5"),
        ('{"prompt": "a", "init": "nowhere.png"}', 17, "no such file"),
        ('{"prompt": "a"} b', 17, "Extra data"),
        ('{"eta": NaN}', 1, "NaN is not JSON"),
        ("{'prompt': 'a'}", 2, "no JSON object"),
        ('["a cat", "a dog"]', 2, "no JSON object with the flags' names: a str"),
    ],
)
def test_error_names_line_and_column(refusal, line, column, message):
    text = refusal(f"dog\n\n{line}\n")
    assert text.startswith(f"jobs.txt, line 3, column {column}: ")
    assert message in text


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ('{\n "prompt": "a",\n "steps": 0\n}', 3, 2, "whole number"),
        ('{\n "prompt": "a"\n "steps": 5\n}', 3, 2, "Expecting ',' delimiter"),
        ('[{"prompt": "a"},\n {"prompt": "b",\n  "stesp": 0}\n]', 3, 3, "did you mean steps?"),
        ('[{"prompt": "a"}\n {"prompt": "b"}]', 1, 17, "Expecting ',' delimiter"),
        ('[{"prompt": "a"},\n', 2, 1, "Expecting value"),
        ("prompt,steps\na,1\nb,0\n", 3, 3, 'steps: "0" is not a whole number'),
        ("prompt,steps\na,1\nb,1,2\n", 3, 1, "more cells than 2 columns"),
        ("prompt,steps,stesp\na,1,1\n", 2, 5, "did you mean steps?"),
        ("prompt,steps,steps\na,1,1\n", 1, 1, 'two columns are called "steps"'),
        ("prompt,steps\na,\r1\n", 2, 1, "no table"),
    ],
)
def test_error_in_what_goes_over_lines_names_its_own(refusal, text, line, column, message):
    told = refusal(text)
    assert told.startswith(f"jobs.txt, line {line}, column {column}: ")
    assert message in told


def test_bytes_that_are_no_text_are_refused(read, tmp_path):
    (tmp_path / "jobs.bin").write_bytes(b"cat\n\xff\xfe\n")
    with pytest.raises(UserError, match="line 2, column 1"):
        read("", "--from-file", "jobs.bin")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(refusal, monkeypatch):
    monkeypatch.setattr(job_files, "MAX_LINE", 100)
    assert "line 1, column 1: longer" in refusal("cat" * 100)
    monkeypatch.setattr(jobs_module, "MAX_BYTES", 100)
    assert "larger than" in refusal("cat\n" * 100)


def test_bad_lines_are_left_out_and_said_once_where_the_run_keeps_going(read, capsys):
    jobs = read("cat\ndog --steps 0\nfox\n'\nbee --init no.png\n", "--keep-going")
    for _ in range(2):
        assert [job.line for job in checked(jobs).all] == [1, 3]
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3
    assert "line 2, column 13" in err[0]
    assert jobs.bad == {2, 4, 5}


@pytest.mark.parametrize(
    "broken",
    [
        '{"prompt": "a" "steps": 2}',
        '{\n"prompt": "a"\n"steps": 5\n}',
        '{"prompt": "a",\n"steps" 5\n}',
        '{"prompt": "a"} and more',
    ],
)
def test_lines_of_a_broken_object_are_no_prompts(read, capsys, broken):
    jobs = read(f"cat\n{broken}\ndog\n", "--keep-going")
    assert [text for text in texts(jobs) if text != ["a"]] == [["cat"], ["dog"]]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_object_without_an_end_takes_none_of_the_next_with_it(read, capsys):
    good = '{"prompt": "b"}\n{"prompt":\n"c"}\ndog\n'
    jobs = read(f'cat\n{{"prompt": "a"\n{good}', "--keep-going")
    assert texts(jobs) == [["cat"], ["b"], ["c"], ["dog"]]
    assert "line 2, column 15: no JSON object" in capsys.readouterr().err


def test_a_broken_array_ends_there(read, capsys):
    jobs = read('cat\n[{"prompt": "a"},\n{"prompt" "b"},\n{"prompt": "c"}]\n', "--keep-going")
    assert texts(jobs) == [["cat"], ["a"]]
    assert "line 3, column 11" in capsys.readouterr().err


def test_a_mistake_is_found_in_few_steps_however_many_words_there_are(refusal, monkeypatch):
    calls = []

    def parse(*arguments, **options):
        calls.append(arguments)
        return real(*arguments, **options)

    real = job_lines.parse
    monkeypatch.setattr(job_lines, "parse", parse)
    words = " ".join(f"'{i}'" for i in range(3000))
    for wrong in ("--nonsense", "--steps 0", "--eta 0.5"):
        calls.clear()
        column = len(words) + 1 + len(wrong.rpartition(" ")[0]) + (" " in wrong)
        assert f"column {column + 1}: " in refusal(f"{words} {wrong}\n")
        assert len(calls) <= 1 + 12  # 2 ** 12 words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt,heft\na fox,2\n", 'line 2, column 7: no flag is called "heft"'),
        ("“a cat” --seed 3\n", "line 1, column 1: “ is a typographic quote"),
        ("- prompt: a fox\n", "line 1, column 1: a dash alone"),
        ("a cat,3,20\n", "line 1, column 7: this looks like a row of a table"),
        ("a cat\na dog, 7\n", "line 2, column 7: this looks like a row of a table"),
        ('"a cat", "a dog"\n', "line 1, column 8: prompts stand side by side, without a comma"),
        ("prompt: a cat\n", "line 1, column 1: this looks like YAML"),
        ("1. a cat\n2. a dog\n", "line 1, column 1: a line holds no number of its own"),
        ("<job>a fox</job>\n", "line 1, column 1: this looks like XML"),
        ("prompt|sead\na fox|3\n", 'no flag is called "sead"'),
        ("a cat\n„a dog“\n", "line 2, column 1: „ is a typographic quote"),
    ],
)
def test_what_looks_like_a_table_or_a_quotation_is_no_prompt(refusal, text, said):
    assert said in refusal(text)


def test_commas_within_a_quotation_belong_to_it(read):
    (job,) = read("\"the 'king', crowned\" --seed 3\n").all
    assert [prompt.text for prompt in job.image.prompts] == ["the 'king', crowned"]
    (job,) = read("'a cat,' --seed 3\n").all
    assert [prompt.text for prompt in job.image.prompts] == ["a cat,"]


def test_a_line_that_begins_with_a_photo_is_words(read, tmp_path):
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    jobs = read('b.png "a red heart"\na blue heart\n', "a.png", script=MODIFY)
    found = [(job.image.init, [p.text for p in job.image.prompts]) for job in jobs.all]
    assert found == [("b.png", ["a red heart"]), ("a.png", ["a blue heart"])]


def test_a_switch_that_is_off_in_a_line_beats_the_command_line(read, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    jobs = read(
        '{"prompts": "x", "direct": false}\n{"prompts": "x"}\n', "a.png", "--direct", script=MODIFY
    )
    assert [job.image.direct for job in jobs.all] == [False, True]


def test_a_table_of_prompts_alone_has_a_title(read):
    jobs = read("prompt\na fox\na white cat\n")
    assert [job.image.prompts[0].text for job in jobs.all] == ["a fox", "a white cat"]
