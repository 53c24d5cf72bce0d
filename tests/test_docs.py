"""The commands in docs/ and the README work; the files, flags and pictures they name exist.

Commands run as they stand, in one process and on a small network in the place of the bundled one,
so that all take seconds. Of blocks marked `parse-only`, and of commands for checkpoints that are
not here, only the arguments are checked.

    python -m tests.test_docs docs/guidance.md FOLDER

runs a page's commands for real in a new folder, to draw its pictures again.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cli import scripts
from cli.completion import SCRIPTS
from cli.parser import all_values
from diffusion import METHODS, SCHEDULES
from jobs.jobs import Jobs
from models import NETWORKS, checkpoints

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
CARDS = [ROOT / name for name in ("bench/README.md", "train/README.md", "checkpoints/emoji.md")]
TEXTS = {path: path.read_text() for path in [README, *PAGES, *CARDS]}
ALL = pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
README_BYTES = 12 * 1024
# Of torchrun, Slurm, pip, docker and other tools, which the pages name.
OTHERS_FLAGS = {"--nnodes", "--nproc-per-node", "--max-restarts", "--standalone", "--requeue"}
OTHERS_FLAGS |= {"-e", "-t", "--index-url", "--build-arg", "--cfg-scale"}
SLURM = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}


def blocks(page, language):
    """(text, whether it is only parsed) of a page's fenced blocks of one language."""
    found = re.findall(rf"^```{language}( parse-only)?\n(.*?)^```$", TEXTS[page], re.M | re.S)
    return [(text, bool(marked)) for marked, text in found]


def commands(text):
    """The commands of a block as lists of words; comments are none."""
    lines = os.path.expandvars(text.replace("\\\n", " ")).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def script_of(words):
    """(the module of the script that a command starts, its arguments)."""
    if words[:2] == ["python", "-m"]:
        return words[2], words[3:]
    for i, word in enumerate(words):
        name = word.removeprefix("./").removesuffix(".py")
        if word.endswith(".py") and (name in SCRIPTS or name.startswith("bench/")):
            return name.replace("/", "."), words[i + 1 :]
    raise AssertionError(f"no script in {words}")


def is_only_parsed(arguments):
    named = arguments[arguments.index("--model") + 1] if "--model" in arguments else "emoji"
    return not checkpoints.is_present(NETWORKS[named])


@pytest.fixture
def small(monkeypatch, tmp_path_factory):
    """Networks of the bundled ones' kind that draw nothing in particular, and that quickly."""
    import torch
    from safetensors.torch import save_file

    import models

    for name in ("emoji", "emoji_4"):
        row = NETWORKS[name]
        architecture = replace(
            row.architecture, channels=(32, 32), patch=4, head_channels=32, features=32
        )
        path = tmp_path_factory.mktemp("small") / "small.safetensors"
        row = replace(row, file=str(path), sha256=None, architecture=architecture)
        monkeypatch.setitem(NETWORKS, name, row)
        torch.manual_seed(0)
        save_file(models.build(name).state_dict(), path)


@pytest.fixture
def folder(script, tmp_path, monkeypatch):
    """An empty folder, Slurm's environment, and this Python where a page starts one."""
    start = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{start}{os.pathsep}{os.environ['PATH']}")
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    return tmp_path


class Parsed(Exception):
    """Arguments were parsed; the work need not be done."""


def parse(name, arguments):
    """Checks the arguments of a script, of a benchmark or of a module of train/."""
    if name in SCRIPTS:
        row = next(r for r in vars(scripts).values() if getattr(r, "name", None) == f"{name}.py")
        if row in scripts.SAMPLING:
            Jobs(row, arguments)  # all lines of a job file, too
        else:
            all_values(row, arguments)
        return
    module, parse_args = importlib.import_module(name), ArgumentParser.parse_args

    def stop(*args, **options):
        parse_args(*args, **options)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        patch.setattr(ArgumentParser, "parse_args", stop)
        with pytest.raises(Parsed):
            module.main()


def run_block(script, text, only_parsed):
    if not re.search(r"\.py\b|python -m", text):
        subprocess.run(["bash", "-euc", text], check=True)
        return
    for words in commands(text):
        name, arguments = script_of(words)
        if only_parsed or is_only_parsed(arguments):
            parse(name, arguments)
            continue
        status, _, err = script(name)(*arguments)
        assert status == 0, f"{shlex.join(words)}\n{err}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_run_one_after_the_other(page, script, folder, small):
    for text, only_parsed in blocks(page, "sh"):
        run_block(script, text, only_parsed)


@pytest.mark.slow
def test_commands_of_the_readme_run(script, folder, small):
    for text, only_parsed in blocks(README, "sh"):
        run_block(script, text, only_parsed)


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_python_of_a_page_runs(page, folder, small):
    everything = "\n".join(text for text, _ in blocks(page, "python"))
    exec(compile(everything, str(page), "exec"), {"__name__": "__main__"})


def test_readme_is_short():
    assert len(README.read_bytes()) <= README_BYTES


def anchors(page):
    """What links to the headings of a page are called, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@ALL
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", TEXTS[page]):
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def inline_code(page):
    text = re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", text)


@ALL
def test_files_that_a_page_names_are_there(page):
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir())
    for code in inline_code(page):
        for name in re.findall(rf"(?:{folders})/[\w/]+\.(?:py|md|toml)\b", code):
            assert (ROOT / name).exists(), name
        for module in re.findall(r"python -m ([\w.]+)", code):
            assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module
        for script in re.findall(r"(?<![\w/.-])(?:\./)?(\w+_\w+\.py)\b", code):
            assert list(ROOT.glob(script)) or (page.parent / script).exists(), script
        for target in re.findall(r"^make (\w+)", code):
            assert f"\n{target}:" in (ROOT / "Makefile").read_text(), target


@pytest.fixture(scope="module")
def flags():
    """All flags of all scripts."""
    programs = [*ROOT.glob("bench/*.py"), *ROOT.glob("train/*.py"), ROOT / "models/convert.py"]
    said = "".join(path.read_text() for path in programs)
    known = set(re.findall(r'"(--?[a-z][\w-]*)"', said)) | OTHERS_FLAGS
    for name in SCRIPTS:
        command = [sys.executable, str(ROOT / f"{name}.py"), "--help"]
        help_ = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        known |= set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_))
    return known


@ALL
def test_flags_that_a_page_names_are_there(page, flags):
    for code in inline_code(page):
        code = re.sub(r"^python -[cm] ", "", code)
        named = re.findall(r"(?<![\w-])(--[a-z][\w-]*|-[a-z]{1,2}\b)(?![\w-])", code)
        assert set(named) <= flags, code


def test_every_picture_is_shown():
    shown = "\n".join(TEXTS.values())
    for picture in (ROOT / "docs").glob("*.png"):
        assert f"{picture.name})" in shown, picture.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pictures_of_a_page_are_drawn_by_its_commands(page):
    said = "\n".join(text for kind in ("sh", "python") for text, _ in blocks(page, kind))
    for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXTS[page]):
        assert re.search(rf"\b{re.escape(target)}\b", said), target


def test_every_page_is_in_the_index_and_says_what_it_is_about():
    for page in PAGES:
        title, empty, about = TEXTS[page].splitlines()[:3]
        assert title.startswith("# ")
        assert (empty, bool(about)) == ("", True)
        assert page.name == "README.md" or f"]({page.name})" in TEXTS[ROOT / "docs/README.md"]


@pytest.mark.parametrize(("heading", "table"), [("Methods", METHODS), ("Schedules", SCHEDULES)])
def test_every_method_and_schedule_is_in_the_table_of_its_page(heading, table):
    page = TEXTS[ROOT / "docs/methods.md"]
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == list(table)


def test_schedules_are_plotted(tmp_path):
    plots = importlib.import_module("bench.plots")
    plots.main(["schedules", "-o", str(tmp_path / "schedules.png")])
    with Image.open(tmp_path / "schedules.png") as picture:
        assert picture.width > 400


def draw_again(page, folder):
    """Runs the commands of a page with the scripts themselves."""
    folder.mkdir(parents=True)
    for name in SCRIPTS:
        start = shlex.join([sys.executable, str(ROOT / f"{name}.py")])
        path = folder / f"{name}.py"
        path.write_text(f'#!/bin/sh\nexec {start} "$@"\n')
        path.chmod(0o755)
    for text, only_parsed in blocks(page, "sh"):
        if not only_parsed:
            subprocess.run(["bash", "-euc", text], check=True, cwd=folder)


if __name__ == "__main__":
    draw_again(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
