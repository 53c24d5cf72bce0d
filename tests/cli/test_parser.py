"""Command lines, as one parser reads them for all scripts."""

import pytest

from cli.options import options_of
from cli.parser import all_values, parse
from cli.scripts import CFG, GALLERY, GRID, MODIFY, REVERSE, SCRIPTS
from jobs.jobs import Jobs
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
        (("--size",), "argument --size: expected 2 arguments"),
        (("--size", "5.5", "a cat"), 'argument --size: "5.5" is not a whole number'),
        (("-bs", "0"), 'argument --batch-size/-bs: "0" is not a whole number from 1 to 4096'),
        (("--seed", f"{2**64}"), f'"{2**64}" is too large: at most {2**64 - 1}'),
        (("--seeds", f"3,{2**64}"), f'"{2**64}" is too large: seeds go up to {2**64 - 1}'),
        (("-n", "1000001"), '"1000001" is too large: at most 1000000'),
        (("--seed", "-1"), '"-1" is no seed: write random'),
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


SOURCE = {"photos": ["p.png"], "source": [Prompt("a cat", 1)], "prompts": [Prompt("a fox", 3)]}


@pytest.mark.parametrize(
    "words",
    [
        ("p.png", "--source", "a cat", "a fox"),
        ("--source", "a cat", "p.png", "a fox"),
        ("p.png", "--source=a cat", "a fox"),
        ("p.png", "a fox", "--source", "a cat"),
        ("p.png", "--source", "a cat", "--", "a fox"),
    ],
)
def test_source_swallows_no_prompt(words):
    assert parse(MODIFY, words) == SOURCE


def test_prompts_behind_the_source_are_its_own_where_others_stand_elsewhere(capsys):
    both = [Prompt("a cat", 1), Prompt("a pet", 2)]
    said = parse(MODIFY, ["p.png", "a fox", "--source", "a cat", "a pet:2"])
    assert said == {**SOURCE, "source": both}
    assert capsys.readouterr().err == (
        'note: "a pet:2" is taken for --source, too: prompts stand elsewhere\n'
    )
    assert parse(MODIFY, ["p.png", "a fox", "--source", "a cat", "--source", "a pet:2"]) == said
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "images", "prompts"),
    [
        (["--images", "c.png", "a dog"], ["c.png"], ["a dog"]),
        (["e", "--images", "c.png", "d.jpg:1", "a dog"], ["c.png", "d.jpg"], ["e", "a dog"]),
        (["--images", "c", "--seed", "1", "a dog"], ["c"], ["a dog"]),
        (["--images", "a.png", "b.pgn", "runs/c:2"], ["a.png", "b.pgn", "runs/c"], []),
        (["--images", "http://a.b/c:1", "a dog"], ["http://a.b/c"], ["a dog"]),
    ],
)
def test_images_swallow_no_prompt(words, images, prompts):
    said = parse(CFG, words)
    assert [image.text for image in said["images"]] == images
    assert [prompt.text for prompt in said.get("prompts", [])] == prompts


def test_other_flags_of_several_values_swallow_no_prompt():
    assert parse(CFG, ["--sweep", "steps=1,2", "method=plms", "a cat"]) == {
        "sweep": [("steps", ["1", "2"]), ("method", ["plms"])],
        "prompts": [Prompt("a cat", 3)],
    }
    assert parse(CFG, ["--gallery", "a cat"]) == {"gallery": True, "prompts": [Prompt("a cat", 3)]}
    assert str(parse(CFG, ["--gallery", "a.html", "a cat"])["gallery"]) == "a.html"
    assert "must end in .html" in refusal(CFG, "--gallery", "a.htlm")
    titles = ["--row-titles", "ddim", "plms"]
    assert parse(GRID, [*titles, "a.png", "b"])["pictures"] == ["a.png", "b"]
    assert parse(GRID, ["a.png", *titles, "c.png"])["row_titles"] == ["ddim", "plms", "c.png"]


@pytest.mark.parametrize("size", ["64 32", "64x32", "64×32"])
def test_size_is_written_in_several_ways(size):
    assert parse(CFG, ["--size", *size.split(), "a cat"])["size"] == [64, 32]
    assert parse(CFG, ["--size", "64", "a cat"])["size"] == parse(CFG, ["--size=64"])["size"]
    jobs = Jobs(CFG, ["a", "--model", "emoji", "--sweep", f"size={size},64"])
    assert [job.image.size for job in jobs.all] == [[64, 32], [64, 64]]
    size_of = options_of(CFG)["size"].check
    assert size_of(size) == size_of([64, 32]) == [64, 32]
    assert size_of(64) == size_of("64") == size_of([64]) == [64, 64]


def test_a_flag_given_twice_has_its_last_value_and_a_note(capsys):
    assert parse(CFG, ["a", "--seed", "1", "--seed=2", "--quiet", "--quiet"])["seed"] == 2
    assert capsys.readouterr().err == "note: --seed is given more than once: the last one counts\n"
    assert parse(CFG, ["--images", "a.png", "--images", "b.png", "--negative", "c"]).keys() == {
        "images",
        "negative",
    }
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["-2", "-.5", "-1e-1", "-3E2"])
def test_negative_numbers_are_values_and_no_flags(text):
    assert parse(CFG, ["a", "--weight", text])["weight"] == float(text)
    assert parse(CFG, ["--weight", text, "a"])["prompts"][0].text == "a"


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
