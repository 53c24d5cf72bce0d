import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import checkpoints
from models.checkpoints import find, is_present
from models.weights import read
from tests.models import server as does
from tests.models.server import Server
from tests.models.small import complains, digest, row, saved

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty checkpoints folder."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", folder)
    monkeypatch.setattr("models.downloads.PAUSE", 0.001)
    monkeypatch.delenv("V_DIFFUSION_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return folder


@pytest.fixture
def pth(tmp_path):
    return saved(tmp_path / "small.pth")


# ---- finding -------------------------------------------------------------------------------------


def test_file_in_the_folder_is_found(folder):
    path = saved(folder / "small.pth")
    assert find(row(path)) == path


def test_safetensors_stands_in_for_pth(folder):
    path = saved(folder / "small.safetensors")
    network = row(path, sha256="0" * 64)
    assert is_present(network)
    assert find(network) == path


def test_explicit_file_need_not_be_the_published_one(tmp_path, folder, pth):
    saved(folder / "small.pth")
    assert find(row(pth, sha256="0" * 64), checkpoint=str(pth)) == pth


def test_presence_is_told_without_reading(folder, pth):
    assert not is_present(row(pth))
    (folder / "small.pth").mkdir()
    assert not is_present(row(pth))
    (folder / "small.pth").rmdir()
    (folder / "small.pth").write_bytes(b"anything")
    assert is_present(row(pth))


def test_wrong_hash_is_told_with_what_to_do(folder):
    path = saved(folder / "small.pth")
    network = row(path, sha256="0" * 64)
    message = complains(find, network)
    for part in (str(path), "0" * 64, digest(path), "delete it", "--checkpoint"):
        assert part in message


def test_hash_is_checked_before_anything_is_parsed(folder, monkeypatch):
    path = saved(folder / "small.pth")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("parsed"))
    complains(find, row(path, sha256="0" * 64))


def test_network_of_no_address_that_is_missing_is_not_looked_for_in_the_web(pth):
    assert "published nowhere: put it there" in complains(find, row(pth, url=None, sha256=None))
    assert "it comes with the suite, so restore it" in complains(find, row(pth, url=None))
    student = row(pth, url=None, sha256=None, teacher="emoji")
    assert "published nowhere: python -m train.distil --teacher emoji" in complains(find, student)


def test_bundled_network_without_a_hash_is_found(folder):
    path = saved(folder / "small.pth")
    assert find(row(path, url=None, sha256=None)) == path


@pytest.mark.parametrize("make", ["missing", "directory", "empty", "dangling", "secret"])
def test_unusable_file_is_one_line(tmp_path, folder, pth, make, monkeypatch):
    bad = folder / "small.pth"
    words = {
        "missing": "there is no such file",
        "directory": "is a directory",
        "empty": "is empty",
        "dangling": "there is no such file",
        "secret": "cannot be read: Permission denied",
    }
    if make == "directory":
        bad.mkdir()
    elif make == "empty":
        bad.write_bytes(b"")
    elif make == "dangling":
        bad.symlink_to(tmp_path / "nowhere")
    elif make == "secret":
        bad.write_bytes(b"x")

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(checkpoints, "open", refuse, raising=False)
    network = row(pth)
    assert words[make] in complains(find, network, bad)
    assert words[make] in complains(read, bad)
    if make != "missing":
        assert words[make] in complains(find, network)


def test_finding_and_downloading_need_no_torch(folder, pth):
    code = (
        "import sys; from types import SimpleNamespace; from models import checkpoints\n"
        "network = SimpleNamespace(name='small', file='small.pth', url=sys.argv[1], "
        "sha256=sys.argv[2], mirrors=())\n"
        "assert not checkpoints.is_present(network)\n"
        "print(checkpoints.find(network, progress=False))\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    with Server(pth.read_bytes()).running() as server:
        done = subprocess.run(
            [sys.executable, "-c", code, server.url, digest(pth)],
            cwd=ROOT,
            env=os.environ | {"V_DIFFUSION_CHECKPOINTS": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "small.pth")
    assert (folder / "small.pth").read_bytes() == pth.read_bytes()


# ---- downloading ---------------------------------------------------------------------------------


def test_missing_file_is_downloaded_once(folder, pth):
    with Server(pth.read_bytes(), does.breaks_after(100), does.whole).running() as server:
        network = row(pth, url=server.url)
        for _ in range(2):
            assert find(network, progress=False).read_bytes() == pth.read_bytes()
        assert len(server.requests) == 2  # broken, resumed


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("how", ["argument", "environment"])
def test_mirror_is_asked_instead(pth, how, slash, monkeypatch):
    with Server(pth.read_bytes()).running() as server:
        mirror = server.url.removesuffix("/file.pth") + "/some/folder" + slash
        if how == "environment":
            monkeypatch.setenv("V_DIFFUSION_MIRROR", mirror)
        find(row(pth), mirror=mirror if how == "argument" else None, progress=False)
        assert [path for path, _ in server.requests] == ["/some/folder/small.pth"]


def test_other_addresses_are_tried_in_turn_for_the_same_file(pth, capsys):
    wrong, good = Server(b"of somebody else"), Server(pth.read_bytes())
    with wrong.running(), good.running():
        network = row(pth, mirrors=(wrong.url, good.url, "http://127.0.0.1:9/never"))
        assert find(network).read_bytes() == pth.read_bytes()
    said = capsys.readouterr().err
    assert said.count("trying the next address") == 2
    assert network.url in said
    assert wrong.url in said


def test_mirror_must_send_the_published_file(folder, pth):
    with Server(b"of somebody else").running() as server:
        mirror = server.url.removesuffix("/file.pth")
        assert "another file" in complains(find, row(pth), None, mirror, False)
    assert list(folder.iterdir()) == []


def test_failed_download_tells_how_to_do_it_by_hand(folder, pth):
    network = row(pth)
    message = complains(find, network, None, None, False)
    for part in (network.url, network.sha256, str(folder / "small.pth"), "--mirror"):
        assert part in message


def test_what_is_installed_downloads_to_another_place_than_the_bundled_lie(tmp_path):
    folder = tmp_path / "site-packages" / "v_diffusion_sampling"
    folder.mkdir(parents=True)
    for name in ("models", "diffusion", "values", "checkpoints"):
        (folder / name).symlink_to(ROOT / name)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from models import checkpoints, zoo\n"
        "rows = [zoo.NETWORKS[name] for name in ('emoji', 'cc12m_1')]\n"
        "print(*[checkpoints.place_of(row.file, not row.url) for row in rows])"
    )
    environment = {**os.environ, "V_DIFFUSION_CACHE": str(tmp_path / "cache")}
    for own, expected in (
        ("", (folder / "checkpoints", tmp_path / "cache" / "checkpoints")),
        (str(tmp_path), (tmp_path, tmp_path)),
    ):
        said = subprocess.check_output(
            [sys.executable, "-c", code, str(folder)],
            env={**environment, "V_DIFFUSION_CHECKPOINTS": own},
            text=True,
            cwd=tmp_path,
        )
        assert said.split() == [
            str(expected[0] / "emoji.safetensors"),
            str(expected[1] / "cc12m_1.pth"),
        ]
