"""What the models draw, and what is noted of prompts, sizes and photos that do not suit them."""

import json

import pytest
from PIL import Image

from cli import listing
from cli.parser import parse
from cli.scripts import CFG, SAMPLING
from jobs import remarks
from jobs.jobs import Jobs
from models.vocabulary import vocabulary
from models.zoo import NETWORKS
from train import words
from train.render import ANNOTATIONS
from train.vocabulary import GROUNDS, NAMES
from values.errors import UserError

EMOJI = ("--model", "emoji")


def told(*argv):
    jobs = Jobs(CFG, [*argv, *EMOJI])
    return remarks.of_images(jobs.run, [job.image for job in jobs.all])


@pytest.mark.parametrize("script", SAMPLING, ids=lambda script: script.name)
def test_lists_are_printed_whatever_else_is_said(script, capsys):
    for argv in (["--list-models"], ["--list-models", "a cat"], ["--list-models", "emoji"]):
        with pytest.raises(SystemExit) as stop:
            parse(script, argv)
        out = capsys.readouterr().out
        assert (stop.value.code, "emoji" in out) == (0, True)
        assert ("yfcc_1" in out) == (argv[-1] != "emoji")
    with pytest.raises(SystemExit):
        parse(script, ["--list-prompts"])
    assert "ice cream" in capsys.readouterr().out
    with pytest.raises(UserError, match="did you mean emoji"):
        parse(script, ["--list-models", "emoij"])


def test_a_model_is_told_in_full():
    text = listing.models("cc12m_1_cfg")
    row = NETWORKS["cc12m_1_cfg"]
    for part in ("256 x 256", "77 tokens", row.file, row.sha256, "licence", row.url):
        assert part in text
    assert all(row.draws and row.licence for row in NETWORKS.values())


def test_student_that_nobody_trained_names_its_trainer():
    text = listing.models("cc12m_1_cfg_4")
    assert "python -m train.distil --teacher cc12m_1_cfg makes it" in text
    assert "4 evaluations: a student of cc12m_1_cfg" in text
    assert "1 to 6" in text
    assert "downloads" not in text


def test_prompts_are_told_of_models_of_few_words_alone():
    text = listing.prompts("emoji")
    known = vocabulary(NETWORKS["emoji"])
    for thing in known.things:
        assert f"\n{thing}" in text
    assert "grounds: white, black" in text
    for name in ("cc12m_1_cfg", "yfcc_1"):
        with pytest.raises(UserError, match="of a limited vocabulary: emoji"):
            listing.prompts(name)


def test_words_are_those_of_the_training():
    known = vocabulary(NETWORKS["emoji"])
    assert list(known.things) == NAMES
    assert list(known.grounds) == list(GROUNDS)
    for text in ("a red apple on a blue background", "two cats", "Small kitties, pink background"):
        assert known.unknown(text) == []
    assert known.unknown("a steamy abacus on a mauve ground") == [
        "steamy",
        "abacus",
        "mauve",
        "ground",
    ]


@pytest.mark.skipif(not ANNOTATIONS.is_file(), reason="needs Unicode CLDR")
def test_words_are_written_by_the_training(tmp_path):
    words.main(["-o", str(tmp_path / "a.json")])
    found = json.loads((tmp_path / "a.json").read_text())
    assert list(found["things"]) == NAMES


def test_words_that_were_never_learnt_are_noted():
    assert told("a cat", "two owls on a white background") == []
    (line,) = told("the rise of consciousness", "a cat")
    assert line.startswith('emoji never learnt "rise", "consciousness": --list-prompts emoji')
    many = told(*[f"a a{i}" for i in range(9)])
    assert len(many) == remarks.MOST + 1
    assert "4 more" in many[-1]


def test_prompts_that_look_like_one_without_quotes_are_noted():
    (line,) = told("a", "cat", "on", "blue")
    assert line == "4 prompts of one word each: put quotes around one of several"
    assert told("cat", "fox") == []
    assert told("a cat", "fox", "dog") == []


@pytest.mark.parametrize(
    "text",
    ["a cat::2 dog::1", "a cat AND a dog", "a cat <lora:foo:1>", "a fox --steps 3"],
)
def test_prompts_in_the_words_of_other_tools_are_noted(text):
    assert any("is text as a whole" in line for line in told("--", text))


def test_sizes_that_were_not_trained_are_noted():
    for size in (("64",), ("64", "96"), ("96", "64")):
        assert told("a cat", "--size", *size) == []
    assert told("a cat", "--size", "144") == [
        "emoji was trained on 64 x 64 pixels: at 144 x 144 it may draw nothing that one knows"
    ]


def test_weights_of_one_s_own_may_know_other_things(tmp_path):
    (tmp_path / "own.pth").touch()
    assert told("a zeppelin", "--size", "128", "--checkpoint", str(tmp_path / "own.pth")) == []


@pytest.mark.parametrize(
    ("size", "note"),
    [
        ((64, 64), ""),
        ((128, 128), "photo.png: 128 x 128 pixels are scaled to 64 x 64\n"),
        ((100, 64), "100 x 64 pixels are scaled to 64 x 64, and what sticks out is cut off\n"),
    ],
)
def test_what_becomes_of_a_photo_is_noted(cfg_sample, tmp_path, size, note):
    Image.new("RGB", size).save(tmp_path / "photo.png")
    _, _, err = cfg_sample("a cat", "--init", "photo.png", "--steps", "1", *EMOJI)
    assert note in err
    assert ("photo.png" in err) == bool(note)
