"""Job files: lines as for a shell and JSON objects, with whatever stands in them."""

import json
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz import mutate
from tests.fuzz.command_line import answer
from tests.fuzz.test_command_lines import FITTING, VALUES

LINES = (
    '"a red heart:3" "blue:1" --seed 7 -n 2',
    '{"prompts": ["a cat:2", "a dog"], "seed": 3, "size": [64, 32]}',
    '{"prompts": [["a {cat,dog}", 4.5]], "n": null, "guidance_interval": [0.1, 1]}',
    "'a {red,{blue,green}} __colour__' --steps 10 # so",
    "a cat->a fox:2@0.6",
    '"a cat@0-0.6[0,0,0.5,1]" --region "a hat:2" mask.png',
    '{"region": [["a {hat,star}", 2, "@0-0.6", "mask.png"], ["a cat", "mask.png"]]}',
    "",
    "# nothing",
)
LONG = (
    '[{"prompt": "a cat"},\n {"prompt": "a dog",\n  "seed": 3}]',
    '{\n "prompt": "a cat"\n}',
    "{red,blue} heart",
)
texts = mutate.texts()
names = st.sampled_from([name.strip("-").replace("-", "_") for name in FITTING] + ["prompts", "n"])
leaves = st.sampled_from(VALUES) | st.integers() | st.floats() | st.booleans() | st.none() | texts
objects = st.dictionaries(names | texts, leaves | st.lists(leaves, max_size=3), max_size=4)
indents = st.sampled_from([None, 1])
spread = st.builds(json.dumps, objects | st.lists(objects, max_size=3), indent=indents)
lines = st.sampled_from(LINES) | texts | objects.map(json.dumps) | spread
tables = st.lists(st.lists(st.sampled_from(VALUES) | texts, max_size=3).map(",".join), max_size=4)
files = st.lists(lines, max_size=4).map("\n".join) | tables.map(
    lambda rows: "\n".join(["prompt,size,seed", *rows])
)


def drawn(data, *flags):
    Path("jobs.txt").write_bytes(data)
    Image.new("L", (8, 8), "white").save("mask.png")
    Path("wildcards").mkdir()
    Path("wildcards/colour.txt").write_text("red\n{dark,light} green\n__colour2__\n")
    Path("wildcards/colour2.txt").write_text("blue\n")
    return answer("cfg_sample", ["--model", "emoji", "--from-file", "jobs.txt", *flags])


@given(files)
@example("\n".join(LINES))
@example("{" * 3000)
@example('{"prompts": ' + "[" * 3000)
def test_any_text_is_jobs_or_refused_in_a_line(text):
    drawn(text.encode("utf-8", "surrogatepass"))


@given(mutate.damaged(lambda: {"jobs": "\n".join([*LINES, *LONG, *LINES]).encode()}))
def test_damaged_job_files_are_jobs_or_refused_in_a_line(data):
    drawn(data)


@given(files)
def test_sweeps_of_any_jobs_are_too(text):
    drawn(text.encode("utf-8", "surrogatepass"), "--sweep", "steps=1,2", "method=ddim,plms")


def test_what_is_right_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert drawn("\n".join([*LINES, *LONG]).encode()) == 0
