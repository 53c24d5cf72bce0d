"""Pictures in the terminal (`--show`).

In which way is for the terminal to say: as sixels or in half blocks, by textual-image, or by
kitty's protocol. textual-image knows that one only in a form that many terminals do not.
"""

import base64
import contextlib
import importlib.util
import io
import os
import re
import select
import shutil
import subprocess
import sys
import time

from PIL import Image

from values.errors import UserError

try:
    import fcntl
    import struct
    import termios
    import tty
except ImportError:  # Windows
    termios = None

SIDE = 256  # pixels: what is smaller is enlarged, each pixel as a square
CELLS = 32  # the width of a picture of a terminal that shows pixels
BLOCKS = 64  # and of one that does not, where a cell is a pixel wide and two high
KITTY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"  # whether it knows kitty's protocol
QUERY = b"\x1b[c"  # what it is, which every terminal answers
WINDOWS = ("tmux", "screen")  # programs that take KITTY for a window's title
ANSWER = re.compile(rb"\x1b\[\?([\d;]*)c")
PATIENCE = 5.0  # seconds: it may be far away
DEFINED = re.compile(r"#(\d+);2;\d+;\d+;\d+")  # a sixel picture's colour


def check():
    """UserError where textual-image is not installed."""
    if importlib.util.find_spec("textual_image") is None:
        raise UserError("--show needs textual-image: pip install textual-image")


class Pictures:
    """What shows pictures on the terminal that stdout is.

    Raises:
        UserError: where textual-image is not installed, or the terminal cannot be asked.
    """

    def __init__(self):
        check()
        try:
            answer = _ask()
        except OSError as error:
            raise UserError(f"--show: this terminal cannot be asked ({error})") from None
        found = ANSWER.search(answer)
        sixels = found is not None and b"4" in found[1].split(b";")
        sixels = sixels and (not _in_windows() or _tmux_passes_sixels())
        renderable = _renderable()
        self.sixels, self.width = sixels, CELLS
        if sixels:
            self.make = renderable.SixelImage
        elif b";OK" in answer:
            self.make = None
        else:
            self.make, self.width = renderable.HalfcellImage, BLOCKS
        # textual-image asks for the size of a cell, once: now, and not of one who types ahead.
        self.text(Image.new("RGB", (1, 1)))

    def text(self, image):
        """What draws a PIL image at the cursor, as lines with their ends."""
        from rich.console import Console

        columns, lines = shutil.get_terminal_size()
        factor = max(1, SIDE // max(image.size))
        image = image.resize([side * factor for side in image.size], resample=0)  # 0: nearest
        # A cell is about twice as high as wide; more lines than there are could not be replaced.
        width = max(1, min(self.width, columns - 1, 2 * (lines - 3) * image.width // image.height))
        if self.make is None:
            return _kitty(image, width)
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=columns, height=lines)
        with _answers_on_stdin():
            console.print(self.make(image, width=width, height="auto"))
        text = screen.getvalue()
        if self.sixels:
            # Some terminals, xterm 379 among them, define a colour and go on with the one before.
            text = DEFINED.sub(r"\g<0>#\1", text)
            if _in_windows():  # tmux 3.5 drops a picture when its last line is written on
                text += "\n"
        return text

    def away(self, lines):
        """What takes a picture of so many lines away, and all below it, with the cursor there."""
        picture = "" if self.make else "\x1b_Ga=d,d=C,q=2\x1b\\"  # the one at the cursor
        return f"\x1b[{lines}A\r{picture}\x1b[J"


def _kitty(image, width):
    """What draws a PIL image, `width` cells wide, by kitty's protocol."""
    height = max(1, round(width * image.height / image.width / _cell_shape()))
    file = io.BytesIO()
    image.save(file, "png")
    data = base64.b64encode(file.getvalue()).decode()
    chunks = [data[i : i + 4096] for i in range(0, len(data), 4096)]  # the longest there may be
    keys = f"a=T,f=100,q=2,c={width},r={height},"
    text = "\n" * height + f"\x1b7\x1b[{height}A"  # room for it, also on the screen's last lines
    for number, chunk in enumerate(chunks, 1):
        text += f"\x1b_G{keys}m={int(number < len(chunks))};{chunk}\x1b\\"
        keys = ""
    return text + "\x1b8"


def _cell_shape():
    """How many times as high as wide a cell is, as far as the terminal says."""
    size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
    lines, columns, width, height = struct.unpack("4H", size)
    return (height / lines) / (width / columns) if width and height else 2


def _in_windows():
    """Whether tmux or screen is between us and the terminal."""
    return os.environ.get("TERM", "").startswith(WINDOWS)


def _tmux_passes_sixels():
    """Whether tmux can show them where it runs: it answers QUERY as if it always could."""
    ask = ["tmux", "display-message", "-p", "#{client_termfeatures}"]
    try:
        done = subprocess.run(ask, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"sixel" in done.stdout


def _renderable():
    """The module of textual-image, which asks stdout while it is imported: by then we know."""
    before, sys.__stdout__ = sys.__stdout__, None
    try:
        from textual_image import renderable
    finally:
        sys.__stdout__ = before
    return renderable


def _ask():
    """What the terminal answers to KITTY and QUERY, in bytes; nothing where it cannot be asked."""
    if termios is None or os.environ.get("TERM", "dumb") in ("dumb", "linux"):
        return b""
    question = QUERY if _in_windows() else KITTY + QUERY
    answer, until = b"", time.monotonic() + PATIENCE
    with open("/dev/tty", "r+b", buffering=0) as terminal:
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal, termios.TCSANOW)
        try:
            terminal.write(question)
            while not ANSWER.search(answer):
                left = max(0, until - time.monotonic())
                if not select.select([terminal], [], [], left)[0]:
                    break
                answer += terminal.read(1)
        finally:
            termios.tcsetattr(terminal, termios.TCSANOW, before)
    return answer


@contextlib.contextmanager
def _answers_on_stdin():
    """Has textual-image read a terminal's answers from there, where stdin is a pipe."""
    if termios is None or (sys.__stdin__ and sys.__stdin__.isatty()):
        yield
        return
    before = sys.__stdin__
    with open("/dev/tty") as sys.__stdin__:
        try:
            yield
        finally:
            sys.__stdin__ = before
