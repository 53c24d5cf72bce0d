import importlib
import os
import signal
import sys
import tempfile
from dataclasses import replace

import pytest

from runner import threads

# Before torch is imported; others may import this file when they have imported the package.
threads.prepare()
if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes of one thread each are done sooner than threads that wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(trylast=True)  # pytest makes the factory in this hook as well
def pytest_configure(config):
    """Gives the tests and the processes they start a cache and a place for temporary files.

    Set before any test module is imported, since some copy the environment then. Both lie in
    pytest's own folder, which it removes when all tests have passed.
    """
    make = config._tmp_path_factory.mktemp
    os.environ["V_DIFFUSION_CACHE"] = str(make("cache"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(make("t"))  # short: sockets' paths have a limit
    # Tests in the background of a shell's script ignore Ctrl-C, and so would all that they start.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Tests of whole scripts and of training are slow ones: a package's own are quick."""
    for item in items:
        if item.path.parent.name in ("tests", "train"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    """A function that makes a runner of a script: arguments -> (status, lines of stdout, stderr).

    Scripts run in an empty folder, and remember no picture of another one.
    """
    from media import images
    from runner.exit import script as run_script

    images._kept = images._Kept()
    monkeypatch.chdir(tmp_path)

    def runner(name):
        main = importlib.import_module(name).main

        def call(*argv):
            monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, argv)])
            capsys.readouterr()
            status = 0
            try:
                run_script(main)
            except SystemExit as stop:
                status = stop.code
            out, err = capsys.readouterr()
            return status, out.splitlines(), err

        return call

    return runner


@pytest.fixture
def cfg_sample(script):
    return script("cfg_sample")


@pytest.fixture
def clip_sample(script):
    return script("clip_sample")


@pytest.fixture
def reverse_sample(script):
    return script("reverse_sample")


@pytest.fixture
def cfg_modify_image(script):
    return script("cfg_modify_image")


@pytest.fixture
def restore_sample(script):
    return script("restore_sample")


@pytest.fixture
def make_grid(script):
    return script("make_grid")


@pytest.fixture
def tiny(monkeypatch, tmp_path_factory):
    """An unconditional network with log SNR features, of the first generation's kind: `tiny`."""
    import torch
    from safetensors.torch import save_file

    import models
    from models.zoo import NETWORKS, Architecture

    architecture = Architecture(
        channels=(32, 64),
        blocks=1,
        attention_from=1,
        head_channels=32,
        attention_norm=False,
        timestep="log_snr",
        upsampling="nearest",
        skip_first=True,
    )
    row = replace(
        NETWORKS["wikiart_128"],
        name="tiny",
        file="tiny.safetensors",
        url=None,
        sha256=None,
        shape=(3, 16, 16),
        architecture=architecture,
    )
    monkeypatch.setitem(NETWORKS, "tiny", row)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_file(models.build("tiny").state_dict(), path)
    return path


@pytest.fixture
def png_info(script):
    return script("png_info")


@pytest.fixture
def make_gallery(script):
    return script("make_gallery")
