"""make_grid.py from its command line to its file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.parser import parse
from cli.scripts import GRID
from media import grids
from media.folders import find_images
from media.grids import label
from media.saving import save_png
from recipes import recipe as recipes
from values.errors import UserError
from values.picture_types import FITS

ROOT = Path(__file__).parent.parent
COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}


def paint(name, colour="red", shape=(8, 6), mode="RGB", **recipe):
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    image = Image.new(mode, shape, colour)
    if path.suffix == ".png":
        save_png(image, path, recipes.texts(recipe) if recipe else None, overwrite=True)
    else:
        image.save(path)
    return path


@pytest.fixture
def four(script):
    """Images of four colours, named so that the natural order is not that of the alphabet."""
    names = [f"image{number}.png" for number in (1, 2, 10, 11)]
    for name, colour in zip(names, COLOURS, strict=True):
        paint(name, colour)
    return names


def colours(path="grid.png", size=(8, 6)):
    """The colours of a grid without spacing, each place being of one colour alone: a row each."""
    with Image.open(path) as image:
        shown = np.asarray(image)
    height, width = shown.shape[0] // size[1], shown.shape[1] // size[0]
    places = shown.reshape(height, size[1], width, size[0], 3).swapaxes(1, 2)
    assert (places == places[:, :, :1, :1]).all()
    names = {value: name for name, value in {**COLOURS, "white": (255, 255, 255)}.items()}
    return [" ".join(names[tuple(place[0, 0].tolist())] for place in row) for row in places]


def noted(monkeypatch):
    """What the grid was asked to write, in a list that fills when it is made."""
    written = []

    def layout(*arguments, **options):
        plan = grids_layout(*arguments, **options)
        written.extend(" / ".join(text.lines) for text in plan.texts)
        return plan

    grids_layout = grids.layout
    monkeypatch.setattr(grids, "layout", layout)
    return written


def refusal(make_grid, *argv):
    status, out, err = make_grid(*argv)
    assert (status, out) == (2, [])
    assert err.startswith("make_grid.py: error: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    return err


# What is shown


def test_images_are_put_in_rows(make_grid, four):
    assert make_grid(*four) == (0, ["grid.png"], "")
    assert colours() == ["red lime", "blue black"]
    assert make_grid(*reversed(four), "-o", "row.png", "--nrow", 4)[1] == ["row.png"]
    assert colours("row.png") == ["black blue lime red"]
    assert make_grid("--nrow", 3, "--output", "new/three.png", *four)[0] == 0
    assert colours("new/three.png") == ["red lime blue", "black white white"]


def test_modes_are_made_alike(make_grid, script):
    paint("a.png", 255, mode="L")
    paint("b.png", (0, 0, 255, 0), mode="RGBA")
    paint("c.gif", "red")
    paint("d.jpg", "black")
    assert make_grid("a.png", "b.png", "c.gif", "d.jpg")[0] == 0
    assert colours() == ["white white", "red black"]


def test_folder_stands_for_its_images_in_natural_order(make_grid, four, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".image0.png").write_text("hidden")
    paint("deeper/image0.png", "black")
    (tmp_path / "image5.png").mkdir()
    assert make_grid(".")[0] == 0
    assert colours() == ["red lime", "blue black"]


def test_pattern_stands_for_images_in_natural_order(make_grid, four, tmp_path):
    paint("other.png", "black")
    (tmp_path / "image3.txt").write_text("no image")
    assert make_grid("image*", "image1.png", "-o", "a.png", "--nrow", 5)[0] == 0
    assert colours("a.png") == ["red lime blue black red"]
    assert make_grid("image[12].*", "-o", "b.png")[0] == 0
    assert colours("b.png") == ["red lime"]


def test_file_whose_name_looks_like_a_pattern_is_itself(make_grid, script):
    paint("a[1].png", "blue")
    paint("a1.png", "red")
    assert make_grid("a[1].png")[0] == 0
    assert colours() == ["blue"]


def test_natural_order_counts_and_ignores_case(script):
    names = ["B2.png", "b10.png", "a.png", "b02.png", "1.png", "b2_9.jpg", "b2_10.jpg"]
    for name in names:
        paint(f"all/{name}")
    found = [path.name for path in find_images(["all"], Path("grid.png"))]
    assert found[:2] == ["1.png", "a.png"]
    assert set(found[2:4]) == {"B2.png", "b02.png"}
    assert found[4:] == ["b2_9.jpg", "b2_10.jpg", "b10.png"]


def test_grid_of_a_folder_does_not_show_the_grid_before(make_grid, four):
    for _ in range(2):
        assert make_grid(".", "--overwrite")[0] == 0
        assert colours() == ["red lime", "blue black"]
    assert make_grid("./*.png", "--overwrite")[0] == 0
    assert colours() == ["red lime", "blue black"]
    assert make_grid("grid.png", "--overwrite", "--scale", 2)[0] == 0  # asked for by its name
    assert colours(size=(16, 12)) == ["red lime", "blue black"]


def test_a_thousand_images_are_opened_one_after_the_other(make_grid, script, monkeypatch):
    for i in range(1000):
        paint(f"all/{i}.bmp", (i % 256, i // 256, 0), (2, 2))
    assert make_grid("all", "--label", "file", "--nrow", 40, "--spacing", 0)[0] == 0
    plan = grids.layout(1000, (2, 2), 40, labels=[f"{i}.bmp" for i in range(1000)], spacing=0)
    with Image.open("grid.png") as image:
        assert image.size == plan.size
        assert all(
            image.getpixel(plan.cells[i]) == (i % 256, i // 256, 0) for i in range(0, 1000, 7)
        )


# Sizes


def test_sizes_that_differ_need_fit(make_grid, script):
    paint("a.png"), paint("b.png"), paint("c.png", "blue", (4, 12))
    err = refusal(make_grid, "a.png", "b.png", "c.png")
    assert "a.png has 8 x 6 pixels, c.png has 4 x 12 pixels" in err
    assert "--fit" in err
    assert not Path("grid.png").exists()
    for fit in FITS:
        assert make_grid("a.png", "b.png", "c.png", "--fit", fit, "--overwrite")[0] == 0
        with Image.open("grid.png") as image:
            assert image.size == (16, 24)  # the largest width and the largest height
            assert image.getpixel((4, 18)) == (0, 0, 255)


def test_size_is_that_of_each_image(make_grid, script):
    paint("wide.png", "blue", (40, 20))
    for fit, colour in ((None, "white"), ("contain", "white"), ("cover", "blue")):
        how = ("--fit", fit) if fit else ()
        assert make_grid("wide.png", "--size", 10, 10, "--overwrite", *how)[0] == 0
        with Image.open("grid.png") as image:
            assert image.size == (10, 10)
            assert image.getpixel((5, 0)) == {"white": (255, 255, 255), "blue": (0, 0, 255)}[colour]


def test_turned_photos_have_the_size_they_are_seen_in(make_grid, four):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 8), "red").save("photo.tiff", exif=exif)
    assert make_grid("photo.tiff", *four[1:])[0] == 0
    assert colours() == ["red lime", "blue black"]


def test_grid_that_is_too_large_is_refused_before_an_image_is_decoded(
    make_grid, script, monkeypatch
):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    paint("a.png", shape=(4000, 4000), mode="1", colour=1)
    err = refusal(make_grid, *["a.png"] * 6)
    assert "12,000 x 8,000 pixels" in err
    assert "80 million" in err


def test_image_that_cannot_be_read_is_told_before_one_is_decoded(make_grid, four, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    Path("last.png").write_text("<html>")
    assert "last.png: not a PNG" in refusal(make_grid, *four, "last.png")


# Labels and titles


def test_labels_come_from_the_recipes(make_grid, script, monkeypatch):
    written = noted(monkeypatch)
    recipe = {"prompts": [["a cat", 3.0]], "steps": 20, "method": "ab2", "size": [64, 64]}
    paint("a.png", shape=(128, 64), seed=7, eta=0.5, **recipe)
    assert make_grid("a.png", "--label", "seed,prompt, steps,method,eta,size,file")[0] == 0
    assert written == ["seed 7 / a cat / steps 20 / ab2 / eta 0.5 / 64 x 64 / a.png"]
    with Image.open("grid.png") as image:
        assert len(image.crop((0, 80, *image.size)).convert("L").getcolors()) > 8


def test_weights_are_told_where_there_are_several_prompts_or_asked_for(script):
    path = paint("a.png", prompts=[["a cat", 3.0], ["a dog", -1.0]])
    assert label(path, ["prompt"]) == "a cat:3 | a dog:-1"
    path = paint("b.png", prompts=[["a cat", 3.0]], guidance_interval=[0.2, 1.0], direct=True)
    assert label(path, ["prompts"]) == "a cat:3"
    assert label(path, ["guidance_interval", "direct"]) == "guidance interval 0.2, 1\ndirect True"


def test_file_without_the_field_is_called_by_its_name(script):
    assert label(paint("a.png", seed=7), ["seed", "prompt"]) == "seed 7\na.png"
    assert label(paint("b.png"), ["seed", "prompt"]) == "b.png"
    assert label(paint("c.jpg"), ["seed", "prompt"]) == "c.jpg"
    save_png(Image.new("RGB", (8, 6)), "d.png", {recipes.KEY: "{"})
    assert label(Path("d.png"), ["seed"]) == "d.png"


def test_prompt_drives_no_terminal_and_stays_on_its_line(make_grid, script, monkeypatch):
    written = noted(monkeypatch)
    paint("a.png", shape=(256, 64), prompts=[["a\ncat\x1b[2J", 3.0]])
    status, out, err = make_grid("a.png", "--label", "prompt")
    assert (status, out, err) == (0, ["grid.png"], "")
    assert written == ["a cat\\x1b[2J"]


def test_titles_name_rows_and_columns(make_grid, script, monkeypatch):
    written = noted(monkeypatch)
    for i in range(6):
        paint(f"{i}.png", shape=(64, 64))
    files = [f"{i}.png" for i in range(6)]
    titles = ("--row-titles", "ddim", "plms", "--column-titles", "10", "20", "30")
    assert make_grid(*files, *titles, "--title", "Methods")[0] == 0
    assert written == ["Methods", "10", "20", "30", "ddim", "plms"]
    assert "2 row titles for 3 rows" in refusal(
        make_grid, *files, "--nrow", 2, "--overwrite", "--row-titles", "ddim", "plms"
    )


def test_background_and_spacing(make_grid, script):
    paint("a.png", "blue"), paint("b.png", "red")
    assert make_grid("a.png", "b.png", "--spacing", 5, "--background", "#00ff00")[0] == 0
    with Image.open("grid.png") as image:
        assert image.size == (5 + 13 + 13, 16)
        places = [image.getpixel((x, 8)) for x in (4, 5, 12, 13, 17, 18, 25, 26)]
    between, first, second = COLOURS["lime"], COLOURS["blue"], COLOURS["red"]
    assert places == [between, first, first, between, between, second, second, between]


# The file


def test_existing_file_is_replaced_only_when_asked(make_grid, four):
    Path("grid.png").write_bytes(b"old")
    assert "grid.png already exists" in refusal(make_grid, *four)
    assert make_grid(*four, "--skip-existing") == (0, [], "")
    assert Path("grid.png").read_bytes() == b"old"
    assert make_grid(*four, "--overwrite")[0] == 0
    assert colours() == ["red lime", "blue black"]


def test_existing_file_is_told_before_images_are_looked_at(make_grid, script):
    Path("grid.png").touch()
    assert "grid.png already exists" in refusal(make_grid, "missing.png")


MISTAKES = {
    "": "required: IMAGE",
    "missing.png": "missing.png: no such file",
    "nothing*.png": "nothing*.png: no images there",
    "empty": "empty: no images there",
    "https://host/a.png": "download the image first",
    "a.png --nrow 0": "--nrow",
    "a.png --fit crop": 'no way to fit "crop"',
    "a.png --label sed": "did you mean seed?",
    "a.png --label seed,": '""',
    "a.png --background blak": '"blak" is no colour',
    "a.png --spacing -1": "--spacing",
    "a.png --scale 0.5": "--scale",
    "a.png --size": "--size",
    "a.png -o grid.jpg": ".png",
    "a.png -o nowhere": ".png",
    "a.png -o folder.png": "is a folder",
    "a.png -o a.png/grid.png": "not a folder",
    "a.png --overwrite --skip-existing": "exclude each other",
    "a.png --column-titles one two": "2 column titles for 1 column",
    "a.png --nonsense": "unrecognized",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_every_mistake_is_one_line(make_grid, line, tmp_path):
    paint("a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.png").mkdir()
    assert MISTAKES[line] in refusal(make_grid, *line.split())
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "empty", "folder.png"}


def test_odd_names_are_told_escaped(make_grid, script):
    for name in ("\x1b[2J.png", "a\0.png", "bad\udcff.png", "x" * 5000, "[\x1b*.png"):
        refusal(make_grid, name)


def test_folder_that_cannot_be_listed_is_told(script, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied")

    Path("closed").mkdir()
    monkeypatch.setattr(Path, "iterdir", fail)
    with pytest.raises(UserError, match="closed: cannot be read: Permission denied"):
        find_images(["closed"], Path("grid.png"))


def test_help_and_grids_need_no_torch(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    for arguments in (["--help"], ["a.png", "--label", "seed"]):
        code = (
            f"import runpy, sys; sys.argv[1:] = {arguments}\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            f"try: runpy.run_path({str(ROOT / 'make_grid.py')!r}, run_name='__main__')\n"
            "except SystemExit as stop: assert not stop.code\n"
            "assert 'torch' not in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert arguments != ["--help"] or "examples:" in done.stdout
    assert (tmp_path / "grid.png").is_file()


def test_examples_of_the_help_are_right():
    for line in GRID.examples:
        assert parse(GRID, line.split()[1:])
