from collections import Counter

import pytest

from values.errors import UserError
from values.wildcards import Wildcards


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "animal.txt").write_text("# of the house\n\ncat\n  dog\n{tabby,black} cat\n")
    (tmp_path / "pair.txt").write_text("__animal__ and __animal__\n")
    return Wildcards(tmp_path)


def every(wildcards, text, seeds=200):
    return {wildcards.expand([text], seed)[0] for seed in range(seeds)}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a {red,blue} heart", {"a red heart", "a blue heart"}),
        ("{a,b}{c,d}", {"ac", "ad", "bc", "bd"}),
        ("{a,{b,c} d}", {"a", "b d", "c d"}),
        ("{,very }old", {"old", "very old"}),
        (r"{a\,b,c\}}", {"a,b", "c}"}),
        (r"{a,{b\,c,d}}", {"a", "b,c", "d"}),
    ],
)
def test_one_of_the_alternatives_is_chosen(text, meant):
    assert every(Wildcards(), text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("{alone}", "{alone}"),
        ("no {end, here", "no {end, here"),
        ("no start, here}", "no start, here}"),
        (r"\{a,b}", "{a,b}"),
        (r"\__init__", "__init__"),
        ("snake_case __", "snake_case __"),
        ("back\\slash", "back\\slash"),
        ("__../etc/passwd__", "__../etc/passwd__"),
    ],
)
def test_all_else_is_text(text, meant):
    assert every(Wildcards(), text, 3) == {meant}


def test_lines_of_a_list_are_chosen_and_may_hold_more(lists):
    assert every(lists, "a __animal__") == {"a cat", "a dog", "a tabby cat", "a black cat"}
    assert "dog and cat" in every(lists, "__pair__")


def test_choice_is_that_of_the_seed_and_about_even(lists):
    texts = ["{a,b,c,d}", "__animal__"]
    assert lists.expand(texts, 5) == lists.expand(texts, 5)
    counts = Counter(lists.expand(texts, seed)[0] for seed in range(2000))
    assert all(400 < count < 600 for count in counts.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a __plant__", "no such file"),
        ("a __empty__", "no lines"),
        ("__ring__", "leads back to itself"),
        ("{a,__plant__}", "no such file"),
    ],
)
def test_lists_that_cannot_be_used_are_found_beforehand(lists, text, message):
    (lists.folder / "empty.txt").write_text("# nothing\n")
    (lists.folder / "ring.txt").write_text("a __ring2__\n")
    (lists.folder / "ring2.txt").write_text("b __ring__\n")
    with pytest.raises(UserError, match=message):
        lists.check([text])


def test_braces_without_end_are_text():
    assert Wildcards().expand(["{" * 10_000], 0) == ["{" * 10_000]


def test_lists_that_lead_on_and_on_are_refused(lists):
    for i in range(20):
        (lists.folder / f"n{i}.txt").write_text(f"__n{i + 1}__\n")
    with pytest.raises(UserError, match="too deep"):
        lists.expand(["__n0__"], 0)


def test_text_that_grows_without_end_is_refused(lists):
    for i in range(12):
        (lists.folder / f"n{i}.txt").write_text(f"__n{i + 1}__ __n{i + 1}__ __n{i + 1}__\n")
    (lists.folder / "n12.txt").write_text("word " * 1000)
    with pytest.raises(UserError, match="longer than"):
        lists.expand(["__n0__"], 0)
