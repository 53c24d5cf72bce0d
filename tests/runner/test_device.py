import pytest
import torch

from runner import dtypes
from runner.device import pick_clip_dtype, pick_device, pick_dtype
from values.errors import UserError


def test_dtype_is_what_the_device_computes_fastest(monkeypatch):
    cpu = torch.device("cpu")
    assert pick_dtype("auto", torch.device("cuda")) == torch.float16
    assert pick_dtype("auto", torch.device("mps")) == torch.float32
    for seconds, dtype in ((0.5, torch.float16), (3.0, torch.float32)):
        found = {"float32": 1.0, "bfloat16": 3.0, "float16": seconds}
        monkeypatch.setattr(dtypes, "remembered", lambda found=found: found)
        assert pick_dtype("auto", cpu) == dtype
        assert pick_dtype("auto", cpu, gradients=True) == torch.float32
        assert pick_clip_dtype("auto", cpu) == torch.float32
    monkeypatch.setattr(dtypes, "remembered", lambda: pytest.fail("measured"))
    assert pick_dtype("float16", cpu) == torch.float16


def test_device_is_the_best_there_is(monkeypatch):
    assert pick_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device(None).type == "cuda"
    assert pick_device("cuda:1").index == 1
    with pytest.raises(UserError, match="--device cuda:2 is not there"):
        pick_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 0)
    assert pick_device(None).type == "cpu"
    with pytest.raises(UserError, match=r"--device xpu is not there: .* has cpu: leave it out"):
        pick_device("xpu")
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    assert pick_device(None).type == pick_device("xpu").type == "xpu"
    assert pick_device("xpu:1").index == pick_device("xpu", 3).index == 1
    assert pick_dtype("auto", torch.device("xpu")) == torch.float32


def test_processes_of_a_machine_share_its_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [pick_device(None, rank).index for rank in range(3)] == [0, 1, 0]
    assert pick_device("cuda:1", 0).index == 1
    assert pick_device("cpu", 1) == torch.device("cpu")


def test_clip_steers_in_what_keeps_small_gradients(monkeypatch):
    cuda = torch.device("cuda")
    for native, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native, **_: native)
        assert pick_clip_dtype("auto", cuda) == dtype
    assert pick_clip_dtype("float32", cuda) == torch.float32
