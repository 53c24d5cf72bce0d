"""The worker notices what it is there for."""

import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.worker import Worker

SIZE = 2**27


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("worker"), seconds=1, size=SIZE)
    yield worker
    worker.close()


@pytest.fixture
def run(worker):
    return lambda test, **arguments: worker.run(__name__, test.__name__, arguments)


@settings(max_examples=20)
@given(st.integers())
def passes(number):
    assert not os.listdir()
    Path("file").touch()
    Path("folder/inner").mkdir(parents=True)


@given(st.integers(), st.none())
def compares(most, number, _):
    assert number < most


@given(st.just("sleeping"))
def sleeps(_):
    time.sleep(3600)


@given(st.just("matching"))
def hangs_in_c(_):
    re.match("(a+)+$", "a" * 60 + "b")


@given(st.just("large"))
def peaks(_):
    b"x" * (SIZE + 2**24)


@given(st.just("growing"))
def grows(_):
    memory = b"x" * (3 * SIZE)
    time.sleep(3600)
    assert memory  # kept till here


@given(st.just("dying"))
def crashes(_):
    os.abort()


def test_cases_that_pass_are_counted_and_find_an_empty_folder(run):
    cases, failure = run(passes)
    assert failure is None
    assert cases == 20


def test_failing_case_is_shown_as_small_as_it_can_be(run):
    failure = run(compares, most=100)[1]
    assert "AssertionError" in failure
    assert "number=100" in failure


@pytest.mark.parametrize(
    ("test", "case"),
    [(sleeps, "sleeping"), (hangs_in_c, "matching"), (crashes, "dying"), (grows, "growing")],
)
def test_case_that_does_not_end_or_ends_all_is_stopped_and_shown(worker, run, tmp_path, test, case):
    # One uses no CPU time, and has to wait for the clock; one may take seconds for its memory.
    limits = {sleeps: {"patience": 0.1}, grows: {"seconds": 1000}}
    if test in limits:
        worker = Worker(tmp_path, **limits[test], size=SIZE)
        cases, failure = worker.run(__name__, test.__name__, {})
        worker.close()
    else:
        cases, failure = run(test)
    assert cases == 1
    assert "the process was stopped" in failure
    assert f"'{case}'" in failure
    assert ("too much memory" in failure) == (test is grows)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc")
def test_memory_is_seen_though_it_was_given_back(run):
    assert "MiB of memory were taken" in run(peaks)[1]
