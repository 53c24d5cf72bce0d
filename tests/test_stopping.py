"""Ctrl-C and SIGTERM end every script at every moment, and with it the shell's loop it runs in."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.terminal import Terminal

ROOT = Path(__file__).parent.parent
SCRIPTS = [f"{name}.py" for name in ("cfg_sample", "clip_sample", "reverse_sample")]
SCRIPTS += [f"{name}.py" for name in ("cfg_modify_image", "restore_sample", "make_grid")]
SCRIPTS += [f"{name}.py" for name in ("make_gallery", "png_info")]
DRAW = [sys.executable, str(ROOT / "cfg_sample.py"), "a cat", "--model", "emoji", "--steps", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
# Sends itself a signal as soon as a module is imported.
STOPPED_AT = """
import os, runpy, sys
script, module, which = sys.argv[1:4]
class Hook:
    def find_spec(name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), int(which))
sys.meta_path.insert(0, Hook)
sys.argv = [script, *sys.argv[4:]]
sys.path.insert(0, os.path.dirname(script))
runpy.run_path(script, run_name="__main__")
"""


def stopped_at(module, script, *argv, which=signal.SIGINT, **how):
    command = [sys.executable, "-c", STOPPED_AT, str(ROOT / script), module, str(int(which)), *argv]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, **how)


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_among_the_first_imports_is_told_in_a_line(script):
    done = stopped_at("values", script)
    told = f"{script}: stopped\n"
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", told)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_without_the_packages_is_told_what_to_do(script):
    run = [sys.executable, "-S", str(ROOT / script)]
    done = subprocess.run(run, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{script}: error: ")
    assert "is not installed for this Python: first . .venv/bin/activate" in line


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["PIL", "torch"])
def test_signal_among_later_imports_is_told_in_a_line(module, which, tmp_path):
    done = stopped_at(module, "cfg_sample.py", "a cat", which=which, cwd=tmp_path)
    assert done.returncode == -which
    assert done.stderr.splitlines()[-1] == "cfg_sample.py: stopped"
    assert "Traceback" not in done.stderr


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path, ENVIRONMENT)
    yield terminal
    terminal.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells of processes")
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["starting", "loading", "drawing"])
def test_ctrl_c_ends_a_loop_in_an_interactive_shell(moment, terminal, tmp_path):
    draw = shlex.join([*DRAW, "-n", "100000"])
    # What is echoed as it was typed is not yet what it says.
    terminal.type(f"for s in 1 2 3; do {draw} --seed $s; echo next-$((40 + 2)); done\n")
    if moment == "starting":
        children = Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children")
        processes.wait_until(children.read_text, _Living())
        processes.work(_Living(int(children.read_text())), 0.05)
    else:
        terminal.wait_for({"loading": "(no prompt", "drawing": "out_00000.png"}[moment])
    terminal.type("\x03")
    terminal.type("echo then-$((40 + 2))\n")
    assert "next-42" not in terminal.wait_for("then-42")
    assert "Traceback" not in terminal.shown
    assert ("out_00000.png" in os.listdir(tmp_path)) == (moment == "drawing")


class _Living:
    """A process that is not our child, as `tests.processes` asks of one."""

    def __init__(self, pid=None):
        self.pid = pid

    def poll(self):
        return None


def in_a_shell(script, folder):
    """A shell that runs a script, in a session of its own."""
    return subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_ctrl_c_ends_a_loop_in_a_script(tmp_path):
    draw = shlex.join([*DRAW, "-n", "100000"])
    loop = f"for s in 1 2 3; do {draw} --seed $s; echo next; done; echo behind"
    run = in_a_shell(loop, tmp_path)
    names = {run.stdout.readline().strip()}
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=1000)
    assert run.returncode == -signal.SIGINT
    assert err.count("finished images are kept") == 1
    assert set(os.listdir(tmp_path)) == names | set(out.splitlines())  # neither next nor behind


@pytest.mark.slow
def test_ctrl_c_is_not_for_the_background_of_a_script(tmp_path):
    """Shells have what ends with `&` ignore the Ctrl-C that is for the foreground."""
    draw = shlex.join([*DRAW, "-n", "100000"])
    run = in_a_shell(f"{draw} & echo $!; wait $!; echo status $?", tmp_path)
    drawing, first = int(run.stdout.readline()), run.stdout.readline()
    os.kill(drawing, signal.SIGINT)
    names = {first.strip(), *(run.stdout.readline().strip() for _ in range(3))}
    os.kill(drawing, signal.SIGTERM)
    out, err = run.communicate(timeout=1000)
    *more, status = out.splitlines()
    assert status == f"status {128 + signal.SIGTERM}"
    assert err.count("finished images are kept") == 1
    assert set(os.listdir(tmp_path)) == names | set(more)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_ignored_signal_is_not_taken_up_among_imports(which, tmp_path):
    ignoring = f"import signal\nsignal.signal({int(which)}, signal.SIG_IGN)\n" + STOPPED_AT
    command = [sys.executable, "-c", ignoring, DRAW[1], "torch", str(int(which)), *DRAW[2:]]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "out_00000.png\n")
    assert "stopped" not in done.stderr


TIDY = """
import os, signal, sys, time
from runner.exit import finished_images_are_kept, program
def main():
    finished_images_are_kept()
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        print("tidied up")
program(main)
"""


def test_a_signal_that_follows_at_once_does_not_stop_the_tidying_up():
    done = subprocess.run(
        [sys.executable, "-c", TIDY], cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "tidied up\n")
    assert done.stderr.count("\n") == 1
