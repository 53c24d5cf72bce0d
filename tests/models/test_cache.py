import os
from pathlib import Path

import platformdirs
import pytest
from platformdirs.macos import MacOS

from models.cache import cache_folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("V_DIFFUSION_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(platformdirs, "user_cache_path", of(platformdirs.unix.Unix))
    return tmp_path


def of(platform):
    """The library's function as it is on another platform."""
    return lambda name, **options: platform(name, **options).user_cache_path


def test_folder_follows_the_convention_of_linux(home, monkeypatch):
    assert cache_folder("x") == home / ".cache" / "v-diffusion" / "x"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/ones are ignored")
    assert cache_folder("x") == home / ".cache" / "v-diffusion" / "x"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert cache_folder("x") == home / "xdg" / "v-diffusion" / "x"


def test_folder_follows_the_convention_of_macos(home, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_path", of(MacOS))
    assert cache_folder("x") == home / "Library" / "Caches" / "v-diffusion" / "x"


def test_folder_follows_the_convention_of_windows(monkeypatch):
    windows = pytest.importorskip("platformdirs.windows")
    monkeypatch.setattr(windows, "get_win_folder", lambda _: "LOCAL")
    monkeypatch.setattr(platformdirs, "user_cache_path", of(windows.Windows))
    assert cache_folder("x") == Path("LOCAL", "v-diffusion", "x")


def test_environment_names_another_folder(home, monkeypatch):
    monkeypatch.setenv("V_DIFFUSION_CACHE", "~/mine")
    assert cache_folder("x") == home / "mine" / "x"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="the home folder of Windows is another")
def test_user_without_a_home_has_no_folder(monkeypatch):
    import pwd

    def unknown(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    assert cache_folder("x") is None
    monkeypatch.setenv("V_DIFFUSION_CACHE", "~nobody-of-that-name/x")
    assert cache_folder("x") is None
