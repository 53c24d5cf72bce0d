"""What training computes in."""

import contextlib
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def has_bfloat16():
    """Whether this CPU computes with bfloat16 itself."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def imitates(device, dtype):
    """Whether the device is a CPU that can only imitate the dtype, at a fraction of the speed."""
    return device.type == "cpu" and dtype == torch.bfloat16 and not has_bfloat16()


def computes_in(device, dtype):
    """What a run says of the dtype that it was given or chose."""
    if imitates(device, dtype):
        return "computes in float32: this CPU can only imitate bfloat16"
    return f"computes in {str(dtype).removeprefix('torch.')}"


def mixed_precision(device, dtype=torch.bfloat16):
    """A context in which networks compute in `dtype`, unless a CPU would have to imitate it."""
    enabled = dtype == torch.bfloat16 and not imitates(device, dtype)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


@contextlib.contextmanager
def computing(device, dtype):
    """A context for the passes of a diffusion network that is trained."""
    # The backward pass of fused attention is slow on the CPU, and these images are small.
    with mixed_precision(device, dtype), sdpa_kernel(SDPBackend.MATH):
        yield


def fastest_dtype(device, compute, repeats=2):
    """The dtype in which `compute` takes the least time: float32 or bfloat16.

    A CPU that has bfloat16 may still be slower in it: small convolutions lose more by converting
    their weights than they gain.

    Args:
        device: where it computes; a GPU is not asked: bfloat16.
        compute: callable (dtype), a forward and a backward pass in it that changes no weights.
        repeats: passes of each that are timed, after one that is not.
    """
    if device.type != "cpu":
        return torch.bfloat16
    if not has_bfloat16():
        return torch.float32
    seconds = {torch.float32: [], torch.bfloat16: []}
    for _ in range(repeats + 1):
        for dtype, times in seconds.items():
            start = time.perf_counter()
            compute(dtype)
            times.append(time.perf_counter() - start)
    # The shortest: what else runs on the machine only makes a pass longer.
    return min(seconds, key=lambda dtype: min(seconds[dtype][1:]))
