"""The suite as a package: one name in site-packages, and a command for each script."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from cli.scripts import SCRIPTS, SOFTWARE, as_called

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = "v_diffusion_sampling"
NOT_INSTALLED = {"bench", "tests", "train"}


def test_version_is_that_of_the_program():
    assert f"v-diffusion {PROJECT['project']['version']}" == SOFTWARE


def test_all_that_scripts_import_is_in_one_package():
    setuptools = PROJECT["tool"]["setuptools"]
    packages, folders = setuptools["packages"], setuptools["package-dir"]
    assert {name.partition(".")[0] for name in packages} == {NAME}
    assert {name for name in packages if "." in name} == set(folders)
    there = {path.parent.name for path in ROOT.glob("*/__init__.py")} - NOT_INSTALLED - {NAME}
    assert there | {"checkpoints", "."} == set(folders.values())
    assert folders[f"{NAME}.scripts"] == "."
    kinds = setuptools["package-data"]["*"]
    files = [path for folder in there for path in (ROOT / folder).iterdir() if path.is_file()]
    for path in files:
        assert path.suffix == ".py" or any(path.match(kind) for kind in kinds), path


def test_each_script_is_a_command():
    names = {script.name.removesuffix(".py") for script in SCRIPTS}
    assert PROJECT["project"]["scripts"] == dict.fromkeys(names, f"{NAME}:run")
    start = f"import sys; sys.argv[:1] = ['/bin/png_info']; import {NAME}; {NAME}.run()"
    done = subprocess.run(
        [sys.executable, "-c", start, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: png_info ")
    assert "\n  png_info --json *.png\n" in done.stdout


def test_installed_commands_print_commands_like_themselves(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/venv/bin/png_info"])
    assert as_called("./cfg_sample.py -n 4") == "./cfg_sample -n 4"
    monkeypatch.setattr(sys, "argv", ["./png_info.py"])
    assert as_called("./cfg_sample.py -n 4") == "./cfg_sample.py -n 4"


def test_dockerfile_copies_what_is_there():
    text = (ROOT / "Dockerfile").read_text()
    assert len(text.splitlines()) <= 10
    version = re.search(r"FROM python:3\.(\d+)", text)[1]
    assert int(version) >= int(PROJECT["project"]["requires-python"].rpartition(".")[2])
