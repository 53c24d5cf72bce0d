"""Prompts, whatever is typed or stands in a recipe."""

from hypothesis import given
from hypothesis import strategies as st

from diffusion.spans import Span
from tests.fuzz import mutate
from tests.fuzz.lines import one_line
from values import prompts, sums
from values.errors import UserError
from values.prompts import ImagePrompt, Prompt, TextPrompt

parse, parse_image = TextPrompt(), ImagePrompt()
weights = st.floats(allow_nan=False, allow_infinity=False)


EXTENTS = ("a", "->", "@0.5", "@0-0.6", "@>0.6-1", "@0.2~0.3", "[0,0,0.5,1]", ":2", "\\", " ", "-")


def is_prompt(text):
    surrogates = any("\ud800" <= character <= "\udfff" for character in text)
    return text.strip() and len(text) <= prompts.MAX_LENGTH and not surrogates


def refused(read, text):
    try:
        read(text)
    except UserError as error:
        one_line(error)
        return True
    return False


@given(mutate.texts())
def test_any_text_is_a_prompt_or_refused_in_one_line(text):
    for read in (parse, parse_image):
        if not refused(read, text):
            for line in sums.describe([read(text)], 0.5):
                one_line(line)


@given(mutate.texts().filter(is_prompt), weights)
def test_formatted_prompt_is_parsed_as_itself(text, weight):
    prompt = Prompt(text, weight)
    assert parse(prompts.format_prompt(prompt)) == prompt


borders = st.floats(0, 1)
boxes = st.tuples(borders, borders, borders, borders).filter(lambda b: b[0] < b[2] and b[1] < b[3])
crisp = st.tuples(borders, borders, st.booleans()).filter(lambda s: s[0] < s[1])
spans = crisp.map(lambda s: Span(s[0], s[1], s[0], s[1], s[2])) | st.lists(
    borders, min_size=4, max_size=4, unique=True
).map(sorted).map(lambda t: Span(t[0], t[3], t[1], t[2]))


@given(mutate.texts().filter(is_prompt), weights, spans, boxes)
def test_formatted_extent_is_parsed_as_itself(text, weight, when, box):
    for prompt in (Prompt(text, weight, when), Prompt(text, weight, when, box)):
        assert parse(prompts.format_prompt(prompt)) == prompt
        assert parse.check(prompt.stored) == prompt


@given(st.lists(st.sampled_from(EXTENTS) | mutate.texts(), max_size=6).map("".join))
def test_any_extent_is_read_and_formatted_or_refused_in_one_line(argument):
    if not refused(parse, argument):
        for prompt in prompts.each([parse(argument)]):
            assert parse(prompts.format_prompt(prompt)) == prompt
            for line in sums.describe([prompt], 0.5):
                one_line(line)
            one_line(prompts.doubt(prompt.text) or "x")


@given(mutate.texts())
def test_what_was_parsed_is_formatted_and_parsed_as_itself(argument):
    if not refused(parse, argument):
        prompt = parse(argument)
        assert parse(prompts.format_prompt(prompt)) == prompt
