"""What int8 costs with a checkpoint, told in the first run with it; and that there is int8."""

import contextlib

import torch

from models import int8, networks
from models.cache import cache_folder
from models.zoo import network
from values.errors import note, printable
from values.files import write_whole


def tell(name, checkpoint, sha256, net):
    """A line on stderr: how far v of a network in int8 is off, unless it has been told before.

    Args:
        name: of the network.
        checkpoint, sha256: its weights, a file and the hash of it. By this the error is remembered.
        net: the network in int8.
    """
    place = cache_folder("int8")
    path = place and place / f"{sha256}.txt"
    with contextlib.suppress(OSError):
        if path and path.exists():
            return
    exact = networks.load(name, checkpoint)
    off = f"{int8.error(net, exact, network(name).shape):.2%}"
    note(
        f"--dtype int8: v of {name} with {printable(checkpoint.name, 80)} is {off} (RMS) off from "
        "that of float32, measured once for this checkpoint"
    )
    with contextlib.suppress(OSError):  # then it is measured each time
        if path:
            place.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda part: part.write_text(f"{off}\n"), overwrite=True)


def hint(asked, device, dtype, network):
    """A line on stderr where int8 is much faster than what `--dtype auto` takes.

    That is so for large networks on a CPU that multiplies integers of 8 bits four at a time, but
    is best in float32.

    Args:
        asked: what `--dtype` says.
        device, dtype: what the run computes on, and in.
        network: the row of its network.
    """
    if (asked, device.type, dtype) != ("auto", "cpu", torch.float32) or network.url is None:
        return
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni")) and int8.available():
        note("note: --dtype int8 is about twice as fast on this CPU, and less exact by about 1%")
