import numpy as np
import pytest
import torch
from PIL import Image

from train.data import read_folder, read_folders, replace_file


def caption(path, text):
    path.with_suffix(".txt").write_text(text, encoding="utf-8")


def test_images_and_captions_belong_together_in_the_order_of_names(tmp_path):
    for name, level in (("b.png", 200), ("a.jpg", 10), ("c.webp", 90)):
        Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / name, quality=100)
        caption(tmp_path / name, f"{name}\n\n  second {name}  \n")
    (tmp_path / "notes.md").write_text("not an image")
    images, captions = read_folder(tmp_path, (8, 8))
    assert images.dtype == torch.uint8
    assert images.shape == (3, 3, 8, 8)
    assert images.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([10, 200, 90], abs=2)
    assert captions == [[name, f"second {name}"] for name in ("a.jpg", "b.png", "c.webp")]


def test_png_of_the_right_size_is_read_level_by_level(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    caption(tmp_path / "a.png", "noise")
    images, _ = read_folder(tmp_path, (16, 16))
    assert (images[0].permute(1, 2, 0).numpy() == levels).all()


def test_image_of_any_form_is_cut_to_its_middle_on_white(tmp_path):
    wide = Image.new("RGBA", (60, 20), (0, 0, 0, 0))
    wide.paste((255, 0, 0, 255), (20, 0, 40, 10))
    wide.save(tmp_path / "a.png")
    caption(tmp_path / "a.png", "half red, half nothing")
    images, _ = read_folder(tmp_path, (20, 20))
    assert images[0, :, 2, 10].tolist() == [255, 0, 0]
    assert images[0, :, 17, 10].tolist() == [255, 255, 255]


@pytest.mark.parametrize("spoil", ["missing folder", "empty", "no caption", "blank", "no image"])
def test_spoilt_folder_is_one_line_that_names_what_is_wrong(tmp_path, spoil):
    folder = tmp_path / "data"
    if spoil != "missing folder":
        folder.mkdir()
    if spoil in ("no caption", "blank"):
        Image.new("RGB", (8, 8)).save(folder / "holiday.png")
    if spoil == "blank":
        (folder / "holiday.txt").write_text("\n  \n")
    if spoil == "no image":
        (folder / "holiday.png").write_bytes(b"nothing")
        (folder / "holiday.txt").write_text("a caption")
    with pytest.raises(SystemExit) as stop:
        read_folder(folder, (8, 8))
    assert "\n" not in str(stop.value)
    assert str(folder) in str(stop.value)
    assert ("holiday" in str(stop.value)) == (spoil in ("no caption", "blank", "no image"))


def test_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "deep" / "weights"
    replace_file(path, lambda p: p.write_text("old"))

    def broken(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(path, broken)
    assert path.read_text() == "old"


def test_folders_are_joined_in_the_order_in_which_they_are_named(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), "red" if name == "a" else "blue").save(tmp_path / name / "0.png")
        (tmp_path / name / "0.txt").write_text(f"{name}\n")
    images, captions = read_folders([tmp_path / "b", tmp_path / "a"], (8, 8))
    assert captions == [["b"], ["a"]]
    assert images[:, :, 0, 0].tolist() == [[0, 0, 255], [255, 0, 0]]
