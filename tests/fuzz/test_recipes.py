"""Recipes: what a stranger's PNG says is followed, or refused in one line."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recipes import parameters
from recipes import recipe as recipes
from tests.fuzz import corpus, mutate
from tests.fuzz.command_line import answer
from tests.fuzz.lines import harmless, one_line
from values.errors import UserError


@st.composite
def odd_recipes(draw):
    """The text of a recipe that was changed."""
    recipe = {"version": 1, **corpus.RECIPE}
    return mutate.changed_json_text(draw, json.dumps(recipe))


def reads_or_is_refused(data):
    """The recipe of a PNG, or None."""
    Path("a.png").write_bytes(data)
    try:
        return recipes.read("a.png")
    except UserError as error:
        one_line(error)
        return None


@given(odd_recipes(), st.sampled_from(corpus.TEXT_CHUNKS))
def test_odd_recipe_is_read_or_refused_in_one_line(text, kind):
    recipe = reads_or_is_refused(corpus.png_with(text, kind))
    if recipe is not None:
        for line in parameters.text_of(recipe).splitlines():
            one_line(line, 100_000)
        Path("b.png").write_bytes(corpus.png_of(recipe))
        assert recipes.read("b.png") == recipe


# What arguments can be: longer than prompts and names may be, without the first half of a pair.
texts = mutate.texts().map(lambda text: text.replace("\ud800", "")[:20_000])
weighted = st.lists(st.tuples(texts, st.floats(-1e300, 1e300)).map(list), max_size=4)


@given(weighted, weighted, texts)
def test_what_is_written_is_read_and_shown_in_harmless_lines(prompts, images, text):
    recipe = {**corpus.RECIPE, "prompts": prompts, "images": images, "init": text, "model": text}
    Path("a.png").write_bytes(corpus.png_of(recipe))
    assert recipes.read("a.png") == recipes.checked(recipe)
    with Image.open("a.png") as image:
        harmless(image.text["parameters"])


@given(mutate.damaged(corpus.recipe_pngs, corpus.png_parts, corpus.join_png))
def test_damaged_png_has_a_recipe_or_is_refused_in_one_line(data):
    reads_or_is_refused(data)


DRAWING = ("cfg_sample", "clip_sample", "cfg_modify_image", "restore_sample")


@given(odd_recipes(), st.sampled_from(DRAWING))
def test_odd_recipe_is_followed_or_refused_in_one_line(text, script):
    text = text.replace("cfg_sample.py", f"{script}.py")
    Path("a.png").write_bytes(corpus.png_with(text, b"tEXt"))
    Path("photo.png").write_bytes(corpus.png_with("{}", b"tEXt"))
    answer(script, ["--from-png", "a.png"])
