"""In which dtype a CPU convolves fastest: measured once for each CPU and torch, and remembered.

What a CPU says of itself does not tell: one that has bfloat16 may be twice as fast in float32.
"""

import contextlib
import hashlib
import json
import platform
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from models.cache import cache_folder
from models.cpu import PackedConv2d, can_pack
from values.files import write_whole

VERSION = 1  # of what is measured
FLOAT32 = "float32"
HALF = ("bfloat16", "float16")
ALL = (FLOAT32, *HALF)
SHAPES = ((128, 64), (256, 16))  # channels and side of convolutions: 1.2 and 0.3 GFLOP
ROUNDS = 3  # of each, the dtypes in turns; the shortest counts: others that run only make it longer
EXACT_ENOUGH = 0.01  # relative RMS error: of bfloat16 a third of that, of a broken kernel any
FASTER = 1.03  # what rounding more must be worth
PATIENCE = 2.0  # how many times as long a dtype may take that saves memory


def fastest(dtypes=ALL, low_memory=False):
    """The dtype of these that this CPU is fastest in, with as many threads as torch has now.

    Args:
        dtypes: names of dtypes, float32 among them.
        low_memory: take one of two bytes, unless that is much slower.
    Returns:
        a torch.dtype. Measured if need be, and kept in the cache folder.
    """
    seconds = {name: s for name, s in remembered().items() if name in dtypes}
    small = [name for name in seconds if name in HALF]
    limit = seconds[FLOAT32] * (PATIENCE if low_memory else 1 / FASTER)
    small = [name for name in small if seconds[name] <= limit]
    return getattr(torch, min(small, key=seconds.get, default=FLOAT32))


def remembered():
    """What `measured` returns, from the cache folder if it is there."""
    circumstances = [
        *(VERSION, torch.__version__, cpu_name(), torch.get_num_threads()),
        torch.backends.cpu.get_cpu_capability(),
    ]
    key = hashlib.sha256(json.dumps(circumstances).encode()).hexdigest()
    place = cache_folder("dtypes")
    path = place and place / f"{key}.json"
    found = path and read(path)
    if found:
        return found
    found = measured()
    with contextlib.suppress(OSError):  # then it is measured each time
        if path:
            place.mkdir(parents=True, exist_ok=True)
            text = json.dumps(found)
            write_whole(path, lambda part: part.write_text(text), overwrite=True)
    return found


def read(path):
    """The seconds in a file of the cache, by dtype; None: it is not there, or damaged."""
    try:
        found = json.loads(path.read_text())
        good = all(name in ALL and 0 < float(s) < 1e6 for name, s in found.items())
        return found if good and FLOAT32 in found else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def measured():
    """Seconds of a few convolutions by dtype, of those that work and are exact enough."""
    ready = {}
    with torch.inference_mode():
        exact = [layer(x) for layer, x in convolutions(torch.float32)]
        for name in ALL:
            with contextlib.suppress(RuntimeError, AttributeError, TypeError):
                layers = convolutions(getattr(torch, name))
                found = [layer(x).float() for layer, x in layers]
                pairs = zip(found, exact, strict=True)
                if max((y - e).norm() / e.norm() for y, e in pairs) < EXACT_ENOUGH:
                    ready[name] = layers
        seconds = {name: [[] for _ in SHAPES] for name in ready}
        for _ in range(ROUNDS):
            for name, layers in ready.items():
                for times, (layer, x) in zip(seconds[name], layers, strict=True):
                    start = time.perf_counter()
                    layer(x)
                    times.append(time.perf_counter() - start)
    return {name: sum(map(min, each)) for name, each in seconds.items()}


def convolutions(dtype):
    """[(layer, x [1, C, H, W])] of SHAPES, as a network has them on a CPU."""
    source, layers = torch.Generator().manual_seed(0), []
    packs = can_pack(dtype)
    for channels, side in SHAPES:
        weight = torch.randn(channels, channels, 3, 3, generator=source) / (9 * channels) ** 0.5
        x = torch.randn(1, channels, side, side, generator=source)
        x = x.to(dtype, memory_format=torch.channels_last)
        if packs:
            conv = SimpleNamespace(weight=weight, bias=None, padding=(1, 1))
            layers.append((PackedConv2d(conv, dtype), x))
        else:
            weight = weight.to(dtype, memory_format=torch.channels_last)
            layers.append((lambda x, w=weight: torch.conv2d(x, w, padding=1), x))
    return layers


def cpu_name():
    """The CPU's name and model, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return f"{platform.machine()} {platform.processor()}"
    facts = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    keys = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "flags")
    return " ".join(facts.get(key, "") for key in keys)
