import pytest

from cli.scripts import CFG
from jobs.jobs import Jobs


@pytest.fixture
def read(tmp_path, monkeypatch):
    """A function (text of a job file, flags of the command line) -> the run's Jobs."""
    monkeypatch.chdir(tmp_path)

    def call(text, *flags):
        (tmp_path / "jobs.txt").write_text(text)
        return Jobs(CFG, ["--model", "emoji", "--from-file", "jobs.txt", *flags])

    return call
