"""What the sampling scripts do alike: pick device and dtype, draw in batches, save, end well."""

import atexit
import functools
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import diffusion
from cli.errors import Failure, UserError, printable
from diffusion.errors import is_out_of_memory
from models.checkpoints import CheckpointError
from runner import workers

SOFTWARE = "v-diffusion 1.0"
INTERRUPTED = 130  # the exit status that shells give to Ctrl-C
PARTIAL = 3


class PartialFailure(Exception):
    """Some of the run's images are missing, and all that could be drawn are there."""


def script(main):
    """Runs a script's main and exits; whatever a user can cause is told in one line on stderr.

    The status is 0, 2 after a user's mistake, 1 after a failure, 3 if `--keep-going` left something
    out and 130 after Ctrl-C, or after the SIGTERM by which schedulers end a job.
    """
    name = os.path.basename(sys.argv[0])
    _mend_streams()

    def stop(message, status):
        workers.note(f"{name}: error: {message}")
        sys.exit(status)

    def quit_at_once(*_):
        # Exceptions raised in the middle of an import are swallowed, or leave it half-done.
        os.write(2, f"{name}: stopped\n".encode())
        os._exit(INTERRUPTED)

    before = {s: signal.signal(s, quit_at_once) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{name}: stopped; finished images are kept", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except PartialFailure as error:
        stop(error, PARTIAL)
    except Exception as error:
        known = explained(error)
        if not known:
            raise
        stop(*known)
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def program(main):
    """Runs a script's main as `script` does, and leaves at once.

    Python would take torch apart first, which takes half a second, with open_clip more than one.
    """
    status = 1  # that of a traceback

    def leave():
        nonlocal status
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # its reader has gone, or the disk is full
                status = status or 1
        os._exit(status)

    atexit.register(leave)  # before any other library does, and so called after theirs
    try:
        script(main)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


def explained(error):
    """What to tell of an error and the exit status; None: it is a fault of the program."""
    if isinstance(error, UserError):
        return error, 1 if isinstance(error, Failure) else 2
    if isinstance(error, CheckpointError):
        return printable(error, 2000), 2
    if isinstance(error, OSError):
        return f"{printable(error.filename or 'output')}: {error.strerror or error}", 1
    if isinstance(error, ModuleNotFoundError):
        package = printable((error.name or "a package").partition(".")[0], 60)
        return (
            f"{package} is not installed for this Python: first . .venv/bin/activate, which make "
            "sample has made, or install requirements.txt",
            2,
        )
    if isinstance(error, diffusion.NonFiniteError):
        return f"{error}: float32 may help (--dtype float32), or lower weights", 1
    if is_out_of_memory(error):
        return (
            "out of memory: lower --batch-size, --chunk or --size, or use --dtype bfloat16 "
            "(clip_sample.py: --low-memory)",
            1,
        )
    return None


def _mend_streams():
    """Makes stdout and stderr fit to print any file name on, even where they were closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def pick_device(name, local_rank=None):
    """The torch device of a name; None: cuda, mps or cpu, whichever is there.

    Args:
        name: as for `--device`.
        local_rank: the number of this process among those of the machine, which share its GPUs.
    Raises:
        UserError: if the one that is asked for is not there.
    """
    import torch

    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.backends.mps.is_available()}
    if name is None:
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    device = torch.device(name)
    if device.type == "cuda" and device.index is None and local_rank is not None:
        device = torch.device("cuda", local_rank % max(1, there["cuda"]))
    if (device.index or 0) >= there.get(device.type, 0):
        have = ", ".join(kind for kind in there if there[kind])
        raise UserError(f"--device {name} is not there: this machine has {have}")
    return device


def pick_dtype(name, device):
    """The torch dtype of a name; auto: what the device computes fastest with enough precision."""
    import torch

    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.float16
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if device.type == "cpu" and native else torch.float32


def pick_clip_dtype(name, device):
    """The torch dtype in which a CLIP steers; auto: the quickest that keeps small gradients."""
    import torch

    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if name == "auto" and bfloat16 else pick_dtype(name, device)


def compiled(net):
    """The network through torch.compile, whose complaints are one line."""
    import torch
    from torch._dynamo.exc import TorchDynamoException

    fast = torch.compile(net)

    def call(*arguments):
        try:
            return fast(*arguments)
        except TorchDynamoException as error:
            why = printable(str(error).strip().partition("\n")[0], 200)
            raise UserError(
                f"--compile: torch cannot compile here ({why}): leave it out"
            ) from error

    return call


def keep_freed_memory():
    """Has the C library keep what a network frees for what it asks for next, where it can.

    Otherwise each activation is given back to the system, which clears every page before the next
    one gets it: a tenth of an evaluation on a CPU.
    """
    if libc := _gnu_libc():
        # M_MMAP_THRESHOLD: larger ones only are the system's. Before 2.35, 32 MiB are the most.
        libc.mallopt(-3, 2**30) or libc.mallopt(-3, 2**25)
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def give_back_freed_memory():
    """Has the C library give back what is free by now, and from now on what is large at once.

    Weights that come and go would leave holes that nothing later fills.
    """
    if libc := _gnu_libc():
        libc.mallopt(-3, 2**20)  # M_MMAP_THRESHOLD
        libc.malloc_trim(0)


def _gnu_libc():
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def finished_images_are_kept():
    """Until here there was nothing to lose; from here on a Ctrl-C must not cut a file short."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers' way to end a job


class Batch(NamedTuple):
    """What is drawn at once.

    Args:
        items: as `runner.batches` makes them.
        wanted: the places of those that are to be saved; the others are there already, and are
            drawn again only since the rounding of a batch depends on its shape.
    """

    items: list
    wanted: list[int]


def draw(batches, total, sample, save, worker):
    """Draws batches and saves each while the next one is drawn, under a progress bar on stderr.

    Args:
        batches: an iterable of Batches.
        total: how many images are wanted, of all processes.
        sample: function (batch, callback) -> what `save` takes; the callback wants the share of
            the batch that is done, from 0 to 1.
        save: function (batch, what `sample` returned, function that prints a line on stdout).
        worker: what this process is in the run.
    """
    from tqdm import tqdm

    finished_images_are_kept()
    hidden = None if worker.rank == 0 else True  # None: where nobody watches
    with (
        tqdm(
            total=total,
            bar_format="{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}]",
            dynamic_ncols=True,
            miniters=0,
            disable=hidden,
            leave=False,
        ) as bar,
        ThreadPoolExecutor(1) as saver,
    ):

        def say(line):
            with bar.external_write_mode(file=sys.stdout):
                print(line, flush=True)

        def show(images):
            bar.update(min(total, worker.finished(done) + images) - bar.n)

        saved, done = None, 0
        worker.meanwhile = functools.partial(show, 0)
        for batch in batches:
            first, last = done + 1, done + len(batch.wanted)
            which = f"image {last}" if first == last else f"images {first}-{last}"
            bar.set_description(f"{which} of {total}" if worker.size == 1 else f"{total} images")
            wanted = len(batch.wanted)
            drawn = sample(batch, lambda share, wanted=wanted: show(share * wanted))
            if saved:
                saved.result()  # raises what went wrong; at most two batches are in memory
            saved = saver.submit(save, batch, drawn, say)
            done = last
        if saved:
            saved.result()
