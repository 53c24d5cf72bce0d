import weakref

import numpy as np
import pytest
from PIL import Image, ImageChops

from media import grids
from media.grids import blank, draw, layout
from media.images import resize_and_crop
from values.errors import UserError
from values.picture_types import FITS

COLOURS = ["red", "lime", "blue", "yellow", "aqua"]


def noise(seed, size=(8, 6)):
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(levels)


def same(image, other):
    return image.size == other.size and ImageChops.difference(image, other).getbbox() is None


def part(picture, plan, index):
    """What a grid shows in the place of an image."""
    left, top = plan.cells[index]
    width, height = (side * plan.scale for side in plan.cell)
    return picture.crop((left, top, left + width, top + height))


def written(picture, text):
    """What a grid shows in the box of a text."""
    return picture.crop(
        (text.left, text.top, text.left + text.width, text.top + text.height),
    )


def refusal(*arguments, **options):
    with pytest.raises(UserError) as refused:
        layout(*arguments, **options)
    return str(refused.value)


# Images


def test_images_lie_side_by_side_in_rows():
    plan = layout(5, (8, 6), columns=2)
    images = [noise(i) for i in range(5)]
    picture = draw(plan, images)
    assert picture.size == (16, 18)
    for i, image in enumerate(images):
        assert plan.cells[i] == (i % 2 * 8, i // 2 * 6)
        assert same(part(picture, plan, i), image)
    assert picture.crop((8, 12, 16, 18)).getcolors() == [(48, (255, 255, 255))]


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, (1, 1)), (2, (2, 1)), (3, (2, 2)), (4, (2, 2)), (5, (3, 2)), (9, (3, 3)), (10, (4, 3))],
)
def test_shape_is_about_a_square(count, shape):
    plan = layout(count, (8, 6))
    assert (plan.columns, plan.rows) == shape


def test_titles_settle_the_shape():
    assert layout(6, (64, 64), column_titles=["a", "b"]).rows == 3
    assert layout(6, (64, 64), row_titles=["a", "b", "c"]).columns == 2
    assert layout(7, (64, 64), row_titles=["a", "b"]).columns == 4


def test_row_is_no_longer_than_there_are_images():
    assert layout(3, (8, 6), columns=10).size == (24, 6)


def test_spacing_is_between_images_and_around_them():
    plan = layout(4, (8, 6), spacing=3, background=(0, 0, 255))
    picture = draw(plan, [noise(i) for i in range(4)])
    assert picture.size == (3 + 2 * (8 + 3), 3 + 2 * (6 + 3))
    for i in range(4):
        assert same(part(picture, plan, i), noise(i))
        picture.paste((0, 0, 255), (*plan.cells[i], plan.cells[i][0] + 8, plan.cells[i][1] + 6))
    assert picture.getcolors() == [(25 * 21, (0, 0, 255))]


def test_enlarged_pixels_are_squares():
    plan = layout(2, (8, 6), scale=3)
    picture = draw(plan, [noise(0), noise(1)])
    assert picture.size == (48, 18)
    for i in range(2):
        shown = np.array(part(picture, plan, i))
        assert np.array_equal(shown, np.array(noise(i)).repeat(3, axis=0).repeat(3, axis=1))


def test_image_of_another_size_is_refused_unless_it_is_to_fit():
    with pytest.raises(UserError, match=r"image 2 .* 8 x 7 and not 8 x 6"):
        draw(layout(2, (8, 6)), [noise(0), noise(1, (8, 7))])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(8, 6), (1, 1), (40, 3), (3, 40), (1, 3000)])
def test_every_image_fits_without_touching_its_neighbours(fit, shape):
    plan = layout(9, (8, 6), fit=fit)
    images = [noise(i) for i in range(9)]
    picture = draw(plan, [*images[:4], Image.new("RGB", shape, "red"), *images[5:]])
    for i in (0, 1, 2, 3, 5, 6, 7, 8):
        assert same(part(picture, plan, i), images[i])
    colours = {colour: n for n, colour in part(picture, plan, 4).getcolors()}
    assert colours.pop((255, 0, 0)) >= 6
    if fit == "contain":
        assert set(colours) <= {(255, 255, 255)}
    else:
        assert not colours


def test_contained_image_is_whole_and_in_the_middle():
    wide = Image.new("RGB", (40, 20), "red")
    shown = draw(layout(1, (8, 6), fit="contain"), [wide])
    assert shown.crop((0, 1, 8, 5)).getcolors() == [(32, (255, 0, 0))]
    assert {shown.getpixel((0, 0)), shown.getpixel((7, 5))} == {(255, 255, 255)}


def test_covering_image_is_cut_and_a_stretched_one_is_not():
    flag = Image.new("RGB", (300, 100), "white")
    flag.paste("red", (0, 0, 100, 100))
    flag.paste("blue", (200, 0, 300, 100))
    covered = draw(layout(1, (50, 50), fit="cover"), [flag])
    assert same(covered, resize_and_crop(flag, (50, 50)))
    assert covered.getpixel((5, 25)) == (255, 255, 255)
    stretched = draw(layout(1, (50, 50), fit="stretch"), [flag])
    assert [stretched.getpixel((x, 25)) for x in (5, 25, 45)] == [
        (255, 0, 0),
        (255, 255, 255),
        (0, 0, 255),
    ]


def test_one_image_at_a_time_is_in_memory():
    alive = []

    def images():
        for i in range(20):
            assert not any(image() for image in alive)
            image = noise(i)
            alive.append(weakref.ref(image))
            yield image
            del image

    draw(layout(20, (8, 6)), images())
    assert len(alive) == 20


# Limits


def test_size_is_checked_before_there_is_a_canvas(monkeypatch):
    monkeypatch.setattr(Image, "new", lambda *_: pytest.fail("memory was taken"))
    message = refusal(2_000, (256, 256))
    assert "11,520 x 11,520 pixels" in message  # 45 columns and rows
    assert "80 million" in message
    assert "65,535 at a side" in refusal(10_000, (8, 8), columns=10_000)
    assert refusal(1, (8, 8), scale=10_000)
    assert refusal(100, (8, 8), spacing=1_000)
    assert layout(1_000, (256, 256))
    assert refusal(1_000, (256, 256), labels=["three\nlines\nbelow"] * 1_000, spacing=16)


def test_a_thousand_images_are_few_enough():
    assert layout(1_000, (256, 256)).size == (8_192, 8_192)


def test_limit_is_met_exactly(monkeypatch):
    monkeypatch.setattr(grids, "MAX_PIXELS", 4 * 48)
    assert layout(4, (8, 6)).size == (16, 12)
    assert refusal(5, (8, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row_titles": ["a"], "columns": 2}, "1 row title for 2 rows"),
        ({"row_titles": ["a", "b", "c"], "columns": 2}, "3 row titles for 2 rows"),
        ({"column_titles": ["a"], "columns": 2}, "1 column title for 2 columns"),
        ({"column_titles": ["a", "b", "c", "d", "e"]}, "5 column titles for 4 columns"),
        ({"row_titles": ["a", "b", "c"], "columns": 4}, "3 row titles for 1 row"),
    ],
)
def test_there_is_a_title_for_every_row_and_column(options, message):
    assert refusal(4, (8, 6), **options) == message


def test_no_images_and_too_few_labels_are_a_mistake_of_the_program():
    with pytest.raises(ValueError, match="one image"):
        layout(0, (8, 6))
    with pytest.raises(ValueError, match="label"):
        layout(2, (8, 6), labels=["a"])


# Texts


def test_label_stands_below_its_image_and_images_stay_exact():
    labels = ["seed 1", "", "seed 3\na red apple"]
    plan = layout(3, (64, 48), columns=2, labels=labels)
    images = [noise(i, (64, 48)) for i in range(3)]
    picture = draw(plan, images)
    assert [text.lines for text in plan.texts] == [["seed 1"], [], ["seed 3", "a red apple"]]
    for i, text in enumerate(plan.texts):
        left, top = plan.cells[i]
        assert same(part(picture, plan, i), images[i])
        assert text.left + text.width / 2 == left + 32
        assert top + 48 < text.top
        assert text.top + text.height <= (plan.cells[2][1] if i < 2 else picture.height)
        if text.lines:
            assert len(written(picture, text).getcolors()) > 4  # black, white and smooth edges
    assert picture.crop((0, 0, *plan.cells[0])).getcolors()[0][1] == (255, 255, 255)


def test_long_label_is_wrapped_and_cut_to_the_width_of_its_image():
    plan = layout(2, (64, 64), labels=["a red apple on a blue background by night", "x" * 999])
    for text in plan.texts:
        assert len(text.lines) == 3
        assert text.lines[-1].endswith("…")
        assert all(text.font.getlength(line) <= text.width for line in text.lines)


@pytest.mark.parametrize("spacing", [0, 1, 8, 99])
def test_labels_do_not_touch_each_other_or_the_edge(spacing):
    plan = layout(3, (64, 64), columns=3, labels=["x" * 99] * 3, spacing=spacing)
    edges = [(text.left, text.left + text.width) for text in plan.texts]
    assert edges[0][0] >= 2
    assert edges[1][0] - edges[0][1] == edges[2][0] - edges[1][1] == 4
    assert plan.size[0] - edges[2][1] >= 2
    for text in plan.texts:
        assert all(text.font.getlength(line) <= text.width for line in text.lines)


def test_titles_stand_at_the_edges_and_name_their_rows_and_columns():
    titles = {"row_titles": ["ddim", "plms"], "column_titles": ["10 steps", "20", "30"]}
    plan = layout(6, (64, 64), title="Methods", **titles)
    picture = draw(plan, [noise(i, (64, 64)) for i in range(6)])
    head, *columns, first, second = plan.texts
    assert head.lines == ["Methods"]
    assert head.font.size > first.font.size
    for i, text in enumerate(columns):
        assert text.lines == [titles["column_titles"][i]]
        assert head.top + head.height <= text.top
        assert text.top + text.height <= plan.cells[0][1]
        assert text.left + text.width / 2 == plan.cells[i][0] + 32
    for text, row, name in ((first, 0, "ddim"), (second, 3, "plms")):
        left, top = plan.cells[row]
        assert text.lines == [name]
        assert text.left + text.width < left
        assert abs((text.top + text.height / 2) - (top + 32)) <= 1
    for i in range(6):
        assert same(part(picture, plan, i), noise(i, (64, 64)))
    for text in plan.texts:
        assert len(written(picture, text).getcolors()) > 4
    assert not same(written(picture, columns[1]), written(picture, columns[2]))


def test_last_lines_of_column_titles_are_level():
    plan = layout(2, (64, 64), column_titles=["one", "a longer title of three lines"])
    short, long = plan.texts
    assert len(short.lines) < len(long.lines)
    assert short.top + short.height == long.top + long.height < plan.cells[0][1]
    assert long.top >= 0


@pytest.mark.parametrize(("background", "ink"), [((20, 20, 60), 255), ((250, 240, 200), 0)])
def test_texts_can_be_read_on_any_background(background, ink):
    picture = blank(layout(1, (64, 64), labels=["seed 1"], background=background))
    colours = {colour for _, colour in picture.getcolors(maxcolors=10_000)}
    assert background in colours
    assert any(max(abs(level - ink) for level in colour) < 64 for colour in colours)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (1, 300), (300, 1)])
def test_texts_beside_tiny_images_change_no_image(size):
    texts = {
        "labels": ["seed 1, a red apple"] * 4,
        "row_titles": ["a long title"] * 2,
        "column_titles": ["a long title"] * 2,
        "title": "a long title of everything",
    }
    for spacing in (0, 1, None):
        plan = layout(4, size, spacing=spacing, **texts)
        images = [noise(i, size) for i in range(4)]
        picture = draw(plan, images)
        assert all(same(part(picture, plan, i), image) for i, image in enumerate(images))


def test_control_characters_are_drawn_escaped():
    plan = layout(1, (256, 256), labels=["a\x1b[2Jb\u202ec\nd"])
    assert plan.texts[0].lines == ["a\\x1b[2Jb\\u202ec", "d"]
