"""What conftest.py puts around the tests and the processes they start."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runner import threads

COPY = dict(os.environ)  # as some test modules make one when they are imported


@pytest.mark.parametrize("environment", [None, COPY], ids=["of now", "of the import"])
def test_temporary_files_and_the_cache_are_within_the_folder_of_the_tests(
    tmp_path_factory, environment
):
    ours = tmp_path_factory.getbasetemp()
    assert ours in Path(tempfile.gettempdir()).parents
    program = (
        "import os, tempfile; print(tempfile.mkdtemp(), os.environ['V_DIFFUSION_CACHE'], sep='\\n')"
    )
    found = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    for path in found.splitlines():
        assert ours in Path(path).parents


def test_threads_that_wait_leave_the_cpu_to_others():
    assert threads.WAITING.keys() & COPY.keys()
    assert "OMP_NUM_THREADS" in COPY or "PYTEST_XDIST_WORKER" not in COPY
