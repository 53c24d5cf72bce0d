"""Command lines, as one parser reads them for all scripts."""

import pytest

from cli.parser import all_values, parse
from cli.scripts import CFG, GALLERY, GRID, REVERSE, SCRIPTS
from values.errors import UserError
from values.prompts import Prompt


def refusal(script, *argv):
    with pytest.raises(UserError) as refused:
        parse(script, argv)
    assert str(refused.value).isprintable()
    return str(refused.value)


def test_what_is_not_given_is_not_said():
    assert parse(CFG, []) == {}
    assert parse(CFG, ["a:2", "--steps", "5", "b"]) == {
        "steps": 5,
        "prompts": [Prompt("a", 2), Prompt("b", 3)],
    }


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--stesp 5", "unrecognized arguments: --stesp: did you mean --steps?"),
        ("--sede=3", "--sede=3: did you mean --seed?"),
        ("--sede 3 --modell emoji", "did you mean --seed, --model?"),
        ("--step 3", "did you mean --steps?"),
        ("--nonsense", "unrecognized arguments: --nonsense"),
        ("--\x1b[2J", r"unrecognized arguments: --\x1b[2J"),
    ],
)
def test_unknown_flag_is_told_with_what_may_be_meant(given, meant):
    assert refusal(CFG, "a cat", *given.split()).endswith(meant)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--seed", "1", "--seeds", "1,2"), "--seed and --seeds exclude each other"),
        (("-n", "1", "--seeds", "1,2"), "exclude each other: give one of them"),
        (("--init", "a.png", "--latent", __file__), "--init and --latent exclude each other"),
        (("--skip-existing", "--overwrite"), "exclude each other"),
        (("--steps",), "argument --steps: expected one argument"),
        (("--size", "5"), "argument --size: expected 2 arguments"),
        (("-bs", "0"), 'argument --batch-size/-bs: "0" is not a whole number from 1 to 4096'),
        (("--seed", f"{2**64}"), f'"{2**64}" is too large: at most {2**64 - 1}'),
        (("--seeds", f"3,{2**64}"), f'"{2**64}" is too large: seeds go up to {2**64 - 1}'),
        (("-n", "1000001"), '"1000001" is too large: at most 1000000'),
        (("--seed", "-1"), '"-1" is not a whole number of at least 0'),
        ((":2",), 'argument TEXT[:WEIGHT]: the prompt ":2" is empty'),
    ],
)
def test_mistakes_are_told_in_a_line(argv, told):
    assert told in refusal(CFG, *argv)


def test_words_are_those_that_the_script_takes():
    assert parse(GRID, ["a.png", "--nrow", "2", "b.png"]) == {
        "pictures": ["a.png", "b.png"],
        "nrow": 2,
    }
    assert "required: IMAGE" in refusal(GRID)
    assert "unrecognized arguments: more" in refusal(GALLERY, "runs", "more")
    assert parse(REVERSE, ["a.png", "-1", "a cat"]) == {
        "photos": ["a.png"],
        "prompts": [Prompt("-1", 3), Prompt("a cat", 3)],
    }


def test_a_script_without_jobs_has_all_values():
    args = all_values(GALLERY, ["runs", "-r"])
    assert (str(args.folder), args.recursive, args.output, args.overwrite) == (
        "runs",
        True,
        None,
        False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_help_says_what_it_is_for_and_every_flag(script, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(script, ["--help", "--nonsense"])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert script.about in out
    assert "examples:" in out
    assert all(line in out for line in script.examples)
    usage = out.split("\n")[0]
    assert usage.endswith(" ... [flags]") == (script is not GALLERY)
