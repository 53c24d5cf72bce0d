"""How long a network takes to load, and how much memory: the plain way against ours.

    python bench/loading.py [--model NAME] [--file FILE] [--runs N]

The plain way draws random weights, reads the file into memory and copies it over them. Each
measurement is a process of its own, in turns, with the file in the system's page cache; the clock
starts after the imports. A mapped file costs little until its pages are used, so "ours, touched"
reads one number of every page as well: that is what the first image pays. Pages of the file count
as resident memory though the system can take them back at any time; "anonymous" memory is what it
cannot.
"""

import argparse
import json
import mmap
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import runner  # noqa: E402, F401  before torch: its threads are to sleep while they wait

PUBLISHED = ROOT / "tests" / "data" / "checkpoints.json"
WAYS = ("plain", "ours", "ours, touched")


def plain(name, file):
    """The network, loaded as most scripts do it."""
    import torch

    import models

    net = models.build(name)
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return net.eval().requires_grad_(False)


def ours(name, file):
    import models

    return models.load(name, checkpoint=file)


def touched(name, file):
    net = ours(name, file)
    for weight in net.parameters():
        weight.view(-1)[:: mmap.PAGESIZE // weight.element_size()].sum()
    return net


def measure_here(way, name, file):
    """Loads once in this process and prints seconds and peak resident memory in bytes as JSON."""
    import safetensors.torch  # noqa: F401
    import torch  # noqa: F401

    import models.networks  # noqa: F401

    load = dict(zip(WAYS, (plain, ours, touched), strict=True))[way]
    start = time.perf_counter()
    net = load(name, file)
    seconds = time.perf_counter() - start
    assert not any(p.is_meta for p in net.parameters())
    print(json.dumps({"seconds": seconds, "resident": memory("self", "VmHWM")}))


def memory(process, field):
    """A field of /proc/PROCESS/status in bytes; 0 if the process has just ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(r.split()[1]) * 1024 for r in text.splitlines() if r.startswith(field)), 0)


def measure(way, name, file):
    """One process's seconds, peak resident and peak anonymous memory in bytes.

    The kernel keeps no peak of anonymous memory, so we look at it every few milliseconds.
    """
    command = [sys.executable, __file__, "--model", name, "--file", file, "--measure", way]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    anonymous = 0
    while child.poll() is None:
        anonymous = max(anonymous, memory(child.pid, "RssAnon"))
        time.sleep(0.005)
    if child.returncode:
        raise SystemExit(f"{way}: the process failed")
    return json.loads(child.stdout.read()) | {"anonymous": anonymous}


def write_checkpoint(name, path):
    """A checkpoint of the published size, with weights that anybody can make again."""
    import torch

    from tests.weights import deterministic_state_dict

    shapes = json.loads(PUBLISHED.read_text())[name]["state_dict"]
    torch.save(deterministic_state_dict(shapes), path)


def compare(name, file, runs):
    """Measures all ways in turns and prints medians and ratios."""
    from bench.common import machine

    print(machine())
    with open(file, "rb") as cached:
        while cached.read(2**24):
            pass
    results = {way: [] for way in WAYS}
    for _ in range(runs):
        for way in WAYS:
            results[way].append(measure(way, name, file))
    size = Path(file).stat().st_size
    print(f"{name}, {size / 1e9:.2f} GB, median (least to most) of {runs} runs")
    print(f"{'':14}{'seconds':>24}{'peak resident GB':>24}{'peak anonymous GB':>24}")
    medians = {}
    for way, measured in results.items():
        line = f"{way:14}"
        for what, unit in (("seconds", 1), ("resident", 1e9), ("anonymous", 1e9)):
            values = [m[what] / unit for m in measured]
            medians[way, what] = statistics.median(values)
            line += f"{medians[way, what]:10.3f} ({min(values):.3f} to {max(values):.3f})".rjust(24)
        print(line)
    for way in WAYS[1:]:
        ratios = [
            medians[way, w] / medians["plain", w] for w in ("seconds", "resident", "anonymous")
        ]
        line = "".join(f"{100 * ratio:.1f} %".rjust(24) for ratio in ratios)
        print(f"{way + ' / plain':22}{line[8:]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="cc12m_1_cfg", help="a published network")
    parser.add_argument("--file", help="its checkpoint (default: one is written, and removed)")
    parser.add_argument("--runs", type=int, default=5, help="measurements of each way")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not Path("/proc/self/status").exists():
        parser.error("needs Linux: it reads /proc")
    if args.model not in json.loads(PUBLISHED.read_text()):
        parser.error(f"{args.model!r} is not a published network")
    if args.file and not Path(args.file).is_file():
        parser.error(f"{args.file}: there is no such file")
    if args.runs < 1:
        parser.error("--runs must be at least 1")
    if args.measure:
        measure_here(args.measure, args.model, args.file)
    elif args.file:
        compare(args.model, args.file, args.runs)
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / f"{args.model}.pth")
            print(f"writing {file}", file=sys.stderr)
            write_checkpoint(args.model, file)
            compare(args.model, file, args.runs)


if __name__ == "__main__":
    main()
