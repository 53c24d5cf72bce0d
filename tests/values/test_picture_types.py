import pytest

from recipes.recipe import label_fields
from values.errors import UserError
from values.picture_types import colour, picture_file, trajectory_file
from values.types import comma_list


def test_braces_in_a_file_name_are_literal():
    assert str(picture_file("runs/{index} {}.PNG").path({"index": 3})) == "runs/{index} {}.PNG"
    assert str(trajectory_file("{seed}.webp").path({"seed": 3})) == "{seed}.webp"


@pytest.mark.parametrize("read", [picture_file, trajectory_file])
@pytest.mark.parametrize("name", ["a.jpg", "a", ".png", "", "a.png\n", "\x1b.png"])
def test_other_names_are_refused_in_a_line(read, name):
    with pytest.raises(UserError) as refused:
        read(name)
    assert str(refused.value).isprintable()


def test_colours():
    assert colour("black") == (0, 0, 0)
    assert colour("#20406080") == colour("#204060") == (0x20, 0x40, 0x60)
    for text in ("blak", "", "#12", "\x1b", "1,2,3"):
        with pytest.raises(UserError, match="no colour"):
            colour(text)


def test_fields_of_a_label_are_those_of_a_recipe():
    assert label_fields(comma_list("seed, prompt,file")) == ["seed", "prompt", "file"]
    with pytest.raises(UserError, match=r"did you mean seed\?"):
        label_fields(["sed"])
    with pytest.raises(UserError, match="did you mean file"):
        label_fields(["filename"])
