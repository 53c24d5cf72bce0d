import pytest
import torch
from safetensors.torch import load_file, save_file

import models
from models import checkpoints, differences
from models.checkpoints import CheckpointError
from models.weights import read
from models.zoo import NETWORKS


@pytest.mark.parametrize("shape", [(4, 6), (3, 5), (2, 3, 3, 3), (1, 1)])
def test_what_four_bits_can_say_comes_back_exactly(shape):
    torch.manual_seed(0)
    levels = torch.randint(-7, 8, shape)
    levels.view(shape[0], -1)[:, 0] = 7  # so that the largest is at the end of the range
    difference = levels * torch.tensor([0.5**i for i in range(shape[0])]).view(
        -1, *[1] * (len(shape) - 1)
    )
    stored = differences.quantised(difference)
    assert stored[0].dtype == torch.uint8
    assert stored[0].numel() == shape[0] * -(-difference[0].numel() // 2)
    assert torch.equal(differences.restored(*stored, difference), difference)


def test_error_is_that_of_four_bits_with_the_best_scale():
    torch.manual_seed(0)
    normal = torch.randn(8, 4096)
    error = differences.restored(*differences.quantised(normal), normal) - normal
    # Sixteen levels, as far apart as is best for a normal distribution (Max, 1960): 0.01154.
    assert error.square().mean() == pytest.approx(0.01154, rel=0.1)
    assert not differences.restored(*differences.quantised(normal * 0), normal).any()


def student_of_emoji(path):
    """A file of weights near those of the bundled network, with what a student has beside them."""
    torch.manual_seed(0)
    state = read(checkpoints.find(NETWORKS["emoji"]))
    state = {
        k: v.float() + 0.01 * torch.randn(v.shape) * v.float().std()
        for k, v in state.items()
        if v.numel() > 1
    } | {k: v.float() for k, v in state.items() if v.numel() == 1}
    own = models.build("emoji_4").state_dict()
    state |= {key: value.clone() for key, value in own.items() if key not in state}
    save_file(state, path, {"model": "emoji_4"})
    return state


def test_file_of_differences_is_read_as_weights(run, tmp_path):
    state = student_of_emoji(tmp_path / "student.safetensors")
    small, whole = tmp_path / "small.safetensors", tmp_path / "whole.safetensors"
    run(tmp_path / "student.safetensors", "-o", small, "--difference-from", "emoji")
    assert small.stat().st_size < (tmp_path / "student.safetensors").stat().st_size / 7
    found = read(small)
    base = {k: v.float() for k, v in read(checkpoints.find(NETWORKS["emoji"])).items()}
    assert found.keys() == state.keys()
    for key, value in state.items():
        if value.ndim > 1 and key in base:
            error = (found[key] - value).norm() / (value - base[key]).norm()
            assert error < 0.15
        else:
            assert torch.equal(found[key], value.half())
    models.load("emoji_4", small)

    run(small, "-o", whole)  # written whole, it is no difference any more
    assert all(torch.equal(value, found[key]) for key, value in read(whole).items())


def test_weights_that_are_those_of_the_other_take_no_room(run, tmp_path):
    state = student_of_emoji(tmp_path / "student.safetensors")
    base = read(checkpoints.find(NETWORKS["emoji"]))
    equal = {key: value for key, value in base.items() if key.startswith("sketch.")}
    save_file(state | equal, tmp_path / "student.safetensors", {"model": "emoji_4"})
    small = tmp_path / "small.safetensors"
    run(tmp_path / "student.safetensors", "-o", small, "--difference-from", "emoji")
    stored, found = load_file(small), read(small)
    matrices = [key for key, value in equal.items() if value.ndim > 1]
    assert matrices
    assert all(not stored[f"{key}.equal"].numel() for key in matrices)
    assert all(torch.equal(found[key].half(), value) for key, value in equal.items())
    stored["b.equal"] = stored.pop(f"{matrices[0]}.equal")
    save_file(stored, small, {differences.KEY: NETWORKS["emoji"].sha256})
    with pytest.raises(CheckpointError, match="is damaged: the network that it names has no 'b'"):
        read(small)


def test_differences_from_what_is_not_here_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "student.safetensors"
    state = {"a.levels": torch.zeros(1, 1, dtype=torch.uint8), "a.scales": torch.zeros(1).half()}
    save_file(state, path, {differences.KEY: "0" * 64})
    with pytest.raises(CheckpointError, match="from weights that are not known here"):
        read(path)
    save_file(state, path, {differences.KEY: NETWORKS["emoji"].sha256})
    with pytest.raises(CheckpointError, match="its 'a' is no difference from a weight"):
        read(path)
    save_file(state, path, {differences.KEY: NETWORKS["yfcc_1"].sha256})
    monkeypatch.setattr(checkpoints, "is_present", lambda row: False)
    with pytest.raises(CheckpointError, match="--model yfcc_1 downloads them"):
        read(path)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": torch.zeros(2, 2)}, "is of another network: no weights"),
        ({"net.0.main.0.weight": None}, "is beyond the range of float16"),
    ],
)
def test_what_is_no_difference_is_not_written(run, tmp_path, capsys, state, words):
    base = read(checkpoints.find(NETWORKS["emoji"]))
    state = {k: v if v is not None else base[k] * torch.inf for k, v in state.items()}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(SystemExit) as stop:
        run(
            tmp_path / "a.safetensors",
            "-o",
            tmp_path / "b.safetensors",
            "--difference-from",
            "emoji",
        )
    (line,) = capsys.readouterr().err.splitlines()
    assert (stop.value.code, words in line) == (2, True)
    assert not (tmp_path / "b.safetensors").exists()


def test_difference_from_what_is_not_here_downloads_nothing(run, tmp_path, capsys):
    save_file({"a": torch.zeros(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(SystemExit):
        run(
            tmp_path / "a.safetensors",
            "-o",
            tmp_path / "b.safetensors",
            "--difference-from",
            "yfcc_1",
        )
    assert "the weights of yfcc_1 are not here" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", ["levels", "scales", "name", "type", "nan"])
def test_damaged_differences_are_one_line(tmp_path, spoil):
    path = tmp_path / "student.safetensors"
    stored = load_file(checkpoints.find(NETWORKS["emoji_4"]))
    key = next(name for name in stored if name.endswith(".levels")).removesuffix(".levels")
    if spoil == "name":
        stored["b.levels"] = stored.pop(f"{key}.levels")
    elif spoil == "type":
        stored[f"{key}.levels"] = stored[f"{key}.levels"].float()
    elif spoil == "nan":
        stored[f"{key}.scales"][0] = torch.nan
    else:
        stored[f"{key}.{spoil}"] = stored[f"{key}.{spoil}"][:1]
    save_file(stored, path, {differences.KEY: NETWORKS["emoji"].sha256})
    with pytest.raises(CheckpointError, match=r"is damaged: its '.*' is no difference"):
        read(path)
