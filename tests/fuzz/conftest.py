"""Hypothesis tests of this folder run in a worker; how many cases there were is said at the end."""

import hypothesis
import pytest

from tests.fuzz.worker import Worker


@pytest.fixture(scope="session")
def worker(tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("fuzz"))
    yield worker
    worker.close()


@pytest.fixture(autouse=True)
def _worker_of_a_target(request):
    if hypothesis.is_hypothesis_test(request.function):
        request.node.worker = request.getfixturevalue("worker")


def pytest_itemcollected(item):
    if hypothesis.is_hypothesis_test(item.function):
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    worker = getattr(pyfuncitem, "worker", None)
    if worker is None:
        return None
    arguments = pyfuncitem.callspec.params if hasattr(pyfuncitem, "callspec") else {}
    cases, failure = worker.run(pyfuncitem.module.__name__, pyfuncitem.originalname, arguments)
    pyfuncitem.user_properties.append(("cases", cases))
    if failure:
        pytest.fail(failure, pytrace=False)
    return True


def pytest_terminal_summary(terminalreporter):
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    cases = [value for r in reports for key, value in r.user_properties if key == "cases"]
    if cases:
        terminalreporter.write_line(f"fuzz: {sum(cases):,} cases of {len(cases)} targets")
