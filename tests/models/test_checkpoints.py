import collections
import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models import checkpoints, hashes
from models.checkpoints import CheckpointError, find, is_present, load_weights, read, sha256
from tests.models import server as does
from tests.models.server import Server
from tests.weights import deterministic_state_dict

ROOT = Path(__file__).parents[2]


class Features(nn.Module):
    full_precision = True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 1))


class Small(nn.Module):
    """A network with every kind of tensor a state_dict may hold."""

    def __init__(self):
        super().__init__()
        self.features = Features()
        self.conv = nn.Conv2d(3, 16, 3)
        self.linear = nn.Linear(16, 4)
        self.register_buffer("steps", torch.zeros(4, dtype=torch.int64))


def small_state():
    shapes = {key: value.shape for key, value in Small().state_dict().items() if key != "steps"}
    return deterministic_state_dict(shapes) | {"steps": torch.arange(4)}


def saved(path, state=None, **options):
    """A checkpoint in the format that the name asks for."""
    state = small_state() if state is None else state
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path, **options)
    return path


def row(path, **more):
    """The row of a published network whose checkpoint is the file at `path`."""
    facts = {"name": "small", "file": "small.pth", "url": "http://127.0.0.1:9/small.pth"}
    return SimpleNamespace(**facts | {"sha256": digest(path)} | more)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def complains(function, *arguments):
    """The message of a CheckpointError, one line that can be shown on any terminal."""
    with pytest.raises(CheckpointError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 700
    return message


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty checkpoints folder."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", folder)
    monkeypatch.setattr("models.downloads.PAUSE", 0.001)
    monkeypatch.delenv("V_DIFFUSION_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return folder


@pytest.fixture
def pth(tmp_path):
    return saved(tmp_path / "small.pth")


# ---- finding -------------------------------------------------------------------------------------


def test_file_in_the_folder_is_found(folder):
    path = saved(folder / "small.pth")
    assert find(row(path)) == path


def test_safetensors_stands_in_for_pth(folder):
    path = saved(folder / "small.safetensors")
    network = row(path, sha256="0" * 64)
    assert is_present(network)
    assert find(network) == path


def test_explicit_file_need_not_be_the_published_one(tmp_path, folder, pth):
    saved(folder / "small.pth")
    assert find(row(pth, sha256="0" * 64), checkpoint=str(pth)) == pth


def test_presence_is_told_without_reading(folder, pth):
    assert not is_present(row(pth))
    (folder / "small.pth").mkdir()
    assert not is_present(row(pth))
    (folder / "small.pth").rmdir()
    (folder / "small.pth").write_bytes(b"anything")
    assert is_present(row(pth))


def test_wrong_hash_is_told_with_what_to_do(folder):
    path = saved(folder / "small.pth")
    network = row(path, sha256="0" * 64)
    message = complains(find, network)
    for part in (str(path), "0" * 64, digest(path), "delete it", "--checkpoint"):
        assert part in message


def test_hash_is_checked_before_anything_is_parsed(folder, monkeypatch):
    path = saved(folder / "small.pth")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("parsed"))
    complains(find, row(path, sha256="0" * 64))


def test_bundled_network_that_is_missing_is_not_looked_for_in_the_web(pth):
    assert "comes with this suite" in complains(find, row(pth, url=None))


def test_bundled_network_without_a_hash_is_found(folder):
    path = saved(folder / "small.pth")
    assert find(row(path, url=None, sha256=None)) == path


@pytest.mark.parametrize("make", ["missing", "directory", "empty", "dangling", "secret"])
def test_unusable_file_is_one_line(tmp_path, folder, pth, make, monkeypatch):
    bad = folder / "small.pth"
    words = {
        "missing": "there is no such file",
        "directory": "is a directory",
        "empty": "is empty",
        "dangling": "there is no such file",
        "secret": "cannot be read: Permission denied",
    }
    if make == "directory":
        bad.mkdir()
    elif make == "empty":
        bad.write_bytes(b"")
    elif make == "dangling":
        bad.symlink_to(tmp_path / "nowhere")
    elif make == "secret":
        bad.write_bytes(b"x")

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(checkpoints, "open", refuse, raising=False)
    network = row(pth)
    assert words[make] in complains(find, network, bad)
    assert words[make] in complains(read, bad)
    if make != "missing":
        assert words[make] in complains(find, network)


def test_finding_and_downloading_need_no_torch(folder, pth):
    code = (
        "import sys; from types import SimpleNamespace; from models import checkpoints\n"
        "network = SimpleNamespace(name='small', file='small.pth', url=sys.argv[1], "
        "sha256=sys.argv[2])\n"
        "assert not checkpoints.is_present(network)\n"
        "print(checkpoints.find(network, progress=False))\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    with Server(pth.read_bytes()).running() as server:
        done = subprocess.run(
            [sys.executable, "-c", code, server.url, digest(pth)],
            cwd=ROOT,
            env=os.environ | {"V_DIFFUSION_CHECKPOINTS": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "small.pth")
    assert (folder / "small.pth").read_bytes() == pth.read_bytes()


# ---- downloading ---------------------------------------------------------------------------------


def test_missing_file_is_downloaded_once(folder, pth):
    with Server(pth.read_bytes(), does.breaks_after(100), does.whole).running() as server:
        network = row(pth, url=server.url)
        for _ in range(2):
            assert find(network, progress=False).read_bytes() == pth.read_bytes()
        assert len(server.requests) == 2  # broken, resumed


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("how", ["argument", "environment"])
def test_mirror_is_asked_instead(pth, how, slash, monkeypatch):
    with Server(pth.read_bytes()).running() as server:
        mirror = server.url.removesuffix("/file.pth") + "/some/folder" + slash
        if how == "environment":
            monkeypatch.setenv("V_DIFFUSION_MIRROR", mirror)
        find(row(pth), mirror=mirror if how == "argument" else None, progress=False)
        assert [path for path, _ in server.requests] == ["/some/folder/small.pth"]


def test_mirror_must_send_the_published_file(folder, pth):
    with Server(b"of somebody else").running() as server:
        mirror = server.url.removesuffix("/file.pth")
        assert "another file" in complains(find, row(pth), None, mirror, False)
    assert list(folder.iterdir()) == []


def test_failed_download_tells_how_to_do_it_by_hand(folder, pth):
    network = row(pth)
    message = complains(find, network, None, None, False)
    for part in (network.url, network.sha256, str(folder / "small.pth"), "--mirror"):
        assert part in message


# ---- hashing -------------------------------------------------------------------------------------


def test_hash_is_remembered_until_the_file_changes(pth, monkeypatch):
    first = sha256(pth)
    assert first == digest(pth)
    counted = []
    whole = hashes.hash_file
    monkeypatch.setattr(hashes, "hash_file", lambda path: counted.append(path) or whole(path))
    assert sha256(pth) == first
    assert counted == []
    time = pth.stat().st_mtime_ns
    pth.write_bytes(pth.read_bytes()[::-1])
    os.utime(pth, ns=(time + 1, time + 1))
    assert sha256(pth) == digest(pth) != first
    assert counted == [pth]


@pytest.mark.parametrize("memo", ["", "nonsense", "0" * 64, "0" * 64 + " 1 1\n", "\xff" * 300])
def test_bad_memory_is_not_believed(pth, memo):
    (pth.parent / "small.pth.sha256").write_text(memo, encoding="latin-1")
    assert sha256(pth) == digest(pth)


def test_hash_file_of_somebody_else_is_kept(pth):
    theirs = f"{'0' * 64}  small.pth\n"
    (pth.parent / "small.pth.sha256").write_text(theirs)
    assert sha256(pth) == digest(pth)
    assert (pth.parent / "small.pth.sha256").read_text() == theirs


def test_folder_that_is_only_read_is_no_trouble(pth, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert sha256(pth) == digest(pth)
    assert sorted(os.listdir(pth.parent)) == ["checkpoints", "small.pth"]


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
    message = complains(read, tmp_path / "evil.pth")
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
    ],
)
def test_other_file_is_told(tmp_path, data, words):
    path = tmp_path / "small.pth"
    path.write_bytes(data)
    assert words in complains(read, path)


@pytest.mark.parametrize("key", ["state_dict", "model_ema"])
def test_training_checkpoint_is_told(tmp_path, key):
    foreign = {"epoch": 3, key: small_state()}
    message = complains(read, saved(tmp_path / "small.pth", foreign))
    assert f"'{key}'" in message
    assert "training checkpoint" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.zeros(3), "holds a Tensor"),
        ([torch.zeros(3)], "holds a list"),
        ({"epoch": 3}, "'epoch' is not a plain tensor"),
        ({3: torch.zeros(3)}, "3 is not a plain tensor"),
        ({"a": torch.zeros(3).to_sparse()}, "'a' is not a plain tensor"),
        ({"a": torch.zeros(3, device="meta")}, "'a' is not a plain tensor"),
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
    assert "shape of 'linear.weight' [5, 16] instead of [4, 16] and 1 more" in message


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


@pytest.mark.parametrize("name", ["small.pth", "small.safetensors"])
def test_float32_weights_stay_mapped_from_the_file(tmp_path, name):
    if not Path("/proc/self/maps").exists():
        pytest.skip("no /proc")
    path = saved(tmp_path / name)
    net = load_weights(Small, path)
    places = [
        [int(place, 16) for place in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    for key, value in net.state_dict().items():
        assert any(start <= value.data_ptr() < end for start, end in places), key


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
