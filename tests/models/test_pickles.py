import pickle
import pickletools
import zipfile

import numpy as np
import pytest
import torch

from models.pickles import GETS, PUTS
from models.weights import read
from tests.models.small import complains, saved, small_state


def in_an_archive(path, code):
    """A .pth whose pickle is `code`."""
    saved(path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, code if name.endswith("/data.pkl") else content)
    return path


# What torch.load(weights_only=True) would do: take 17 GB, count to a billion, hash 2**60 numbers.
BYTES = b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\0\0\0\0\x04\0\x85R."
COUNT = b"\x80\x02ccollections\nCounter\nctorch\nFloatTensor\nJ\0\xca\x9a\x3b\x85R\x85R."
PAIRS = b"\x80\x02})" + b"".join(b"q%ch%ch%c\x86" % (i, i, i) for i in range(60)) + b"Ns."


@pytest.mark.parametrize(
    ("code", "words"),
    [(BYTES, "builtins.bytearray"), (COUNT, "collections.Counter"), (PAIRS, "same tuples")],
)
def test_what_would_take_memory_or_time_without_end_is_refused(tmp_path, code, words):
    (tmp_path / "bare.pth").write_bytes(code)
    assert words in complains(read, tmp_path / "bare.pth")
    assert words in complains(read, in_an_archive(tmp_path / "zip.pth", code))


def test_later_pickles_of_the_old_format_are_looked_at(tmp_path):
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    protocol, system = pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2)
    empty = pickle.dumps({}, 2)
    for codes in ([BYTES], [empty, BYTES]):
        path = tmp_path / "old.pth"
        path.write_bytes(b"".join([magic, protocol, system, *codes]))
        assert "builtins.bytearray" in complains(read, path)


def test_archive_of_a_million_files_is_refused_at_once(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(1000):
            archive.writestr(f"a/data/{i}", b"")
    monkeypatch.setattr("models.pickles.MAX_READ", 50_000)
    assert "too large" in complains(read, path)


@pytest.mark.parametrize("code", [b"X", b"T", b"\x8b"])  # lengths in four bytes
def test_text_as_long_as_the_file_is_not_read(tmp_path, code):
    data = b"\x80\x02" + code + (2**30).to_bytes(4, "little") + bytes(1000)
    (tmp_path / "a.pth").write_bytes(data)
    assert "too large" in complains(read, tmp_path / "a.pth")


def test_line_and_pickle_as_long_as_the_file_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("models.pickles.MAX_READ", 50_000)
    (tmp_path / "a.pth").write_bytes(b"\x80\x02c" + bytes(100_000))
    assert "too large" in complains(read, tmp_path / "a.pth")
    path = in_an_archive(tmp_path / "b.pth", b"\x80\x02" + b"N" * 100_000)
    assert "too large" in complains(read, path)


ARRAYS = {"a": np.ones(3, np.float32)}
LISTS = {"a": [1.0, 2.0]}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickle_that_torch_did_not_write_is_told_as_what_it_is(tmp_path, protocol):
    path = tmp_path / "a.pth"
    words = f"pickle of protocol {protocol}" if protocol > 3 else "not one of torch.save"
    for content, wanted in ((ARRAYS, "numpy arrays"), (LISTS, words)):
        path.write_bytes(pickle.dumps(content, protocol))
        assert wanted in complains(read, path)
        assert wanted in complains(read, in_an_archive(tmp_path / "z.pth", path.read_bytes())) or (
            protocol == 2
        )


@pytest.mark.parametrize("zipped", [True, False])
def test_file_of_torch_in_another_protocol_or_with_numpy_numbers_is_told(tmp_path, zipped):
    options = {"_use_new_zipfile_serialization": zipped, "pickle_protocol": 4}
    path = saved(tmp_path / "a.pth", **options)
    assert "pickle of protocol 4" in complains(read, path)
    path = saved(path, {"loss": np.float64(3)}, _use_new_zipfile_serialization=zipped)
    assert "numpy arrays or numbers" in complains(read, path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_archive_around_a_checkpoint_says_to_unpack_it(tmp_path, packing):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.write(saved(tmp_path / "small.pth"), "model/small.pth")
    message = complains(read, path)
    assert "unpack it" in message
    assert "'model/small.pth'" in message
    assert "zip -0" not in message


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: np.savez(path, **ARRAYS), "numpy arrays"),
        (lambda path: np.savez_compressed(path, **ARRAYS), "numpy arrays"),
        (lambda path: zipfile.ZipFile(path, "w").writestr("word/a.xml", "x"), "other things"),
    ],
)
def test_other_archives_are_told(tmp_path, write, words):
    write(tmp_path / "a.npz")
    assert words in complains(read, tmp_path / "a.npz")


def test_compressed_archive_is_refused_as_torch_would_misread_it(tmp_path):
    path = saved(tmp_path / "small.pth")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for packing in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", packing) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        if packing:
            assert "compressed" in complains(read, path)
    assert all(torch.equal(value, small_state()[key]) for key, value in read(path).items())


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_type_and_parameters_are_read(tmp_path, zipped):
    types = [torch.float64, torch.bfloat16, torch.float16, torch.uint8, torch.int16, torch.bool]
    types += [torch.complex64, torch.uint16, torch.float8_e4m3fn] if zipped else []
    state = {str(dtype): torch.ones(2, 3).to(dtype) for dtype in types}
    state["view"] = torch.arange(12.0).view(3, 4)[:, 1:].t()
    state["parameter"] = torch.nn.Parameter(torch.ones(3))
    state["tied"] = state["parameter"]
    path = saved(tmp_path / "a.pth", state, _use_new_zipfile_serialization=zipped)
    found = read(path)
    assert found.keys() == state.keys()
    for key, value in found.items():
        assert value.dtype == state[key].dtype
        assert value.tolist() == state[key].tolist()


def test_names_of_instructions_are_those_of_pickle():
    known = {code.name for code in pickletools.opcodes}
    assert {*PUTS, *GETS} <= known
