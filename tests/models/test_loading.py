import collections
import os
import pickle
from pathlib import Path

import pytest
import torch

from models import cpu
from models.checkpoints import CheckpointError
from models.networks import load_weights
from models.weights import read
from tests.models.small import Small, complains, digest, saved, small_state


@pytest.fixture
def pth(tmp_path):
    return saved(tmp_path / "small.pth")


# ---- reading -------------------------------------------------------------------------------------


class Attack:
    """A pickle that runs a command when it is loaded without care."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def evil_pth(path, trace, **options):
    torch.save(small_state() | {"evil": Attack(trace)}, path, **options)


def evil_pickle(protocol):
    return lambda path, trace: path.write_bytes(pickle.dumps(Attack(trace), protocol))


@pytest.mark.parametrize(
    "attack",
    [
        evil_pth,
        lambda path, trace: evil_pth(path, trace, _use_new_zipfile_serialization=False),
        *map(evil_pickle, range(pickle.HIGHEST_PROTOCOL + 1)),
    ],
)
def test_code_in_a_checkpoint_does_not_run(tmp_path, attack):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    attack(path, trace)
    complains(read, path)
    complains(load_weights, Small, path)
    assert not trace.exists()
    # The attack is a real one: a careless reader falls for it.
    try:
        torch.load(path, weights_only=False)
    except Exception:
        pickle.loads(path.read_bytes())
    assert trace.exists()


def test_what_could_run_code_is_named(tmp_path):
    evil_pth(tmp_path / "evil.pth", tmp_path / "trace")
    paths = [tmp_path / "evil.pth"]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        paths.append(tmp_path / f"{protocol}.pth")
        evil_pickle(protocol)(paths[-1], tmp_path / "trace")
    for path in paths:
        message = complains(read, path)
        assert "system" in message
        assert "could run code" in message


@pytest.mark.parametrize("name", ["small.pth", "small.safetensors", "old.pth"])
def test_what_was_saved_is_read(tmp_path, name):
    options = {"_use_new_zipfile_serialization": False} if name == "old.pth" else {}
    state = read(saved(tmp_path / name, **options))
    assert state.keys() == small_state().keys()
    assert all(torch.equal(value, small_state()[key]) for key, value in state.items())


def test_format_is_told_by_content(tmp_path):
    saved(tmp_path / "small.safetensors").rename(tmp_path / "small.pth")
    assert read(tmp_path / "small.pth").keys() == small_state().keys()


@pytest.mark.parametrize("name", ["small.pth", "small.safetensors", "old.pth"])
@pytest.mark.parametrize("kept", [1, 9, 100, 0.3, 0.7, 0.99])
def test_truncated_file_is_one_line(tmp_path, name, kept):
    options = {"_use_new_zipfile_serialization": False} if name == "old.pth" else {}
    path = saved(tmp_path / name, **options)
    data = path.read_bytes()
    path.write_bytes(data[: kept if kept >= 1 else int(len(data) * kept)])
    assert str(path) in complains(load_weights, Small, path)


@pytest.mark.parametrize("name", ["small.pth", "small.safetensors", "old.pth"])
def test_damage_anywhere_raises_nothing_but_checkpoint_errors(tmp_path, name):
    options = {"_use_new_zipfile_serialization": False} if name == "old.pth" else {}
    path = saved(tmp_path / name, **options)
    data = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        broken = bytearray(data)
        for place in torch.randint(len(data), (20,), generator=generator).tolist():
            broken[place] ^= 0x55
        path.write_bytes(broken)
        try:
            load_weights(Small, path)
        except CheckpointError as error:
            assert str(error).isprintable()  # noqa: PT017 (a hit among the weights is no error)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\n<!DOCTYPE html><html>Sign in</html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not a checkpoint"),
        (b"PK\x03\x04" + bytes(100), "is damaged"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{" + bytes(100), "is damaged"),
        ((2**23 + 1).to_bytes(8, "little") + b"{" + b" " * (2**23 - 1) + b"}", "too large"),
    ],
)
def test_other_file_is_told(tmp_path, data, words):
    path = tmp_path / "small.pth"
    path.write_bytes(data)
    assert words in complains(read, path)


@pytest.mark.parametrize("key", ["state_dict", "model_ema"])
def test_training_checkpoint_of_another_network_is_told(tmp_path, key):
    foreign = {"epoch": 3, key: {"layer.weight": torch.zeros(3)}}
    path = saved(tmp_path / "small.pth", foreign)
    for message in (complains(read, path), complains(load_weights, Small, path)):
        assert f"'{key}'" in message
        assert "training checkpoint" in message


def under(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def zeros():
    return {key: torch.zeros_like(value) for key, value in small_state().items()}


def optimizer_state():
    betas = (0.9, 0.999)  # one tuple, of which all groups speak
    groups = [{"lr": 0.1, "betas": betas, "params": [i]} for i in range(20)]
    return {"state": {0: {"step": torch.ones(1)}}, "param_groups": groups}


WRAPPED = {
    "parallel": lambda: under("module.", small_state()),
    "compiled": lambda: under("_orig_mod.", small_state()),
    "both": lambda: under("module._orig_mod.", small_state()),
    "wrapped": lambda: under("model.", small_state()),
    "with more": lambda: under("diffusion.", small_state()) | {"clip.weight": torch.zeros(2)},
    "entry": lambda: {"epoch": 3, "args": {"lr": 0.1}, "model": small_state()},
    "optimizer": lambda: {"optimizer": optimizer_state(), "state_dict": small_state()},
    "nested": lambda: {"model": {"step": 7, "state_dict": under("module.", small_state())}},
    "averaged": lambda: {"model": zeros(), "ema": small_state()},
    "averaged first": lambda: {"model_ema": small_state(), "model": zeros()},
    "lightning": lambda: {
        "state_dict": under("model.", zeros()) | under("model_ema.", small_state()),
        "global_step": 100,
    },
    "averaging module": lambda: {
        **under("online_model.", zeros()),
        **under("ema_model.", small_state()),
        "initted": torch.tensor(True),
    },
}


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("name", ["small.pth", "small.safetensors", "old.pth"])
def test_state_dict_is_found_where_training_scripts_put_it(tmp_path, name, wrapping):
    content = WRAPPED[wrapping]()
    if name == "small.safetensors":
        if any(not isinstance(value, torch.Tensor) for value in content.values()):
            return  # holds tensors alone
        content = {key: value.clone() for key, value in content.items()}
    options = {"_use_new_zipfile_serialization": False} if name == "old.pth" else {}
    net = load_weights(Small, saved(tmp_path / name, content, **options))
    assert all(torch.equal(value, small_state()[key]) for key, value in net.state_dict().items())


def test_what_else_is_under_the_prefix_is_named(tmp_path):
    state = under("model.", small_state() | {"more": torch.zeros(1)})
    message = complains(load_weights, Small, saved(tmp_path / "small.pth", state))
    assert "unexpected 'more'" in message


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
        (MemoryError(), "does not fit into memory"),
        (RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)"), "fit into memory"),
    ],
)
def test_fault_of_the_machine_is_not_told_as_one_of_the_file(pth, monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    message = complains(read, pth)
    assert words in message
    assert "damaged" not in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.zeros(3), "holds a Tensor"),
        ([torch.zeros(3)], "holds a list"),
        ({"epoch": 3}, "'epoch' is not a plain tensor"),
        ({3: torch.zeros(3)}, "3 is not a plain tensor"),
        ({"a": torch.zeros(3).to_sparse()}, "tensors (torch._utils._rebuild_sparse"),
        ({"a": torch.zeros(3, device="meta")}, "tensors (torch._utils._rebuild_meta"),
        (collections.OrderedDict(a="\x1b[31m"), "'a' is not a plain tensor"),
        ({"\x1b[31m\n": 1}, "\\x1b[31m\\n"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path, content, words):
    assert words in complains(read, saved(tmp_path / "small.pth", content))


# ---- loading -------------------------------------------------------------------------------------


def test_missing_and_unexpected_keys_are_named_and_counted(tmp_path):
    state = small_state()
    del state["conv.bias"]
    state |= {f"more.{i}\x1b": torch.zeros(1) for i in range(9)}
    message = complains(load_weights, Small, saved(tmp_path / "small.pth", state))
    assert "missing 'conv.bias'" in message
    assert "unexpected 'more.0\\x1b', 'more.1\\x1b', 'more.2\\x1b' and 6 more" in message


def test_other_shapes_are_named(tmp_path):
    state = small_state() | {"linear.bias": torch.zeros(5), "linear.weight": torch.zeros(5, 16)}
    message = complains(load_weights, Small, saved(tmp_path / "small.pth", state))
    assert "shape of 'linear.weight', 'linear.bias'; the first shape is [5, 16]" in message
    state = small_state() | {"linear.bias": torch.zeros([4] + [1] * 5000)}
    message = complains(load_weights, Small, saved(tmp_path / "small.safetensors", state))
    assert "shape of 'linear.bias'; the first shape is [4, 1, 1" in message


def test_integers_where_numbers_should_be_are_named(tmp_path):
    state = small_state() | {"linear.bias": torch.zeros(4, dtype=torch.int64)}
    assert "'linear.bias'" in complains(load_weights, Small, saved(tmp_path / "a.pth", state))


@pytest.mark.parametrize("name", ["small.pth", "small.safetensors", "old.pth"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_are_those_of_the_file(tmp_path, name, dtype):
    options = {"_use_new_zipfile_serialization": False} if name == "old.pth" else {}
    net = load_weights(Small, saved(tmp_path / name, **options), dtype=dtype)
    assert not net.training
    for key, value in net.state_dict().items():
        assert not value.requires_grad
        expected = small_state()[key]
        if key not in ("features.weight", "steps"):
            expected = expected.to(dtype)
        assert value.dtype == expected.dtype, key
        assert torch.equal(value, expected), key
    converted = dtype != torch.float32
    assert net.conv.weight.is_contiguous(memory_format=torch.channels_last) == converted


def test_weights_of_another_type_are_converted(tmp_path):
    state = {key: v.double() if v.is_floating_point() else v for key, v in small_state().items()}
    net = load_weights(Small, saved(tmp_path / "small.pth", state))
    assert net.conv.weight.dtype == torch.float32
    assert torch.equal(net.conv.weight, small_state()["conv.weight"])


has_proc = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")


@has_proc
@pytest.mark.parametrize("name", ["small.pth", "small.safetensors"])
def test_float32_weights_stay_mapped_from_the_file(tmp_path, name):
    path = saved(tmp_path / name)
    net = load_weights(Small, path)
    places = [[int(place, 16) for place in area.split("-")] for area in mapped_areas(path)]
    for key, value in net.state_dict().items():
        assert any(start <= value.data_ptr() < end for start, end in places), key


@has_proc
@pytest.mark.parametrize("name", ["small.pth", "small.safetensors"])
def test_converted_weights_let_go_of_the_file(tmp_path, name):
    path = saved(tmp_path / name)
    net = load_weights(Small, path, dtype=torch.bfloat16)
    assert net.features.weight.dtype == torch.float32  # as in the file, and yet a copy
    assert not mapped_areas(path)


@has_proc
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["small.pth", "small.safetensors"])
def test_file_is_never_in_memory_as_a_whole_while_it_is_converted(
    tmp_path, name, packed, monkeypatch
):
    path = saved(tmp_path / name, {**small_state(), "conv.weight": torch.ones(16, 4, 512, 512)})
    resident, let_go = [], cpu.let_go

    def watched(address):
        resident.append(pages_of(path))
        let_go(address)
        resident.append(pages_of(path))

    monkeypatch.setattr(cpu, "PORTION", 2**20)
    monkeypatch.setattr(cpu, "let_go", watched)
    other = read(path)["conv.weight"]
    other[0] = 7  # in a mapping of its own, which stays as it is
    net = load_weights(Large, path, dtype=torch.bfloat16, packed=packed)
    assert (net.conv.weight.to_dense() == 1).all()
    assert resident[0] - resident[1] >= 2**24
    assert (other[0] == 7).all()


@has_proc
def test_letting_go_of_other_memory_changes_nothing():
    numbers = torch.ones(2**20)
    cpu.let_go(numbers.data_ptr())
    assert (numbers == 1).all()


class Large(Small):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 16, 512)


def pages_of(path):
    """How many bytes of a mapped file are in this process's memory."""
    lines, size, inside = Path("/proc/self/smaps").read_text().splitlines(), 0, False
    for line in lines:
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            size += int(line.split()[1]) * 1024
    return size


def mapped_areas(path):
    """Where in this process's memory a file is mapped, as START-END."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[0] for line in lines if line.endswith(str(path))]


def test_changing_mapped_weights_does_not_change_the_file(pth):
    before = digest(pth)
    net = load_weights(Small, pth)
    net.conv.weight.data.zero_()
    assert digest(pth) == before
    assert read(pth)["conv.weight"].any()


def test_what_no_checkpoint_fills_is_an_error_of_ours(pth):
    class Forgetful(Small):
        def __init__(self):
            super().__init__()
            self.register_buffer("window", torch.ones(3), persistent=False)

    with pytest.raises(RuntimeError, match=r"Forgetful\.window is in no state_dict"):
        load_weights(Forgetful, pth)


def test_nothing_is_initialised(pth):
    class Watched(Small):
        def __init__(self):
            super().__init__()
            assert all(p.is_meta for p in self.parameters())

    state = torch.random.get_rng_state()
    load_weights(Watched, pth)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_metadata_in_a_state_dict_is_ignored(tmp_path):
    state = collections.OrderedDict(small_state())
    state._metadata = {"": {"version": "not a number"}, "conv": 7}
    net = load_weights(Small, saved(tmp_path / "small.pth", state))
    assert torch.equal(net.linear.bias, small_state()["linear.bias"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_arrive_on_the_gpu(pth, dtype):
    net = load_weights(Small, pth, device="cuda", dtype=dtype)
    assert all(value.is_cuda for value in net.state_dict().values())
    assert torch.equal(net.conv.weight.cpu(), small_state()["conv.weight"].to(dtype))
    assert net.conv.weight.is_contiguous(memory_format=torch.channels_last)
