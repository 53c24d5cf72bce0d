"""What bash offers at a press of Tab."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cli import completion
from models import NETWORKS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")


def offered(*words):
    """What bash offers for the last of the words of a command line."""
    line = f"""
        . {ROOT}/completions/bash
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        rule=$(complete -p "${{1##*/}}")
        [[ $rule =~ -F\\ ([a-z_]+) ]] && ${{BASH_REMATCH[1]}}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    run = ["bash", "-c", line, "bash", *words]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()


def test_file_is_what_the_scripts_say():
    assert (ROOT / "completions/bash").read_text() == completion.bash(), "run: make completion"


def test_flags_are_completed():
    assert offered("./cfg_sample.py", "a cat", "--st") == ["--starting-timestep", "--steps"]
    assert offered("make_grid.py", "--row") == ["--row-titles"]
    assert "--max-timestep" in offered("./reverse_sample.py", "--")
    assert "--max-timestep" not in offered("./cfg_sample.py", "--")


def test_names_are_completed_as_the_script_takes_them():
    assert offered("./cfg_sample.py", "--model", "") == list(NETWORKS)
    assert offered("./cfg_sample.py", "--model", "wiki") == ["wikiart_128", "wikiart_256"]
    assert offered("./cfg_sample.py", "--method", "dd") == ["ddpm", "ddim"]
    assert offered("./reverse_sample.py", "--method", "dd") == ["ddim"]
    assert offered("./clip_sample.py", "--schedule", "lo") == ["log", "logit"]
    assert offered("/anywhere/cfg_sample.py", "--dtype", "b") == ["bfloat16"]
    assert offered("make_grid.py", "--fit", "c") == ["contain", "cover"]


def test_prompts_and_files_are_left_to_bash():
    assert offered("./cfg_sample.py", "a") == []
    assert offered("./cfg_sample.py", "--init", "ph") == []
