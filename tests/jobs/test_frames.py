"""What the frames of an animation say, as the command lines that draw them alone would say it."""

import pytest

from cli.parser import parse
from cli.scripts import CFG
from jobs.frames import FRAMES, weights_at
from jobs.jobs import Jobs, items
from values.errors import UserError
from values.prompts import Prompt
from values.variations import Variation, VariationType

EMOJI = ("--model", "emoji")


def drawn(*words):
    return list(items(Jobs(CFG, [*words, *EMOJI])))


def prompts(item):
    return {prompt.text: prompt.weight for prompt in item.prompts}


def test_weights_go_along_the_line_and_reach_each_prompt_alone():
    assert [weights_at([3, 3], i, 4) for i in range(4)] == [[3, 0], [2, 1], [1, 2], [0, 3]]
    found = [weights_at([3, 2, -4], i, 5) for i in range(5)]
    assert found == [[3, 0, 0], [1.5, 1, 0], [0, 2, 0], [0, 1, -2], [0, 0, -4]]
    for count in (2, 3, 7, 24, 1000):
        assert weights_at([3, 0.1, 7], 0, count) == [3, 0, 0]
        assert weights_at([3, 0.1, 7], count - 1, count) == [0, 0, 7]
        for i in range(count):
            first, second = weights_at([3, 2], i, count)
            assert first / 3 + second / 2 == pytest.approx(1)


def test_a_frame_says_what_a_command_line_says_that_draws_it_alone():
    found = drawn(
        "an oil painting:1", "--morph", "a cat", "a fox:2", "--negative", "blurry", "--frames", "3"
    )
    alone = [
        drawn("a cat:3", "an oil painting:1", "--negative", "blurry"),
        drawn("a cat:1.5", "a fox:1", "an oil painting:1", "--negative", "blurry"),
        drawn("a fox:2", "an oil painting:1", "--negative", "blurry"),
    ]
    assert [item.prompts for item in found] == [item.prompts for [item] in alone]
    assert [item.fields["frame"] for item in found] == [0, 1, 2]
    assert all(item.image.morph is None for item in found)


def test_a_path_may_come_back_and_other_prompts_may_be_on_it():
    found = drawn("a cat:1", "--morph", "a cat", "a fox", "a cat", "--frames", "5")
    assert [prompts(item) for item in found] == [
        {"a cat": 4},
        {"a cat": 2.5, "a fox": 1.5},
        {"a fox": 3, "a cat": 1},
        {"a fox": 1.5, "a cat": 2.5},
        {"a cat": 4},
    ]


def test_each_seed_sweep_and_line_is_an_animation_of_its_own(tmp_path):
    found = drawn("--morph", "a cat", "a fox", "--seeds", "4,9", "--sweep", "steps=3,5")
    assert len(found) == 4 * FRAMES
    films = {item.film: (item.seed, item.image.steps) for item in found}
    assert films == {0: (4, 3), 1: (9, 3), 2: (4, 5), 3: (9, 5)}
    for film in films:
        shots = [item for item in found if item.film == film]
        assert [item.image.frame.number for item in shots] == list(range(FRAMES))
    jobs = tmp_path / "jobs.txt"
    jobs.write_text(
        'a star\n--morph "a cat" "a fox" --frames 2\n'
        '{"morph": [["a {cat}", 2], "a fox"], "frames": 3, "variation": "7:0-1"}\n'
    )
    found = drawn("--from-file", str(jobs), "red:1")
    assert [item.job.line for item in found] == [1, 2, 2, 3, 3, 3]
    assert prompts(found[3]) == {"a {cat}": 2, "red": 1}
    assert [str(item.image.variation) for item in found[3:]] == ["7:0", "7:0.5", "7:1"]


def test_choices_of_other_prompts_are_the_same_in_all_frames_of_a_seed():
    found = drawn("a {red,blue,green,pink} house:1", "--morph", r"a \{cat", "a fox", "-n", "6")
    houses = [{t for t in prompts(item) if t.endswith("house")} for item in found]
    for film in range(6):
        same = [h for h, item in zip(houses, found, strict=True) if item.film == film]
        assert all(one == same[0] for one in same)
    assert len({next(iter(house)) for house in houses}) > 1
    assert prompts(found[0]).keys() > {"a {cat"}


def test_share_that_moves_needs_no_prompts_and_one_that_stays_is_no_animation():
    found = drawn("a cat", "--variation", "7:0.2-0.8", "--frames", "4")
    shares = [item.image.variation.share for item in found]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert (shares[0], shares[-1]) == (0.2, 0.8)
    [alone] = drawn("a cat", "--variation", "7:0.2")
    assert alone.image.frame is None
    assert alone.image.variation == Variation(7, 0.2)


@pytest.mark.parametrize("text", ["7:0.2", "0:0-1", "18446744073709551615:1", "7:1e-05-0.1"])
def test_variation_is_read_as_it_is_written(text):
    kind = VariationType()
    assert str(kind(text)) == text
    assert kind.stored(text) == text
    assert kind(str(Variation(7, 1 / 3))) == Variation(7, 1 / 3)


def test_recipe_of_a_variation_names_its_file_without_folders(tmp_path):
    file = tmp_path / "b:c.safetensors"
    file.write_text("")
    kind = VariationType()
    found = kind(f"{file}:0.25")
    assert found == Variation(str(file), 0.25)
    assert kind.stored(str(found)) == "b:c.safetensors:0.25"
    assert kind.found("b:c.safetensors:0.25", lambda name: f"x/{name}") == (
        "x/b:c.safetensors:0.25"
    )


WRONG = {
    ("--morph", "a cat"): "goes nowhere",
    ("a cat", "--frames", "3"): "nothing moves",
    ("a cat", "--variation", "7:0.5", "--frames", "3"): "nothing moves",
    ("--morph", "-", "a fox"): "give texts",
    ("--morph", "a cat->a dog@0.5", "a fox"): "changes on the way",
    ("--morph", "a {cat,dog}", "a fox"): "no choices there",
    ("--morph", "a.safetensors", "a fox"): "latents and prompts",
    ("--morph", "a.safetensors", "b.safetensors", "c.safetensors"): "between two latents",
    ("--morph", "a.safetensors:2", "b.safetensors"): "have no weights",
    ("--morph", "a cat", "a fox", "--sweep", "prompt=a dog,a star", "--frames", "1"): "2 to 1000",
    ("--variation", "b.safetensors:0.5"): "no such file",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_move_is_refused(words):
    with pytest.raises(UserError, match=WRONG[words]):
        drawn(*words)


def test_all_words_behind_morph_are_its_own():
    said = parse(CFG, ["--morph", "a cat", "fox.png", "a dog:2", "--frames", "3", "a star"])
    assert said["morph"] == [Prompt("a cat", 3), Prompt("fox.png", 3), Prompt("a dog", 2)]
    assert said["prompts"] == [Prompt("a star", 3)]
