import pytest
from PIL import ImageFont

from media import fonts
from media.fonts import clean, font_for, spelt, wrap


@pytest.fixture
def font():
    return ImageFont.load_default(12)


def test_text_is_one_line_without_what_cannot_be_seen():
    assert clean("  a cat\n\tasleep ") == "a cat asleep"
    assert clean("red\x1b[31m \u202ecat") == "red\\x1b[31m \\u202ecat"
    assert clean("cafe\u0301") == "caf\u00e9"  # one character where there is one
    assert clean("\u2764\ufe0f") == "\u2764"
    assert len(clean("x" * 10**6)) == fonts.MAX_CHARACTERS


def test_lines_break_between_words_and_fit_the_width(font):
    text = "a small red apple on a large blue plate"
    lines = wrap(text, font, 64, 99)
    assert " ".join(lines) == text
    assert len(lines) > 3
    for line, after in zip(lines, [*lines[1:], None], strict=True):
        assert font.getlength(line) <= 64
        if after:  # would not have fitted
            assert font.getlength(f"{line} {after.split()[0]}") > 64


def test_word_wider_than_a_line_breaks_anywhere(font):
    lines = wrap("x" * 50, font, 64, 99)
    assert "".join(lines) == "x" * 50
    assert all(font.getlength(line) <= 64 for line in lines)


def test_what_is_too_long_ends_in_an_ellipsis(font):
    text = "a small red apple on a large blue background"
    lines = wrap(text, font, 64, 2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert font.getlength(lines[1]) <= 64
    assert text.startswith(" ".join(lines).removesuffix("…"))


def test_short_text_is_left_as_it_is(font):
    assert wrap("a cat", font, 64, 1) == ["a cat"]
    assert wrap("", font, 64, 1) == []


@pytest.mark.parametrize("width", [-9, 0, 1])
def test_line_has_a_character_however_narrow_it_is(font, width):
    assert wrap("abc", font, width, 5) == ["a", "b", "c"]
    assert wrap("abc", font, width, 1) == ["a…"]


def test_characters_that_a_font_lacks_are_replaced(font):
    assert spelt("a red apple", font) == "a red apple"
    assert spelt("crème brûlée", font) == "creme brulee"  # Pillow's own font has no accents
    assert spelt("cat 猫 \u200dx\u0302", font) == "cat ? x"


def test_plain_texts_get_the_same_font_everywhere():
    assert font_for(["a red apple", "seed 7"], 12).getname() == ("Aileron", "Regular")


def test_font_is_the_one_that_lacks_fewest_characters(monkeypatch):
    here = {"greek": ImageFont.load_default(12), "half": ImageFont.load_default(12)}
    known = {here["greek"]: "αβγ", here["half"]: "αβ"}
    own = ImageFont.truetype

    def truetype(font, *arguments, **options):
        if not isinstance(font, str):
            return own(font, *arguments, **options)
        if font not in here:
            raise OSError("cannot open resource")
        return here[font]

    monkeypatch.setattr(ImageFont, "truetype", truetype)
    monkeypatch.setattr(fonts, "has", lambda font, c: c.isascii() or c in known.get(font, ""))
    monkeypatch.setattr(fonts, "FONTS", ("missing", "half", "greek"))
    assert font_for(["γ", "αβ"], 12) is here["greek"]
    assert font_for(["αβ"], 12) is here["half"]
    monkeypatch.setattr(fonts, "FONTS", ("missing",))
    assert font_for(["γ"], 12).getname() == ("Aileron", "Regular")


def test_letters_do_not_leave_their_box(font):
    picture = fonts.draw(["a very long line indeed"], font, (40, 15), "black", (0, 255, 0))
    assert picture.size == (40, 15)
    assert len(picture.getcolors()) > 2
    empty = fonts.draw([], font, (40, 15), "black", (0, 255, 0))
    assert empty.getcolors() == [(600, (0, 255, 0))]
