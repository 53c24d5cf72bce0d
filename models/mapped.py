"""Files that are mapped into memory: their pages come when they are read, and go when we say so."""

from pathlib import Path

PORTION = 2**26  # bytes


class Reading:
    """An account of what is read of a mapped file, which lets go of it in portions."""

    def __init__(self):
        self.bytes = 0

    def has_read(self, tensor):
        """Takes note that a tensor which may lie in the file was read, and is not needed again."""
        self.bytes += tensor.nbytes
        if self.bytes > PORTION:
            self.bytes = 0
            let_go(tensor.data_ptr())


def let_go(address):
    """Takes what was read of a mapped file out of this process's memory, where that can be done.

    The system has it cached still, and whoever reads it again gets it from there. What was written
    to a private mapping would be lost.

    Args:
        address: within the mapping; if it is within other memory, nothing is done.
    """
    import ctypes
    import mmap

    try:
        maps = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return
    for line in maps:
        span, _, _, _, inode = line.split()[:5]
        first, end = (int(place, 16) for place in span.split("-"))
        if first <= address < end and inode != "0":
            libc, size = ctypes.CDLL(None), ctypes.c_size_t(end - first)
            libc.madvise(ctypes.c_void_p(first), size, mmap.MADV_DONTNEED)
