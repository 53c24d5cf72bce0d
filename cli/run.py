"""What the sampling scripts do alike: pick device and dtype, draw in batches, save, end well."""

import functools
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import diffusion
from cli import outputs
from cli.errors import UserError, printable
from diffusion.memory import is_out_of_memory
from models.checkpoints import CheckpointError

SOFTWARE = "v-diffusion 1.0"
INTERRUPTED = 130  # the exit status that shells give to Ctrl-C


def script(main):
    """Runs a script's main and exits; whatever a user can cause is told in one line on stderr.

    The status is 0, 2 after a user's mistake, 1 after a failure and 130 after Ctrl-C.
    """
    name = os.path.basename(sys.argv[0])
    _mend_streams()

    def stop(message, status):
        print(f"{name}: error: {message}", file=sys.stderr)
        sys.exit(status)

    def quit_at_once(*_):
        # Exceptions raised in the middle of an import are swallowed, or leave it half-done.
        os.write(2, f"{name}: stopped\n".encode())
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, quit_at_once)
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{name}: stopped; finished images are kept", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except UserError as error:
        stop(error, 2)
    except CheckpointError as error:
        stop(printable(error, 2000), 2)
    except OSError as error:
        stop(f"{printable(error.filename or 'output')}: {error.strerror or error}", 1)
    except Exception as error:
        if isinstance(error, diffusion.NonFiniteError):
            stop(f"{error}: float32 may help (--dtype float32), or lower weights", 1)
        if is_out_of_memory(error):
            stop(
                "out of memory: lower --batch-size, --chunk or --size, or use --dtype bfloat16 "
                "(clip_sample.py: --low-memory)",
                1,
            )
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _mend_streams():
    """Makes stdout and stderr fit to print any file name on, even where they were closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def pick_device(name):
    """The torch device of a name; None: cuda, mps or cpu, whichever is there.

    Raises:
        UserError: if the one that is asked for is not there.
    """
    import torch

    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.backends.mps.is_available()}
    if name is None:
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    device = torch.device(name)
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
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # the GNU one
            libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD: larger ones only are the system's
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def finished_images_are_kept():
    """Until here there was nothing to lose; from here on a Ctrl-C must not cut a file short."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def draw(targets, batch_size, steps, sample, recipe):
    """Draws the images of all targets, a batch at a time, and saves each as soon as it is there.

    A batch is encoded and saved while the next one is drawn. The names of finished files go to
    stdout, a progress bar over images and steps to stderr.

    Args:
        targets: as `outputs.plan` returns them.
        batch_size: images at once.
        steps: of one image, for the bar.
        sample: function (targets of a batch, callback for each step) -> images [N, 3, H, W].
        recipe: function (target, [rows, row] of its batch) -> the recipe of its PNG, or None.
    """
    from tqdm import tqdm

    from cli.images import to_image

    def save_all(batch, images):
        for row, (target, image) in enumerate(zip(batch, images, strict=True)):
            path = outputs.publish(to_image(image), target, recipe(target, [len(batch), row]))
            with bar.external_write_mode(file=sys.stdout):
                print(printable(path, 1000), flush=True)

    finished_images_are_kept()
    with (
        tqdm(
            total=len(targets) * steps, unit="step", dynamic_ncols=True, disable=None, leave=False
        ) as bar,
        ThreadPoolExecutor(1) as saver,
    ):
        saved = None
        for first in range(0, len(targets), batch_size):
            batch = targets[first : first + batch_size]
            last = first + len(batch)
            which = f"image {last}" if len(batch) == 1 else f"images {first + 1}-{last}"
            bar.set_description(f"{which} of {len(targets)}")
            drawn = sample(batch, functools.partial(_advance, bar, len(batch)))
            if saved:
                saved.result()  # raises what went wrong; at most two batches are in memory
            saved = saver.submit(save_all, batch, drawn.cpu())
        saved.result()


def _advance(bar, images, progress):
    """The callback of a step: a bar counts the steps of every image."""
    bar.update(images)
