import pytest

from values.errors import UserError
from values.words import Place, first_wrong, words_of


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a b", [("a", 0), ("b", 2)]),
        ('  "a b"  c', [("a b", 2), ("c", 9)]),
        ("a # b", [("a", 0)]),
        ("C# d", [("C#", 0), ("d", 3)]),
        (r"a\ b 'c\d'", [("a b", 0), (r"c\d", 5)]),
        (r'"a\"b\\c\d" \"', [(r'a"b\c\d', 0), ('"', 12)]),
        ("it'''s'\"\"\"x\"", [("itsx", 0)]),
        ("'' \"\"", [("", 0), ("", 3)]),
        ('a"b"c', [("abc", 0)]),
        ('"a"#b', [("a#b", 0)]),
        ("# all", []),
        ("   ", []),
        ("{a,b} c", [("{a,b}", 0), ("c", 6)]),
    ],
)
def test_words_are_those_of_a_shell(line, words):
    assert words_of(line) == words


@pytest.mark.parametrize("line", ["a 'b", 'a "b', 'a "b\\"', "a \\"])
def test_what_has_no_end_is_refused_where_it_begins(line):
    with pytest.raises(Place, match="no end") as refused:
        words_of(line)
    assert refused.value.column == 2


def test_the_one_that_makes_a_mistake_is_found_in_few_readings():
    readings = []

    def read(parts):
        readings.append(len(parts))
        if 2_900 in parts:
            raise UserError("wrong")

    assert first_wrong(list(range(3_000)), "wrong", read) == 2_900
    assert len(readings) <= 12  # the logarithm of 3,000
