import sys

import pytest


@pytest.fixture
def cfg_sample(tmp_path, monkeypatch, capsys):
    """Runs cfg_sample.py in an empty folder: (status, lines of stdout, stderr)."""
    import cfg_sample
    from cli import run

    monkeypatch.chdir(tmp_path)

    def call(*argv):
        monkeypatch.setattr(sys, "argv", ["cfg_sample.py", *map(str, argv)])
        capsys.readouterr()
        status = 0
        try:
            run.script(cfg_sample.main)
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return call
