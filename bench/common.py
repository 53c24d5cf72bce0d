"""What the benchmarks share: tables, the machine, processes that measure, made-up checkpoints."""

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Of a CPU, what decides how fast it convolves in which numbers.
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16")
FLAGS += ("amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")


def head(*columns):
    """Prints the head of a markdown table."""
    row(*columns)
    row(*["---"] * len(columns))


def row(*cells):
    """Prints a row of a markdown table."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def machine():
    """A line on what figures depend on: the CPU, torch, threads, and what else is running."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # no Linux
        lines = [f"model name : {platform.processor() or platform.machine()}"]
    facts = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    has = [flag for flag in FLAGS if flag in facts.get("flags", facts.get("Features", "")).split()]
    which = " ".join(facts[key] for key in ("cpu family", "model", "stepping") if key in facts)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "one a core")
    return (
        f"{facts.get('model name', platform.machine())} ({which or 'model unknown'}), {cores} "
        f"cores, {' '.join(has) or 'no vectors that we know'}; torch {version('torch')}, threads: "
        f"{threads}; load {', '.join(f'{load:.1f}' for load in os.getloadavg())}"
    )


def measured(script, *arguments):
    """What a process of its own prints as JSON, a line each: [dict]."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextlib.contextmanager
def made_up_checkpoint(name):
    """A checkpoint file of the published shapes with made-up weights, removed at the end."""
    from bench.loading import write_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / f"{name}.pth")
        print(f"writing {file}", file=sys.stderr)
        write_checkpoint(name, file)
        yield file


def write_clip(path):
    """A checkpoint of ViT-B/16 with random weights."""
    import open_clip
    import torch

    torch.manual_seed(0)
    clip = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False)
    torch.save(clip.state_dict(), path)
