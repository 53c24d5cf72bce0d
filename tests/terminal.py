"""A terminal that tests type at."""

import codecs
import fcntl
import os
import pty
import select
import shlex
import struct
import termios
import time


class Terminal:
    """An interactive bash on a pseudo-terminal of its own.

    Args:
        folder: where it runs.
        environment: that of all it runs.
    Attributes:
        shown: what it has shown behind what was last waited for.
    """

    def __init__(self, folder, environment):
        self.shown, self._decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
        self.pid, self.end = pty.fork()
        if not self.pid:
            os.chdir(folder)
            environment = {**environment, "PS1": "ready> ", "TERM": "xterm"}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)
        self.wait_for("ready> ")

    def type(self, text):
        os.write(self.end, text.encode())

    def size(self, lines, columns, cell_width=0, cell_height=0):
        """Sets its size, in cells and of a cell in pixels; 0: it does not know of pixels."""
        pixels = columns * cell_width, lines * cell_height
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, *pixels))

    def run(self, command, **variables):
        """Types a command, whose end is shown as `ended with STATUS`."""
        words = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
        words += map(shlex.quote, command)
        # As it is echoed, it is not yet what it says.
        self.type(f"{' '.join(words)}; echo ended with $?\n")
        self.wait_for("$?")

    def wait_for(self, text, seconds=1000, again=""):
        """Reads on until a text is shown; returns what was shown before it.

        Args:
            again: what to type once a second until then. A Ctrl-C in the instant in which Python
                shows a prompt is heard by it with the next key.
        """
        until, typed = time.monotonic() + seconds, time.monotonic()
        while text not in self.shown:
            assert time.monotonic() < until, self.shown
            if again and time.monotonic() > typed + 1:
                self.type(again)
                typed = time.monotonic()
            if select.select([self.end], [], [], 0.1)[0]:
                self.shown += self._decoder.decode(os.read(self.end, 65536))
        before, _, self.shown = self.shown.partition(text)
        return before

    def close(self):
        os.close(self.end)  # which hangs up on whatever runs there
        os.waitpid(self.pid, 0)
