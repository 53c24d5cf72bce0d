"""What the benchmarks share: tables, processes that measure, and made-up checkpoints."""

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def head(*columns):
    """Prints the head of a markdown table."""
    row(*columns)
    row(*["---"] * len(columns))


def row(*cells):
    """Prints a row of a markdown table."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


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
