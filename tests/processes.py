"""Processes that tests start, and how far they have come."""

import os
import time
from pathlib import Path


def cpu_seconds(process):
    """CPU time that a process has taken, of all its threads; only Linux can tell."""
    words = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(true, process):
    """Returns when `true()` is, or when the process has ended."""
    while process.poll() is None and not true():
        time.sleep(0.01)


def work(process, seconds):
    """Lets a process take so much CPU time: it is as far then on a busy machine as on another."""
    if Path("/proc/self/stat").exists():
        wait_until(lambda: cpu_seconds(process) >= seconds, process)
    else:
        time.sleep(seconds)
