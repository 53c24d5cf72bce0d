"""Good files of tensors, latents and checkpoints, and pickles that would run code."""

import functools
import io
import itertools
import json
import os
import pathlib
import pickle
import pickletools
import struct
import subprocess
import warnings
import zipfile

FACTS = {
    "version": 1,
    "timestep": 1.0,
    "timesteps": [0.25, 0.5, 1.0],
    "model": "emoji",
    "prompts": [["a cat", 1.0]],
    "method": "exact",
    "size": [8, 8],
    "max_timestep": 1.0,
}
TRACE = "trace"  # what code in a pickle would leave behind


def latents_with(facts):
    """A file of latents that says of them what a text says, which should be JSON."""
    import torch
    from safetensors.torch import save

    x = torch.linspace(-2, 2, 2 * 3 * 8 * 8, dtype=torch.float64).view(2, 3, 8, 8)
    return save({"latents": x, "previous": x.flip(0)}, {"v-diffusion": facts})


@functools.cache
def latents():
    import torch
    from safetensors.torch import save

    plain = {"version": 1, "timestep": 0.9}
    return {
        "reversible": latents_with(json.dumps(FACTS)),
        "plain": save({"latents": torch.ones(1, 3, 8, 8)}, {"v-diffusion": json.dumps(plain)}),
    }


def tensor_parts(data):
    """(what it is, content): the header of a .safetensors file and the numbers."""
    end = 8 + struct.unpack_from("<Q", data)[0]
    return [("header", data[8:end]), ("numbers", data[end:])]


def join_tensors(parts):
    header = b"".join(content for what, content in parts if what == "header")
    numbers = b"".join(content for what, content in parts if what == "numbers")
    return struct.pack("<Q", len(header)) + header + numbers


def torch_saved(state, **options):
    import torch

    data = io.BytesIO()
    torch.save(state, data, **options)
    return data.getvalue()


@functools.cache
def safetensors():
    from safetensors.torch import save

    state = small_state()
    return {"float32": save(state), "float16": save(halved(state))}


@functools.cache
def zips():
    """Checkpoints as torch writes them."""
    state = small_state()
    zipped = torch_saved(state)
    packed = [(name, zipfile.ZIP_DEFLATED, content) for name, _, content in zip_parts(zipped)]
    return {
        "float32": zipped,
        "float16": torch_saved(halved(state)),
        "packed": join_zip(packed),
        "nested": torch_saved({"epoch": 3, "state_dict": state}),
    }


@functools.cache
def pickles():
    """Checkpoints as torch wrote them, some pickles and then the numbers."""
    old = {"_use_new_zipfile_serialization": False}
    state = small_state()
    return {"float32": torch_saved(state, **old), "float16": torch_saved(halved(state), **old)}


def small_state():
    from tests.models.small import small_state

    return small_state()


def halved(state):
    return {
        key: value.half() if value.is_floating_point() else value for key, value in state.items()
    }


def zip_parts(data):
    """(name, way of packing, content) of each file in an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(i.filename, i.compress_type, archive.read(i)) for i in archive.infolist()]


def join_zip(parts):
    data = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(data, "w") as archive:
        for name, packing, content in parts:
            archive.writestr(name, content, packing)
    return data.getvalue()


def pickle_parts(data):
    """(bytes,) of each instruction of the pickles that a file begins with, and of what follows."""
    starts, first = [], 0
    while first == 0 or data[first : first + 1] == b"\x80":
        try:
            starts += [first + place for _, _, place in pickletools.genops(data[first:])]
        except Exception:  # it was damaged before: the rest is one part
            break
        first = starts[-1] + 1
    starts.append(first)
    return [(data[i:j],) for i, j in itertools.pairwise([*starts, None])]


def join_pickle(parts):
    return b"".join(code for (code,) in parts)


class Call:
    """What pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


CALLS = (
    Call(os.system, f"touch {TRACE}"),
    Call(os.mkdir, TRACE),
    Call(open, TRACE, "w"),
    Call(exec, f"open({TRACE!r}, 'w')"),
    Call(eval, f"open({TRACE!r}, 'w')"),
    Call(subprocess.call, ["touch", TRACE]),
    Call(pathlib.Path.touch, Call(pathlib.Path, TRACE)),
    Call(getattr, Call(__import__, "os"), "getcwd"),
)
BY_HAND = (  # with instructions that `pickle` does not write
    b"(S'touch trace'\nios\nsystem\n.",
    b"(cos\nsystem\nS'touch trace'\no.",
    b"cos\nsystem\n(S'touch trace'\ntR.",
    b"\x80\x02cposix\nsystem\nX\x0b\0\0\0touch trace\x85R.",
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0btouch trace\x85R.",
    b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\0\0\0\0\x04\0\x85R.",
    b"\x80\x02ctorch\nload\nX\x04\0\0\0case\x85R.",
)


@functools.cache
def attacking_pickles():
    """Files that run code when they are read without care."""
    files = {f"by hand {i}": code for i, code in enumerate(BY_HAND)}
    for i, call in enumerate(CALLS):
        state = small_state() | {"evil": call}
        files[f"old {i}"] = torch_saved(state, _use_new_zipfile_serialization=False)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            files[f"pickle {i} {protocol}"] = pickle.dumps(call, protocol)
    return files


@functools.cache
def attacking_zips():
    files = {
        f"zip {i}": torch_saved(small_state() | {"evil": call}, pickle_protocol=2 + i % 3)
        for i, call in enumerate(CALLS)
    }
    parts = zip_parts(files["zip 0"])
    for name, code in attacking_pickles().items():
        if not name.startswith("old"):
            files[name] = join_zip(
                (p, c, code if p.endswith("data.pkl") else x) for p, c, x in parts
            )
    return files
