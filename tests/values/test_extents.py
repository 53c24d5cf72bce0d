"""When and where a prompt counts, as it stands behind the weight."""

import pytest

from diffusion.spans import ALWAYS, Span
from values.errors import UserError
from values.prompts import (
    ImagePrompt,
    NegativePrompt,
    Prompt,
    RegionPrompt,
    TextPrompt,
    doubt,
    each,
    format_prompt,
    merge,
    weighing,
)
from values.sums import describe, is_varied, totals

parse = TextPrompt(3)
LATE, EARLY = Span(0.0, 0.6, 0.0, 0.6), Span(0.6, 1.0, 0.6, 1.0, above=True)
LEFT = (0.0, 0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("argument", "prompt"),
    [
        ("a cat:2@0-0.6", Prompt("a cat", 2, LATE)),
        ("a cat@0-0.6", Prompt("a cat", 3, LATE)),
        ("a cat @.25-1", Prompt("a cat", 3, Span(0.25, 1.0, 0.25, 1.0))),
        ("a cat@>0.6-1", Prompt("a cat", 3, EARLY)),
        ("a cat:-1@0.1~0.2-0.5~0.7", Prompt("a cat", -1, Span(0.1, 0.7, 0.2, 0.5))),
        ("a cat@0-1", Prompt("a cat", 3)),
        ("a cat:2[0,0,0.5,1]", Prompt("a cat", 2, ALWAYS, LEFT)),
        ("a cat [0, 0, .5, 1]", Prompt("a cat", 3, ALWAYS, LEFT)),
        ("a cat:2@0-0.6[0,0,0.5,1]", Prompt("a cat", 2, LATE, LEFT)),
        ("a cat:2[0,0,0.5,1]@0-0.6", Prompt("a cat", 2, LATE, LEFT)),
        (r"at 12\:30:2@0-0.6", Prompt("at 12:30", 2, LATE)),
        ("back\\\\@0-0.6", Prompt("back\\", 3, LATE)),
    ],
)
def test_timesteps_and_a_box_stand_behind_the_weight_or_the_text(argument, prompt):
    assert parse(argument) == prompt
    assert parse(format_prompt(prompt)) == prompt
    assert Prompt.of(prompt.stored) == parse.check(prompt.stored) == prompt
    assert parse.stored(prompt.stored) == prompt.stored


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("user@host", "user@host"),
        ("10 -> 20 apples", "10 -> 20 apples"),
        ("meet @ 5", "meet @ 5"),
        ("user@5", "user@5"),
        ("a list [1,2]", "a list [1,2]"),
        ("[0,0,0.5,1] a cat", "[0,0,0.5,1] a cat"),
        ("@0-0.6 a cat", "@0-0.6 a cat"),
        (r"user\@0-0.6", "user@0-0.6"),
        (r"a cat\[0,0,0.5,1]", "a cat[0,0,0.5,1]"),
        (r"10 \-> 20@0.5", "10 -> 20@0.5"),
        (r"10 -> 20\@0.5", "10 -> 20@0.5"),
        (r"C:\@home", r"C:\@home"),
        (r"a \-> b", r"a \-> b"),
        ("a\\\\\\@0-0.6", "a\\@0-0.6"),
    ],
)
def test_other_texts_are_text_and_a_backslash_makes_them_text(argument, text):
    assert parse(argument) == Prompt(text, 3)
    assert parse(format_prompt(Prompt(text, 3.0))) == Prompt(text, 3)


@pytest.mark.parametrize(
    "text",
    ["a@0-0.6", "a\\@0-0.6", "a\\\\@0-0.6", "a[0,0,1,1]", "a->b@0.5", "a\\->b\\@0.5", "a:2@0-1"],
)
def test_a_text_that_looks_like_an_extent_is_formatted_so_that_it_stays_text(text):
    for prompt in (Prompt(text, 2.0), Prompt(text, 2.0, LATE), Prompt(text, 2.0, ALWAYS, LEFT)):
        assert parse(format_prompt(prompt)) == prompt


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("a cat:3@0-1.6", "timesteps go from 0"),
        ("a cat:3@-0.1-0.5", "timesteps go from 0"),
        ("a cat:3@0.7-0.6", "below the second"),
        ("a cat:3@0.6-0.6", "below the second"),
        ("a cat:3@0.1~0.6-0.5~0.7", "below the second"),
        ("a cat:3@0.2~0.1-0.5", "a fade goes"),
        ("a cat:3@>0.1~0.2-0.5", "leave out >"),
        ("a cat:3[0,0,0,1]", "the box is empty"),
        ("a cat:3[0,0.5,1,0.2]", "the box is empty"),
        ("a cat:3[0,0,2,1]", "lies in the image"),
        ("a cat:3[-1,0,1,1]", "lies in the image"),
        ("a cat@0-0.5@0.5-1", "timesteps twice"),
        ("a cat[0,0,1,1][0,0,1,1]", "a box twice"),
        ("a->b->c@0.3", 'behind "b"'),
        ("a->b@0.3->c@0.5", "and so do changes"),
        ("a->b@0.3->c@0.3", "and so do changes"),
        ("a->b@0.3~0.6->c@0.2~0.4", "and so do changes"),
        ("a->b@1", "leaves one side empty"),
        ("a->b@1.5", "timesteps go from 0"),
        ("a@0-0.2->b@0.5", "says twice"),
        ("a[0,0,1,0.5]->b@0.5[0,0,0.5,1]", "says twice"),
        ("->b@0.5", "is empty"),
        ("@0-0.6", "is empty"),
        ("a->b:inf@0.5", "not finite"),
    ],
)
def test_mistakes_are_told_in_one_line(argument, told):
    with pytest.raises(UserError, match=told) as error:
        parse(argument)
    assert "\n" not in str(error.value)


def test_an_arrow_changes_one_prompt_into_the_next():
    assert each([parse("a cat->a fox:2@0.6")]) == [
        Prompt("a cat", 2, EARLY),
        Prompt("a fox", 2, LATE),
    ]
    middle = Span(0.3, 0.6, 0.3, 0.6, above=True)
    assert each([parse("a -> b:4 @0.6 -> c @0.3[0,0,0.5,1]")]) == [
        Prompt("a", 3, EARLY, LEFT),
        Prompt("b", 4, middle, LEFT),
        Prompt("c", 3, Span(0.0, 0.3, 0.0, 0.3), LEFT),
    ]
    assert each([parse("a->b[0,0,0.5,1]@0.6")])[1] == Prompt("b", 3, LATE, LEFT)
    assert each([parse(r"a\->b->c@0.6")])[0] == Prompt("a->b", 3, EARLY)
    fade = each([parse("a cat->a fox@0.5~0.7"), Prompt("x", 1)])
    assert [p.when for p in fade] == [Span(0.5, 1, 0.7, 1), Span(0, 0.7, 0, 0.5), ALWAYS]
    for t in (0.0, 0.5, 0.55, 0.61, 0.7, 1.0):
        assert sum(p.when.share(t) for p in fade[:2]) == pytest.approx(1, abs=1e-15)


def test_negative_and_image_prompts_change_alike():
    negative = each([NegativePrompt()("blurry->dark:2@0.6")])
    assert [(p.text, p.weight) for p in negative] == [("blurry", -2), ("dark", -2)]
    image = ImagePrompt(3)("http://host:8080@0-0.6")
    assert (image.text, image.weight, image.when) == ("http://host:8080", 3, LATE)
    assert ImagePrompt(3).stored(["/a/b.png", 1, "@0-0.6"]) == ["b.png", 1, "@0-0.6"]


def test_weight_is_that_of_all_parts():
    chain = weighing(parse("a:1->b:2@0.6"), 5.0)
    assert [p.weight for p in each([chain])] == [5, 5]


def test_a_region_is_a_prompt_and_a_mask():
    read = RegionPrompt()
    expected = Prompt("a cat", 2, LATE, "my mask.png")
    assert read("a cat:2@0-0.6\0my mask.png") == expected
    assert read.check(["a cat:2@0-0.6", "my mask.png"]) == expected
    assert read.check(expected.stored) == expected
    assert read("a cat:2@0-0.6 mask.png") == Prompt("a cat", 2, LATE, "mask.png")
    assert read.stored(["a cat", 2, "", "/home/me/mask.png"]) == ["a cat", 2, "", "mask.png"]
    assert [p.mask for p in each([read("a->b@0.5 m.png")])] == ["m.png", "m.png"]
    for wrong in ("a", "a cat:3\0", "a[0,0,1,0.5] m.png"):
        with pytest.raises(UserError):
            read(wrong)
    for wrong in ([["a", 1], "m.png"], ["a", 1, "", 5], ["a", 1, "x", "m.png"], 5, ["a", 1]):
        with pytest.raises(UserError):
            read.check(wrong)


@pytest.mark.parametrize(
    "stored", [["a", 1, "@0-2"], ["a", 1, "x"], ["a", 1, 5], ["a", 1, "", 2, 3], ["a"], ["a", "b"]]
)
def test_what_a_recipe_cannot_say_is_refused(stored):
    with pytest.raises(UserError):
        parse.stored(stored)


def test_prompts_that_count_at_other_times_or_places_are_not_merged():
    prompts = [Prompt("a", 1.0), Prompt("a", 1.0, LATE), Prompt("a", 2.0, LATE)]
    prompts += [Prompt("a", 1.0, LATE, LEFT), Prompt("a", 1.0)]
    assert merge(prompts) == [
        Prompt("a", 2.0),
        Prompt("a", 3.0, LATE),
        Prompt("a", 1.0, LATE, LEFT),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cat@0-0.6:3", "stand behind the weight"),
        ("cat[0,0,1,1]:3", "stand behind the weight"),
        ("a->b@0.6:3", "the weight stands first"),
        ("cat@0.6", "timesteps are two"),
        ("cat[0,0.5]", "a box has four numbers"),
        ("a [cat:dog:0.5] here", "changes on the way"),
    ],
)
def test_what_may_have_been_meant_otherwise_is_told(text, told):
    assert told in doubt(parse(text).text)


@pytest.mark.parametrize("text", ["user@host", "10 -> 20 apples", "meet @ 5", "a cat -> a dog"])
def test_ordinary_texts_are_in_no_doubt(text):
    assert doubt(text) is None


def test_weights_are_added_up_over_time():
    chain = each([parse("a->b@0.6")])
    assert {total for _, total, _ in totals(chain)} == {3}
    assert not is_varied(chain)
    assert is_varied([Prompt("a", 3, LATE)])
    assert is_varied([Prompt("a", 3, ALWAYS, LEFT)])
    sums = {t: (total, size) for t, total, size in totals([Prompt("a", 3, LATE), Prompt("b", -1)])}
    assert (sums[0.0], sums[0.6], sums[1.0]) == ((2, 4), (2, 4), (-1, 1))


def test_shown_conditions_say_when_and_where():
    asked = [*each([parse("a cat->a fox@0.5~0.7")]), parse("a dog:-1@>0.2-0.4[0,0,0.5,1]")]
    assert describe(asked, -4.0) == [
        "   3  a cat, at t from 0.5 to 1, fading",
        "   3  a fox, at t from 0 to 0.7, fading",
        "  -1  a dog, at t above 0.2, up to 0.4, in [0, 0, 0.5, 1]",
        "      (no prompt: the rest to 1, at each t and in each place)",
    ]
    assert describe(asked[:2], -5.0)[-1] == "  -5  (no prompt)"


@pytest.mark.parametrize(
    "text", ["\\" * 10**6 + "@0-1", "@" * 10**6, "[" * 10**6 + "0]", "->" * 10**6]
)
def test_long_texts_take_no_time(text):
    with pytest.raises(UserError):
        parse(text + "@0.5")
