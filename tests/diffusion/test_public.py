"""What the package offers, and what it imports for that."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import diffusion
from diffusion import METHODS

ROOT = Path(__file__).parents[2]
STUB = ast.parse((ROOT / "diffusion/__init__.pyi").read_text())
IMPORTS = [node for node in STUB.body if isinstance(node, ast.ImportFrom)]


def test_the_stub_lists_each_public_name_once_with_the_module_it_is_in():
    names = [(node.module, alias.name) for node in IMPORTS for alias in node.names]
    listed = ast.literal_eval(STUB.body[-1].value)
    assert sorted(listed) == sorted(name for _, name in names) == sorted(diffusion.__all__)
    for module, name in names:
        home = importlib.import_module(f"diffusion.{module}")
        assert getattr(diffusion, name) is getattr(home, name)


def test_tables_and_defaults_are_read_without_torch():
    code = (
        "import sys, diffusion\n"
        "from diffusion.methods import METHODS, default_schedule\n"
        "from diffusion.errors import is_out_of_memory\n"
        "[diffusion.default_steps(m) + diffusion.resolve_eta(m) for m in diffusion.METHODS]\n"
        "list(diffusion.SCHEDULES), diffusion.NonFiniteError\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_method_that_names_no_schedule_takes_the_one_of_the_network():
    assert diffusion.default_schedule("plms") == "spliced"
    assert diffusion.default_schedule("plms", min_t=0.006) == "ddpm"
    assert diffusion.default_schedule("ab23", min_t=0.006) == "fitted"


def test_an_adaptive_method_keeps_its_own_steps():
    assert [diffusion.default_steps(m) for m in ("plms", "ab23", "adaptive")] == [50, 18, 5]
    assert [diffusion.default_steps(m, 1000) for m in ("plms", "ab23", "adaptive")] == [
        1000,
        1000,
        5,
    ]


@pytest.mark.parametrize("method", METHODS)
def test_eta_is_that_of_the_method_or_one_in_its_range(method):
    row = METHODS[method]
    assert diffusion.resolve_eta(method) == row.eta
    for eta in (0.0, 0.5, 1.0):
        if row.eta_range[0] <= eta <= row.eta_range[1]:
            assert diffusion.resolve_eta(method, eta) == eta
        else:
            with pytest.raises(ValueError, match=f"{method} .*for eta {eta:g} use (ddim|dpmpp_2m)"):
                diffusion.resolve_eta(method, eta)


@pytest.mark.parametrize(
    ("method", "eta", "message"),
    [
        ("ddpm", 0.0, "ddpm is ddim with eta 1: for eta 0 use ddim"),
        ("dpmpp_2m_sde", 0.5, "dpmpp_2m_sde is dpmpp_2m with eta 1: for eta 0.5 use dpmpp_2m"),
        ("plms", 1.0, "plms adds no noise: for eta 1 use ddim or dpmpp_2m"),
        ("ddim", 2.0, "ddim takes eta from 0 to 1, not 2"),
    ],
)
def test_an_eta_that_a_method_does_not_take_is_answered_by_one_that_does(method, eta, message):
    with pytest.raises(ValueError, match=message):
        diffusion.resolve_eta(method, eta)
