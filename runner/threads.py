"""How many threads compute on a CPU, and how they wait for each other.

Imports torch only to set their number: how they wait is read when torch is imported.
"""

import os

from values.errors import note

# What OpenMP reads when torch loads it: GNU's all but the last, LLVM's and Intel's all but the
# second. Threads that spin take the time of whatever else runs, and a run beside others takes up to
# eight times as long. Some microseconds of it are left: without, small networks lose a tenth of
# their speed (bench/neighbours.py).
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}


def prepare(environment=os.environ):
    """Has threads sleep while they wait, unless the environment says how; before torch is imported.

    Under torchrun, which gives each of several processes one thread where nothing is set, they
    share the cores instead (`settle`). It does so in the words of a user, OMP_NUM_THREADS=1.
    """
    if not WAITING.keys() & environment.keys():
        environment.update(WAITING)
    if _processes(environment) > 1 and environment.get("OMP_NUM_THREADS") == "1":
        del environment["OMP_NUM_THREADS"]


def settle(threads, environment=os.environ):
    """Sets how many threads torch computes with.

    Args:
        threads: the number; None: what OMP_NUM_THREADS says, else one for each core, of which the
            processes that torchrun has started on this machine get equal shares.
    """
    import torch

    processes = _processes(environment)
    if threads is None and processes > 1 and "OMP_NUM_THREADS" not in environment:
        threads = max(1, torch.get_num_threads() // processes)
        if threads > 1 and environment.get("RANK") == "0":
            note(f"note: each process computes with {threads} threads (--threads says otherwise)")
    if threads is not None:
        torch.set_num_threads(threads)


def _processes(environment):
    """How many processes torchrun has started on this machine; 1 without it."""
    under = "TORCHELASTIC_RUN_ID" in environment
    return int(environment.get("LOCAL_WORLD_SIZE", "1")) if under else 1
