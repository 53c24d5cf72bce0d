"""The errors of a run that a caller can explain or answer; imports no torch."""


class NonFiniteError(ArithmeticError):
    """A model returned NaN or infinity."""


def is_out_of_memory(error):
    """Whether an exception says that memory has run out, on whatever device."""
    # On the CPU torch raises a plain RuntimeError, MPS and parts of CUDA as well.
    words = ("out of memory", "allocate memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(w in str(error) for w in words))
    )
