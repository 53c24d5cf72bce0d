import pytest
from PIL import Image, ImageDraw

from tests.train.squares import COLOURS


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """A folder of captioned plain squares of four colours: nothing in it is an emoji."""
    path = tmp_path_factory.mktemp("squares")
    for i in range(32):
        name = list(COLOURS)[i % len(COLOURS)]
        Image.new("RGB", (64, 64), COLOURS[name]).save(path / f"{i:02}.png")
        (path / f"{i:02}.txt").write_text(f"a {name} square\n{name}\n")
    return path


@pytest.fixture(scope="session")
def sprites():
    """Pictures of three made-up things, RGBA as `train.render.sprite` gives them."""
    pictures = {}
    for name in ("disc", "frame", "bar"):
        picture = Image.new("RGBA", (128, 128))
        pen = ImageDraw.Draw(picture)
        if name == "disc":
            pen.ellipse((2, 2, 126, 126), fill=(240, 200, 20, 255))
        elif name == "frame":
            pen.rectangle((4, 4, 124, 124), outline=(30, 30, 90, 255), width=24)
        else:
            pen.rectangle((4, 50, 124, 78), fill=(0, 140, 140, 255))
        pictures[name] = picture
    return pictures
