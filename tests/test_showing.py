"""--show: pictures on a terminal, in the way that it can show, and none in a pipe."""

import base64
import io
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media import terminal as media_terminal
from tests.terminal import Terminal

pytest.importorskip("textual_image")
ROOT = Path(__file__).parent.parent
# A terminal on a busy machine may take its time to answer. It is asked before anything slow: what
# is typed ahead meanwhile would be taken for its answer.
PATIENT = (
    "import runpy, sys; from media import terminal; terminal.PATIENCE = 1000; ask = terminal._ask; "
    "terminal._ask = lambda: ask() if 'torch' not in sys.modules else sys.exit('asked late'); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
COMMAND = [sys.executable, "-c", PATIENT, str(ROOT / "cfg_sample.py"), "a cat", "--model", "emoji"]
COMMAND += ["--steps", "4", "--show"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLORTERM": "truecolor"}
ENVIRONMENT["PYTHONPATH"] = str(ROOT)
ASKED, ANSWERS = "\x1b[c", {"sixel": "\x1b[?62;4;22c", "blocks": "\x1b[?62;22c"}


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path, ENVIRONMENT)
    yield terminal
    terminal.close()


def decoded(sixels):
    """The picture of sixel data [H, W, 3], 0 to 255, as xterm 379 shows it.

    A colour that is defined there is not yet the one that is drawn with.
    """
    _, _, width, height = map(int, re.match(r'"(\d+);(\d+);(\d+);(\d+)', sixels).groups())
    picture = np.zeros((height + 5, width, 3))
    colours, colour, x, y = {}, (255, 0, 255), 0, 0
    for part in re.finditer(r"#(\d+)(;2;(\d+);(\d+);(\d+))?|!(\d+)(.)|([?-~])|([$-])", sixels):
        name, defined, *rgb, count, repeated, single, move = part.groups()
        if name:
            if defined:
                colours[name] = [int(c) * 2.55 for c in rgb]
            else:
                colour = colours[name]
        elif move:
            x, y = 0, y + 6 * (move == "-")
        else:
            bits, times = ord(repeated or single) - 63, int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    picture[y + row, x : x + times] = colour
            x += times
    return picture[:height]


@pytest.mark.slow
def test_sixels_are_the_picture(terminal, tmp_path):
    terminal.size(24, 80, 10, 20)
    terminal.run([*COMMAND, "-o", "cat.png"])
    terminal.wait_for(ASKED)
    terminal.type(ANSWERS["sixel"])
    terminal.wait_for("cat.png")
    terminal.wait_for("\x1bP0;0;0q")
    seen = decoded(terminal.wait_for("\x1b\\"))
    terminal.wait_for("ended with 0")
    with Image.open(tmp_path / "cat.png") as image:
        drawn = np.asarray(image.resize(seen.shape[1::-1], 0)).astype(float)
    assert min(seen.shape[:2]) > 200  # 64 pixels are too few to be seen
    wrong = abs(seen - drawn)  # 256 colours are fewer than it has
    assert wrong.mean() < 5
    assert (wrong > 64).mean() < 0.001


def test_kitty_gets_the_picture_as_it_is(terminal, tmp_path):
    terminal.size(24, 80, 10, 20)
    terminal.run([*COMMAND, "-o", "cat.png", "--preview-every", "1"])
    terminal.wait_for(ASKED)
    terminal.type("\x1b_Gi=31;OK\x1b\\" + ANSWERS["blocks"])
    previews = terminal.wait_for("cat.png")
    # Erasing text leaves pictures alone, in kitty.
    assert previews.count("\x1b[16A\r\x1b_Ga=d,d=C,q=2\x1b\\\x1b[J") == 4
    shown = terminal.wait_for("ended with 0")
    assert shown.count("\n") == 1 + 16
    parts, keys = [], []
    for keys_of_part, part in re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", shown):
        keys.append(keys_of_part)
        parts.append(part)
    # Without U=1, for which kitty before 0.28, Konsole and WezTerm show squares.
    more = ["m=1"] * (len(parts) - 2) + ["m=0"]
    assert keys == ["a=T,f=100,q=2,c=32,r=16,m=1", *more]
    assert max(map(len, parts)) <= 4096
    with Image.open(io.BytesIO(base64.b64decode("".join(parts)))) as sent:
        seen = np.asarray(sent.convert("RGB"))
    with Image.open(tmp_path / "cat.png") as image:
        drawn = np.asarray(image.resize(seen.shape[1::-1], 0))
    assert min(seen.shape[:2]) > 200
    assert (seen == drawn).all()


@pytest.mark.slow
def test_half_blocks_are_the_picture_where_there_is_nothing_better(terminal, tmp_path):
    terminal.size(50, 100)
    terminal.run([*COMMAND, "-o", "cat.png"])
    terminal.wait_for(ASKED)
    terminal.type(ANSWERS["blocks"])
    terminal.wait_for("cat.png")
    blocks = terminal.wait_for("ended with 0")
    cells = re.findall(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m(▀+)", blocks)
    colours = [([*map(int, rgb[:3])], [*map(int, rgb[3:6])], len(rgb[6])) for rgb in cells]
    tops = np.array([top for top, _, times in colours for _ in range(times)]).reshape(32, 64, 3)
    with Image.open(tmp_path / "cat.png") as image:
        assert abs(tops - np.asarray(image)[::2]).mean() < 3


@pytest.mark.slow
@pytest.mark.parametrize("passes", [False, True])
def test_in_tmux(terminal, tmp_path, passes):
    (tmp_path / "tmux").write_text(f"#!/bin/sh\necho 256,title{',sixel' * passes}\n")
    (tmp_path / "tmux").chmod(0o755)
    terminal.size(50, 100, 8, 17)
    path = f"{tmp_path}:{os.environ['PATH']}"
    terminal.run([*COMMAND, "-o", "cat.png"], TERM="tmux-256color", PATH=path)
    assert "\x1b_" not in terminal.wait_for(ASKED)  # which would be the window's title
    terminal.type(ANSWERS["sixel"])  # as tmux does since 3.4, wherever it runs
    shown = terminal.wait_for("ended with 0")
    assert ("\x1bP" in shown) == passes
    assert ("▀" in shown) != passes
    if passes:  # tmux counts the 255 pixels' bands as 16 lines, and drops what is written on
        assert '"1;1;256;255' in shown
        assert shown.count("\n", shown.index("cat.png")) == 1 + 16


@pytest.mark.slow
def test_what_is_being_drawn_is_replaced_by_what_it_has_become(terminal):
    terminal.size(50, 100)
    terminal.run([*COMMAND, "-o", "cat.png", "--preview-every", "1"])
    terminal.wait_for(ASKED)
    terminal.type(ANSWERS["blocks"])
    before = terminal.wait_for("cat.png")
    assert before.count("\x1b[32A\r\x1b[J") == 4  # each preview is taken away
    assert terminal.wait_for("ended with 0").count("▀") == 32 * 64


@pytest.mark.slow
def test_jobs_from_a_pipe_are_shown_too(terminal, tmp_path):
    (tmp_path / "jobs.txt").write_text("a cat\n")
    terminal.size(50, 100)
    command = [*COMMAND, "--from-file", "-"]
    terminal.run(["sh", "-c", f"cat jobs.txt | {shlex.join(command)}"])
    terminal.wait_for(ASKED)
    terminal.type(ANSWERS["blocks"])
    terminal.wait_for("out_00000.png")
    assert "▀" in terminal.wait_for("ended with 0")


@pytest.mark.slow
def test_what_is_typed_while_the_model_loads_is_drawn(terminal, tmp_path):
    terminal.size(50, 100, 8, 17)
    command = [word for word in COMMAND if word != "a cat"]
    terminal.run([*command, "--interactive", "-o", "{index}.png"])
    terminal.wait_for(ASKED)
    terminal.type(ANSWERS["blocks"] + "a cat\n")
    terminal.wait_for("0.png")
    terminal.type("exit\n")
    assert "▀" in terminal.wait_for("ended with 0")


def test_nothing_goes_to_a_pipe(cfg_sample):
    status, out, err = cfg_sample("a cat", "--model", "emoji", "--steps", "1", "--show")
    assert (status, out) == (0, ["out_00000.png"])
    assert "\x1b" not in err
    assert "--show: stdout is no terminal" in err


def test_a_package_that_is_missing_is_told_in_a_line(monkeypatch):
    monkeypatch.setattr(media_terminal.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(media_terminal.UserError, match="pip install textual-image"):
        media_terminal.check()
