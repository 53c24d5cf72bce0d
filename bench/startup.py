"""How long the scripts take to start: seconds from the start of a process to its end.

    python bench/startup.py [--runs N]

Measures `import torch`, `cfg_sample.py --help`, a flag that does not exist, and one image of the
bundled model whose prompt's embedding is in the cache. All are processes of their own, in turns,
with the files in the system's page cache and modules compiled. Of the image, the seconds within
calls of the network are told from the rest, which is to be held against `import torch`.
"""

import argparse
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

SCRIPT = ROOT / "cfg_sample.py"
PROMPT = "a red apple on a blue background"


def draw_here(spent, arguments):
    """cfg_sample.py in this process; writes to a file how many seconds its network took."""
    import cfg_sample
    import models
    from runner.exit import program

    load, seconds = models.load, 0.0

    def timed(*args):
        net = load(*args)
        forward = net.forward

        def call(*tensors):
            nonlocal seconds
            start = time.perf_counter()
            try:
                return forward(*tensors)
            finally:
                seconds += time.perf_counter() - start

        net.forward = call
        return net

    models.load = timed

    def main():
        cfg_sample.main()
        Path(spent).write_text(str(seconds))

    sys.argv = ["cfg_sample.py", *arguments]
    program(main)


def took(command, environment, status=0):
    """The seconds that a process takes."""
    command = [sys.executable, *map(str, command)]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode != status:
        raise SystemExit(f"{command} failed: {done.stderr}")
    return seconds


def measure(folder, environment):
    """Seconds of each thing to be measured, once."""
    spent = folder / "spent.txt"
    drawing = [PROMPT, "--model", "emoji", "--device", "cpu", "-o", folder / "out.png"]
    result = {
        "import torch": took(["-c", "import torch"], environment),
        "--help": took([SCRIPT, "--help"], environment),
        "a wrong flag": took([SCRIPT, "--no-such-flag"], environment, status=2),
        "one image": took([__file__, "--draw", spent, *drawing, "--overwrite"], environment),
    }
    result["one image, in the network"] = float(spent.read_text())
    result["one image, the rest"] = result["one image"] - result["one image, in the network"]
    return result


def compare(runs):
    """Measures in turns and prints medians."""
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "V_DIFFUSION_CACHE": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        measure(Path(folder), environment)  # fills all caches
        results = [measure(Path(folder), environment) for _ in range(runs)]
    for result in results:
        result["the rest / import torch"] = result["one image, the rest"] / result["import torch"]
    head(f"seconds, median of {runs}", "", "least to most")
    for what in results[0]:
        values = [result[what] for result in results]
        span = f"{min(values):.2f} to {max(values):.2f}"
        row(what, f"{statistics.median(values):.2f}", span)


def main():
    if sys.argv[1:2] == ["--draw"]:
        draw_here(sys.argv[2], sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=7, help="measurements of each")
    args = parser.parse_args()
    if args.runs < 1:
        parser.error("--runs must be at least 1")
    compare(args.runs)


if __name__ == "__main__":
    main()
