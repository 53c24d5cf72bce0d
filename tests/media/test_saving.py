import errno
import os
import re

import pytest
from PIL import Image

from media.images import open_image
from media.saving import save_png


def no_links(*arguments):
    raise OSError(errno.EPERM, "no links here")


@pytest.fixture(params=["links", "no links"])
def _file_system(request, monkeypatch):
    if request.param == "no links":
        monkeypatch.setattr(os, "link", no_links)


@pytest.mark.usefixtures("_file_system")
def test_existing_file_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "a.png"
    save_png(Image.new("RGB", (2, 2), "red"), path)
    with pytest.raises(FileExistsError):
        save_png(Image.new("RGB", (2, 2), "blue"), path)
    assert open_image(path).getpixel((0, 0)) == (255, 0, 0)
    save_png(Image.new("RGB", (2, 2), "blue"), path, overwrite=True)
    assert open_image(path).getpixel((0, 0)) == (0, 0, 255)
    assert os.listdir(tmp_path) == ["a.png"]


class Meddler:
    """An image during whose encoding something else happens."""

    def __init__(self, act):
        self.act = act

    def save(self, file, **options):
        Image.new("RGB", (2, 2)).save(file, **options)
        self.act()


@pytest.mark.usefixtures("_file_system")
def test_file_that_appears_meanwhile_is_left_alone(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(FileExistsError):
        save_png(Meddler(lambda: path.write_bytes(b"theirs")), path)
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.usefixtures("_file_system")
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_left_behind_by_a_failure(tmp_path, error, overwrite):
    path = tmp_path / "a.png"
    path.write_bytes(b"old") if overwrite else None

    def fail():
        assert not overwrite or path.read_bytes() == b"old"
        raise error

    with pytest.raises(type(error)):
        save_png(Meddler(fail), path, overwrite=overwrite)
    assert os.listdir(tmp_path) == (["a.png"] if overwrite else [])
    assert not overwrite or path.read_bytes() == b"old"


def test_failed_replacement_gives_the_claimed_name_back(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="broken"):
        save_png(Image.new("RGB", (2, 2)), tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_file_has_the_permissions_of_any_new_file(tmp_path):
    save_png(Image.new("RGB", (2, 2)), tmp_path / "a.png")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_longest_file_name_can_be_saved(tmp_path):
    name = "x" * 251 + ".png"
    save_png(Image.new("RGB", (2, 2)), tmp_path / name)
    assert re.fullmatch("x+.png", os.listdir(tmp_path)[0])
