"""What bash offers at a press of Tab."""

import functools
import shutil
import subprocess

import pytest

from cli import completion
from models import NETWORKS

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")


@pytest.fixture(scope="module")
def offered(tmp_path_factory):
    """A function: what bash offers for the last of the words of a command line."""
    path = tmp_path_factory.mktemp("completions") / "bash"
    path.write_text(completion.script("bash"))
    return functools.partial(ask, path)


def ask(path, *words):
    line = f"""
        . {path}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        rule=$(complete -p "${{1##*/}}")
        before="${{COMP_WORDS[COMP_CWORD - 1]}}"
        [[ $rule =~ -F\\ ([a-z_]+) ]] && ${{BASH_REMATCH[1]}} "$1" "${{@: -1}}" "$before"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    run = ["bash", "-c", line, "bash", *words]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()


def test_zsh_has_every_script_too():
    script = completion.script("zsh")
    assert all(f"#compdef {name}.py" in script for name in completion.SCRIPTS)


def test_flags_are_completed(offered):
    assert offered("./cfg_sample.py", "a cat", "--st") == ["--starting-timestep", "--steps"]
    assert offered("make_grid.py", "--row") == ["--row-titles"]
    assert "--max-timestep" in offered("./reverse_sample.py", "--")
    assert "--max-timestep" not in offered("./cfg_sample.py", "--")


def test_names_are_completed_as_the_script_takes_them(offered):
    assert offered("./cfg_sample.py", "--model", "") == list(NETWORKS)
    assert offered("./cfg_sample.py", "--model", "wiki") == ["wikiart_128", "wikiart_256"]
    assert offered("./cfg_sample.py", "--method", "dd") == ["ddpm", "ddim"]
    assert offered("./reverse_sample.py", "--method", "dd") == ["ddim"]
    assert offered("./clip_sample.py", "--schedule", "lo") == ["log", "logit"]
    assert offered("/anywhere/cfg_sample.py", "--dtype", "b") == ["bfloat16"]
    assert offered("make_grid.py", "--fit", "c") == ["contain", "cover"]


def test_prompts_and_files_are_left_to_bash(offered):
    assert offered("./cfg_sample.py", "a") == []
    assert offered("./cfg_sample.py", "--init", "ph") == []
