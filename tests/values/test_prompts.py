import math
import random
import struct

import pytest

from values.errors import UserError
from values.prompts import (
    MAX_LENGTH,
    ImagePrompt,
    Prompt,
    TextPrompt,
    doubt,
    format_prompt,
    merge,
    photos_and_prompts,
)
from values.sums import describe

parse, parse_image = TextPrompt(3), ImagePrompt(3)


@pytest.mark.parametrize(
    ("argument", "text", "weight"),
    [
        ("a cat", "a cat", 3),
        ("a cat:2", "a cat", 2),
        ("a cat:-0.5", "a cat", -0.5),
        ("a cat: .25", "a cat", 0.25),
        ("a cat:1e-3", "a cat", 0.001),
        ("a cat:0", "a cat", 0),
        ("a:b:2", "a:b", 2),
        ("3:00 o'clock", "3:00 o'clock", 3),
        ("at 12:30", "at 12", 30),  # a number after the last colon is a weight ...
        (r"at 12\:30", "at 12:30", 3),  # ... but for a backslash
        (r"ratio 16\:9", "ratio 16:9", 3),
        (r"ratio 16\:9:1.5", "ratio 16:9", 1.5),
        ("a cat:", "a cat:", 3),
        ("a cat:1_000", "a cat:1_000", 3),
        ("title: a cat", "title: a cat", 3),
        (r"C:\new\table:2", r"C:\new\table", 2),
        (r"back\slash", r"back\slash", 3),
        ("back\\", "back\\", 3),
        (r"back\\:2", "back\\", 2),
        ("猫:２", "猫", 2),  # float() reads the digits of every script
    ],
)
def test_weight_is_the_number_after_the_last_colon(argument, text, weight):
    assert parse(argument) == Prompt(text, weight)


def test_default_weight_can_be_set():
    assert TextPrompt(1)("a cat") == Prompt("a cat", 1.0)
    assert TextPrompt(1)("a cat:2") == Prompt("a cat", 2.0)


@pytest.mark.parametrize(
    ("argument", "text", "weight"),
    [
        ("photo.png", "photo.png", 3),
        ("photo.png:2", "photo.png", 2),
        ("http://host:8080/a.png", "http://host:8080/a.png", 3),
        ("http://host:8080/a.png:2", "http://host:8080/a.png", 2),
        ("http://host:8080", "http://host:8080", 3),
        ("HTTPS://user@host:8080", "HTTPS://user@host:8080", 3),
        ("http://host:8080/:2", "http://host:8080/", 2),
        ("http://host:8080?a:2", "http://host:8080?a", 2),
        ("http://[::1]:80", "http://[::1]:80", 3),
        ("http://[::1]/a.png", "http://[::1]/a.png", 3),
        (r"C:\x.png", r"C:\x.png", 3),
        (r"C:\x.png:2", r"C:\x.png", 2),
        ("C:1.png", "C:1.png", 3),
        ("C:1", "C:1", 3),
        ("C:1:2", "C:1", 2),
        (r"scan\:2", "scan:2", 3),
        ("bad\udcffbyte.png", "bad\udcffbyte.png", 3),  # a file name may be any bytes
    ],
)
def test_ports_and_drives_are_no_weights(argument, text, weight):
    assert parse_image(argument) == Prompt(text, weight)


@pytest.mark.parametrize("function", [parse, parse_image])
@pytest.mark.parametrize(
    "argument",
    ["", ":2", "  ", "  :2", "cat:nan", "cat:inf", "cat:-Infinity", "cat:1e999", "x" * 10_001],
)
def test_what_nobody_means_is_refused_in_one_line(function, argument):
    with pytest.raises(UserError) as refused:
        function(argument)
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 300


@pytest.mark.parametrize("text", ["x" * 5_000, "a/" * 5_000, "a\0b"])
def test_prompt_that_is_too_long_for_a_file_name_follows_a_photo(text):
    assert photos_and_prompts(["a.png", text], 3.0) == (["a.png"], [Prompt(text, 3.0)])
    assert photos_and_prompts([text], 3.0) == ([], [Prompt(text, 3.0)])


def test_text_that_is_not_unicode_is_refused():
    with pytest.raises(UserError, match=r'"bad \\udcff" is not valid UTF-8'):
        parse("bad \udcff")


def test_refusal_cannot_drive_the_terminal():
    with pytest.raises(UserError) as refused:
        parse("\x1b[2J:nan")
    assert "\x1b" not in str(refused.value)


def test_longest_text_is_taken():
    assert parse("x" * MAX_LENGTH).text == "x" * MAX_LENGTH


@pytest.mark.parametrize("text", ["x" * MAX_LENGTH, ":" * MAX_LENGTH, "\\" * MAX_LENGTH])
def test_longest_text_of_a_recipe_is_taken_as_an_argument(text):
    assert parse(format_prompt(Prompt(text, 2.5))) == Prompt(text, 2.5)


@pytest.mark.parametrize("function", [parse, parse_image])
def test_a_million_backslashes_take_no_time(function):
    for argument in ("\\" * 10**6, "a" + "\\" * 10**6 + "b:1"):
        with pytest.raises(UserError, match="characters"):
            function(argument)


def random_text(random):
    pieces = [":", "\\", "\\:", "1", "2.5", "-", "nan", "inf", " ", "é", "猫", "\n", "\x00", "e5"]
    while True:
        text = "".join(random.choice(pieces) for _ in range(random.randint(1, 9)))
        if text.strip():
            return text


def random_weight(random):
    while True:
        any_bits = struct.unpack("d", random.randbytes(8))[0]
        weight = random.choice([any_bits, random.gauss(0, 3), random.randint(-9, 9) / 2])
        if math.isfinite(weight):
            return weight


def test_format_is_the_inverse_of_parse():
    source = random.Random(0)
    for _ in range(30_000):
        prompt = Prompt(random_text(source), random_weight(source))
        assert parse(format_prompt(prompt)) == prompt


def test_format_is_short():
    assert format_prompt(Prompt("a cat", 3.0)) == "a cat:3"
    assert format_prompt(Prompt("at 12:30", 0.1)) == "at 12:30:0.1"


def test_equal_texts_merge_and_keep_their_order():
    prompts = [Prompt("a", 1.0), Prompt("b", 2.0), Prompt("a", 0.5), Prompt("A", 1.0)]
    assert merge(prompts) == [Prompt("a", 1.5), Prompt("b", 2.0), Prompt("A", 1.0)]
    assert merge([]) == []


def test_weights_too_large_to_add_are_refused():
    with pytest.raises(UserError, match="too large"):
        merge([Prompt("a", 1e308), Prompt("a", 1e308)])


def test_conditions_are_shown_with_aligned_weights():
    conditions = [Prompt("a fox", 3.0), Prompt("photo.png", 1.25), Prompt("blurry", -0.5)]
    assert describe(conditions, -2.75) == [
        "   3     a fox",
        "   1.25  photo.png",
        "  -0.5   blurry",
        "  -2.75  (no prompt)",
    ]
    assert describe([], 1.0) == ["  1  (no prompt)"]
    assert describe([], 1.0, [0.25, 1.0]) == ["  1  (no prompt, at t from 0.25 to 1)"]


def test_rounding_of_weights_is_not_shown():
    assert describe([Prompt("a", 0.1 + 0.2)], 1 - 0.7 - 0.3)[0] == "  0.3  a"
    assert describe([Prompt("a", 1.0)], 5e-17)[-1].split() == ["0", "(no", "prompt)"]


def test_shown_conditions_stay_lines_of_harmless_text():
    lines = describe([Prompt("two\nlines\x1b[2J", 1e-6), Prompt("x" * 9999, 1e30)], -1e30)
    assert len(lines) == 3
    assert all(line.isprintable() and len(line) < 120 for line in lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a cat:3,5", "a weight has a point"),
        ("(a cat:1.3)", "the parentheses"),
        ("a [red:2] cat, sitting", "the parentheses"),
    ],
)
def test_weights_of_other_tools_are_told_as_text(text, told):
    assert TextPrompt()(text) == Prompt(text, 3)
    assert told in doubt(text)


@pytest.mark.parametrize("text", ["a cat", "at 3:30", "a cat (sitting)", "one, two: 3 and 4"])
def test_other_texts_are_in_no_doubt(text):
    assert doubt(text) is None


def test_an_arrow_without_its_border_is_noted():
    told = "an arrow needs the timestep where it changes"
    assert told in doubt("a cat->a fox")
    assert doubt("10 -> 20 apples") is None
