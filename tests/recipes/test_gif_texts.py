"""A GIF's comment: our recipe, another's words, nothing, or a damaged file."""

import json

import pytest
from PIL import Image

from recipes import recipe as recipes
from values.errors import UserError

RECIPE = {"script": "cfg_sample.py", "seed": 3, "prompts": [["ein Kätzchen" * 100, 3.0]]}


def written(tmp_path, **comment):
    path = tmp_path / "a.gif"
    pictures = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **comment)
    return path


def test_recipe_comes_back_as_it_was_written(tmp_path):
    text = recipes.texts(RECIPE)[recipes.KEY]
    assert len(text) > 255  # a block of a GIF
    assert recipes.read(written(tmp_path, comment=text.encode())) == RECIPE


@pytest.mark.parametrize("comment", [{}, {"comment": b"made by hand"}, {"comment": b"\xff\x00"}])
def test_other_comments_are_no_recipe(tmp_path, comment):
    with pytest.raises(UserError, match="holds no recipe"):
        recipes.read(written(tmp_path, **comment))


def test_damaged_files_and_recipes_are_one_line(tmp_path):
    broken = json.dumps({"version": 1, "seed": "three"}).encode()
    with pytest.raises(UserError, match="its recipe is damaged"):
        recipes.read(written(tmp_path, comment=broken))
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match="damaged"):
        recipes.read(path)
