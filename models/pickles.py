"""What a .pth may say: what a state_dict of plain tensors needs, and no more.

torch.load(weights_only=True) runs no code, but makes more than tensors: a file of 30 bytes can ask
for a bytearray of 17 GB. So the instructions are looked at before it follows any.
"""

import io
import os
import pickletools
import re
import zipfile

NEEDED = re.compile(
    r"collections OrderedDict"
    r"|torch (\w+Storage|b?float\w+|u?int\d+|complex\d+|bool)"
    r"|torch\.storage (Typed|Untyped)Storage"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
)
MAX_READ = 2**23  # bytes at once; the table of contents of 100,000 files
IN_A_ROW = 5  # pickles at the start of the old format
MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # in the first of them
PACKED = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")  # what people put into zip archives
MAX_TUPLES = 32  # taken again: a checkpoint of an optimizer has as many as groups of parameters
PUTS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
GETS = ("GET", "BINGET", "LONG_BINGET")


class Refused(Exception):
    """A .pth that torch.load is not to see; the message goes on after the file's name."""


class Sips(io.BufferedReader):
    """A file that is read in small parts: no table of contents and no text in it is large."""

    def __init__(self, path):
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size=-1):
        whole = size is None or size < 0
        refuse_large(self.size - self.tell() if whole else size)
        return super().read(size)

    def readline(self, size=-1):
        line = super().readline(MAX_READ + 1)
        refuse_large(len(line))
        return line


def refuse_large(size):
    if size > MAX_READ:
        raise Refused("is damaged or not a checkpoint: a part of it is too large")


def check(path, zipped):
    """Looks at all pickles of a .pth that torch.load would follow.

    Args:
        path: the file.
        zipped: whether it is a zip archive; else it begins with a pickle.
    Raises:
        Refused: if it asks for more than tensors, or torch would misread it.
        Exception: of any kind, if it is damaged.
    """
    with Sips(path) as file:
        if zipped:
            with zipfile.ZipFile(file) as archive:
                check_archive(archive)
            return
        ours = MAGIC in file.peek(32)[:32]
        for _ in range(IN_A_ROW if ours else 1):
            check_pickle(file)
        if not ours:
            raise Refused("is a pickle, but not one of torch.save, by which a state_dict is saved")


def check_archive(archive):
    names = [info.filename for info in archive.infolist()]
    if any(name.endswith("/constants.pkl") for name in names):
        raise Refused(
            "is a TorchScript archive, which is a program; if you trust it, save its weights with "
            "torch.save(torch.jit.load(FILE, 'cpu').state_dict(), NEW_FILE) and give that"
        )
    if not any(name.casefold().endswith("data.pkl") for name in names):
        inside = [name for name in names if name.casefold().endswith(PACKED)]
        if inside:
            what = ascii(inside[0][-80:])
            raise Refused(f"is a zip archive with {what} inside: unpack it and give that file")
        arrays = any(name.endswith(".npy") for name in names)
        what = "numpy arrays, not of tensors" if arrays else "other things than tensors"
        raise Refused(f"is an archive of {what}: save a state_dict with torch.save")
    # Of a compressed archive torch would map the packed bytes and take them for numbers.
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise Refused(
            "is a compressed archive, which torch never writes: get it again, or unpack it and "
            "pack it without compression (zip -0)"
        )
    for info in archive.infolist():
        if info.filename.casefold().endswith("data.pkl"):
            refuse_large(info.file_size)
            with archive.open(info) as file:
                check_pickle(file)


def check_pickle(file):
    """Looks at the instructions of the pickle that comes next in a file."""
    memo, before, tuples, protocol, texts = {}, ("", ""), 0, 2, ["", ""]
    for instruction, value, _ in pickletools.genops(file):
        name, text = instruction.name, value if isinstance(value, str) else ""
        if name == "PROTO":
            protocol = value
        elif name == "GLOBAL":
            check_name(value)
        elif name == "STACK_GLOBAL":  # of what the last two texts call so
            check_name(" ".join(texts))
        elif name in PUTS:
            memo[len(memo) if name == "MEMOIZE" else value] = before
        elif name in GETS:
            what, text = memo.get(value, ("", ""))
            tuples += what.startswith("TUPLE")
            # A tuple of a tuple, each taken twice, has a billion parts after 60 of them.
            if tuples > MAX_TUPLES:
                raise Refused("holds the same tuples again and again: it was not loaded")
        texts = [texts[1], text] if text else texts
        before = (name, text)
    if protocol > 3:
        raise Refused(
            f"is a pickle of protocol {protocol}, of which torch reads none without running code: "
            "save the state_dict with torch.save as it is by default"
        )


def check_name(name):
    """Refused unless a pickle may ask for what is called so, `MODULE NAME`."""
    if re.match(r"numpy\b", name):
        raise Refused(
            "holds numpy arrays or numbers: make tensors of them and save those with torch.save"
        )
    if not NEEDED.fullmatch(name):
        what = ascii(name.replace(" ", ".", 1)[:80])[1:-1]
        raise Refused(
            f"holds more than plain tensors ({what}), which could run code or take all memory: "
            "it was not loaded"
        )
