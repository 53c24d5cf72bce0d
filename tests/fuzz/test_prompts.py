"""Prompts, whatever is typed or stands in a recipe."""

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import mutate
from tests.fuzz.lines import one_line
from values import prompts, sums
from values.errors import UserError
from values.prompts import ImagePrompt, Prompt, TextPrompt

parse, parse_image = TextPrompt(), ImagePrompt()
weights = st.floats(allow_nan=False, allow_infinity=False)


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


@given(mutate.texts())
def test_what_was_parsed_is_formatted_and_parsed_as_itself(argument):
    if not refused(parse, argument):
        prompt = parse(argument)
        assert parse(prompts.format_prompt(prompt)) == prompt
