"""How long a run takes beside other work: OpenMP's threads may spin or sleep while they wait.

    python bench/neighbours.py [--runs N] [--besides NAME ...] [--settings NAME=VALUE ...]

Draws four images of the bundled model in one batch with `cfg_sample.py`, from the start of the
process to its end: alone, beside one busy loop, beside a second such run that starts at once (the
slower of the two counts), and beside two busy loops of the lowest priority. The setting "ours" is
what the scripts set; others are put into the environment and win over it, so that GOMP_SPINCOUNT
=300000 is what torch's OpenMP does if nothing is set. Settings take turns. All processes are of one
session: Linux, which shares the CPU between sessions first, heeds priorities only within one.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.common import head, machine, row  # noqa: E402
from runner.threads import WAITING  # noqa: E402

BUSY = "import os, sys; os.nice(int(sys.argv[1]))\nwhile True: pass"
BESIDES = {"nothing": [], "one busy loop": [0], "a second run": [], "two of priority 19": [19, 19]}
TORCHS_OWN = "GOMP_SPINCOUNT=300000"


@contextlib.contextmanager
def busy_loops(priorities):
    """Processes that compute nothing, of these nice values, until the end."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY, str(p)]) for p in priorities]
    time.sleep(0.1 * bool(loops))  # until they are at it
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def run(folder, beside, setting, flags):
    """Seconds of a run beside something, with a setting of the environment."""
    environment = {k: v for k, v in os.environ.items() if k not in WAITING}
    environment["V_DIFFUSION_CACHE"] = str(folder / "cache")
    if setting != "ours":
        environment.update([setting.split("=", 1)])
    command = [sys.executable, ROOT / "cfg_sample.py", "a red apple on a blue background"]
    command += ["-n", "4", "-bs", "4", "--model", "emoji", "--device", "cpu", "--overwrite", *flags]
    with busy_loops(BESIDES[beside]):
        start, runs = time.perf_counter(), []
        for number in range(1 + (beside == "a second run")):
            own = [*command, "-o", folder / f"{number}_{{seed}}.png"]
            runs.append(
                subprocess.Popen(
                    own, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
        if any(process.wait() for process in runs):
            raise SystemExit("a run failed")
        return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="of each")
    parser.add_argument("--besides", nargs="+", choices=BESIDES, default=list(BESIDES))
    parser.add_argument("--settings", nargs="+", default=["ours", TORCHS_OWN])
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="of cfg_sample.py")
    args = parser.parse_args()
    print(machine())
    quiet = {}
    head("beside", *[cell for name in args.settings for cell in (f"{name}, seconds", "of quiet")])
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), "nothing", "ours", args.flags)  # fills all caches
        for beside in args.besides:
            found = {setting: [] for setting in args.settings}
            for _ in range(args.runs):
                for setting, seconds in found.items():
                    seconds.append(run(Path(folder), beside, setting, args.flags))
            cells = []
            for setting, seconds in found.items():
                middle = statistics.median(seconds)
                times = middle / quiet.setdefault(setting, middle)
                span = f"{min(seconds):.2f} to {max(seconds):.2f}"
                cells += [f"{middle:.2f} ({span})", f"{times:.2f}"]
            row(beside, *cells)


if __name__ == "__main__":
    main()
