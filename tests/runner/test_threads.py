import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cli.scripts import SAMPLING
from runner import threads
from values.errors import UserError

ROOT = Path(__file__).parents[2]
BENCHMARKS = [
    str(path.relative_to(ROOT))
    for path in sorted((ROOT / "bench").glob("*.py"))
    if "__main__" in path.read_text()
]
UNDER_TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "RANK": "0"}
# Imports what is named as if torch could not be, and prints how its threads would have waited.
WATCHED = """
import importlib.abc, os, runpy, sys
from runner.threads import WAITING
for name in WAITING:
    del os.environ[name]
for name in [name for name in sys.modules if name.partition(".")[0] == "runner"]:
    del sys.modules[name]

class Stop(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            raise SystemExit
sys.meta_path.insert(0, Stop())
try:
    runpy.run_path(sys.argv[2]) if sys.argv[1] == "file" else runpy.run_module(sys.argv[2])
finally:
    print(*(os.environ.get(name) for name in WAITING))
"""


@pytest.mark.parametrize(
    "how",
    [
        *[("file", script.name) for script in SAMPLING],
        ("module", "train.judge"),  # and so any of train/
        *[("file", name) for name in BENCHMARKS],
    ],
    ids=lambda how: how[1],
)
def test_how_threads_wait_is_said_before_torch_is_imported(how):
    environment = {k: v for k, v in os.environ.items() if k not in threads.WAITING}
    environment |= {"PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-c", WATCHED, *how]
    said = subprocess.check_output(run, cwd=ROOT, env=environment, text=True)
    assert said.split() == list(threads.WAITING.values())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="another OpenMP")
def test_openmp_heeds_it():
    environment = {k: v for k, v in os.environ.items() if k not in threads.WAITING}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_DISPLAY_ENV": "VERBOSE"}
    run = [sys.executable, "-c", "import runner, torch"]
    told = subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stderr
    assert f"GOMP_SPINCOUNT = '{threads.WAITING['GOMP_SPINCOUNT']}'" in told
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in told


@pytest.mark.parametrize("name", threads.WAITING)
def test_what_the_user_has_set_of_it_stays_and_nothing_is_added(name):
    environment = {name: "7"}
    threads.prepare(environment)
    assert environment == {name: "7"}


@pytest.fixture
def count(monkeypatch):
    """A function (environment, --threads) -> how many threads a process of eight cores takes."""

    def call(environment, asked=None):
        numbers = [int(environment.get("OMP_NUM_THREADS", 8))]
        monkeypatch.setattr(torch, "get_num_threads", lambda: numbers[-1])
        monkeypatch.setattr(torch, "set_num_threads", numbers.append)
        threads.settle(asked, environment)
        return numbers[-1]

    return call


def test_a_process_alone_takes_what_it_is_given(count):
    assert count({}) == 8
    assert count({}, 3) == 3
    assert count({"OMP_NUM_THREADS": "2"}) == 2
    assert count({"OMP_NUM_THREADS": "2"}, 3) == 3


def test_processes_of_torchrun_share_the_cores(count, capsys):
    environment = {**UNDER_TORCHRUN, "OMP_NUM_THREADS": "1"}  # of torchrun's own
    threads.prepare(environment)
    assert count(environment) == 4
    assert "4 threads" in capsys.readouterr().err
    assert count({**environment, "RANK": "1"}) == 4
    assert count({**environment, "LOCAL_WORLD_SIZE": "16"}) == 1
    assert capsys.readouterr().err == ""
    assert count(environment, 3) == 3
    environment["OMP_NUM_THREADS"] = "2"
    threads.prepare(environment)
    assert count(environment) == 2


def test_one_process_of_torchrun_is_alone(count):
    environment = {**UNDER_TORCHRUN, "LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": "1"}
    threads.prepare(environment)
    assert count(environment) == 1


def test_threads_are_settled_before_the_device_is_asked_for_anything(cfg_sample, monkeypatch):
    asked = []

    def pick_device(*_):
        asked.append("a device")
        raise UserError("none")

    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr("runner.run.pick_device", pick_device)
    assert cfg_sample("--model", "emoji", "--threads", "3")[0] == 2
    assert asked == [3, "a device"]
