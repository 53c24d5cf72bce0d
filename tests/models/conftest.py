import sys

import pytest

from models import convert


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that converts as the command line says: arguments -> its stdout."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        convert.main()
        return capsys.readouterr().out.strip()

    return call
