"""Recipes in JPEGs and WebPs."""

import contextlib
import random

import pytest
from PIL import Image

from media.saving import save_image
from recipes import exif_texts, info, picture_texts
from recipes import recipe as recipes
from values.errors import UserError

RECIPE = {"prompts": [["ein Käfer, 甲虫", 3.0], ["blurry", -1.0]], "seed": 5, "model": "emoji"}
PICTURE = Image.linear_gradient("L").resize((32, 24)).convert("RGB")
KINDS = pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp", "a.WEBP", "a.png"])


@KINDS
def test_recipe_and_the_text_for_viewers_are_read_back(tmp_path, name):
    path = tmp_path / name
    save_image(PICTURE, path, RECIPE)
    assert recipes.read(path) == RECIPE
    size, texts = picture_texts.read(path, [recipes.KEY, "parameters"])
    assert size == (32, 24)
    assert texts["parameters"] == recipes.texts(RECIPE)["parameters"]
    assert info.find(path).recipe == RECIPE
    with Image.open(path) as image:
        exact = path.suffix.lower() in (".png", ".webp")
        assert (image.convert("RGB").tobytes() == PICTURE.tobytes()) == exact


@KINDS
def test_without_a_recipe_there_is_none(tmp_path, name):
    save_image(PICTURE, tmp_path / name)
    with pytest.raises(UserError, match="holds no recipe"):
        info.find(tmp_path / name)


def test_nothing_is_replaced_unasked(tmp_path):
    save_image(PICTURE, tmp_path / "a.jpg")
    with pytest.raises(FileExistsError):
        save_image(PICTURE, tmp_path / "a.jpg", RECIPE)
    save_image(PICTURE, tmp_path / "a.jpg", RECIPE, overwrite=True)
    assert recipes.read(tmp_path / "a.jpg") == RECIPE


@pytest.mark.parametrize("coding", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_comment_of_another_tool_is_read(tmp_path, kind, coding):
    exif, text = Image.Exif(), "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"
    exif[exif_texts.DESCRIPTION] = "{my holiday}"
    exif.get_ifd(exif_texts.EXIF)[exif_texts.COMMENT] = b"UNICODE\0" + text.encode(coding)
    PICTURE.save(tmp_path / "a", kind, exif=exif)
    found = info.find(tmp_path / "a")
    assert (found.recipe, found.parameters["prompt"]) == (None, "a cat")


def test_recipe_too_long_for_a_jpeg_is_left_out_with_a_note(tmp_path, capsys):
    long = {**RECIPE, "prompts": [[f"{i} {'x' * 9000}", 1.0] for i in range(6)]}
    save_image(PICTURE, tmp_path / "a.jpg", long)  # our recipe fits without the other text
    assert recipes.read(tmp_path / "a.jpg") == long
    assert not capsys.readouterr().err
    long["prompts"] *= 2
    save_image(PICTURE, tmp_path / "b.jpg", long)
    assert "b.jpg: its recipe is too long for a JPEG" in capsys.readouterr().err
    save_image(PICTURE, tmp_path / "b.webp", long)
    assert recipes.read(tmp_path / "b.webp") == long


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_damaged_files_are_told_in_a_line(tmp_path, name):
    path, rng = tmp_path / name, random.Random(0)
    save_image(PICTURE, path, RECIPE)
    whole = path.read_bytes()
    for i in range(200):
        data = bytearray(whole)
        for _ in range(3):
            data[rng.randrange(min(len(data), 900))] = rng.randrange(256)
        path.write_bytes(data[: rng.randrange(len(data))] if i % 2 else data)
        with contextlib.suppress(UserError):
            info.find(path)
