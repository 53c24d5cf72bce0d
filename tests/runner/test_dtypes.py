"""Which dtype a CPU is measured to be fastest in; what takes how long is made up here."""

import json

import pytest
import torch

from recipes import recipe as recipes
from runner import dtypes


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own."""
    monkeypatch.setenv("V_DIFFUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dtypes"


@pytest.fixture
def takes(monkeypatch):
    """A function (seconds by dtype) that has `measured` return them; a list of its calls."""
    calls = []

    def say(**seconds):
        def measured():
            calls.append(1)
            return seconds

        monkeypatch.setattr(dtypes, "measured", measured)
        return calls

    return say


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"float32": 1.0, "bfloat16": 0.5, "float16": 0.9}, torch.bfloat16),
        ({"float32": 1.0, "bfloat16": 0.5, "float16": 0.4}, torch.float16),
        ({"float32": 1.0, "bfloat16": 2.0, "float16": 1.1}, torch.float32),
        ({"float32": 1.0, "bfloat16": 0.98}, torch.float32),  # rounds more, for next to nothing
        ({"float32": 1.0, "bfloat16": 0.96}, torch.bfloat16),
        ({"float32": 1.0}, torch.float32),
    ],
)
def test_fastest_is_taken(takes, seconds, expected):
    takes(**seconds)
    assert dtypes.fastest() == expected


def test_some_dtypes_may_be_no_choice(takes):
    takes(float32=1.0, bfloat16=0.9, float16=0.1)
    assert dtypes.fastest(("float32", "bfloat16")) == torch.bfloat16
    assert dtypes.fastest(("float32",)) == torch.float32


def test_where_memory_counts_two_bytes_are_taken_unless_they_are_much_slower(takes):
    takes(float32=1.0, bfloat16=1.9, float16=2.1)
    assert dtypes.fastest() == torch.float32
    assert dtypes.fastest(low_memory=True) == torch.bfloat16


def test_where_they_are_much_slower_float32_is_taken_even_then(takes):
    takes(float32=1.0, bfloat16=2.5)
    assert dtypes.fastest(low_memory=True) == torch.float32


def test_it_is_measured_once_for_each_cpu_torch_and_number_of_threads(takes, monkeypatch):
    calls = takes(float32=1.0, bfloat16=0.5)
    for number, (place, value) in enumerate(
        [
            (None, None),
            ("runner.dtypes.cpu_name", lambda: "another"),
            ("torch.__version__", "99.0"),
            ("torch.get_num_threads", lambda: 77),
            ("torch.backends.cpu.get_cpu_capability", lambda: "none"),
        ],
        start=1,
    ):
        if place:
            monkeypatch.setattr(place, value)
        for _ in range(3):
            assert dtypes.fastest() == torch.bfloat16
        assert len(calls) == number


DAMAGED = ["", "{", "[]", "5", '{"bfloat16": 1}', '{"float32": "x"}', '{"float32": 1, "rm": 1}']
DAMAGED += ['{"float32": -1}', '{"float32": NaN}', '{"float32": null}', "\udcff"]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_measured_anew(takes, cache, text):
    calls = takes(float32=1.0, bfloat16=0.5)
    dtypes.fastest()
    (path,) = cache.iterdir()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert dtypes.fastest() == torch.bfloat16
    assert len(calls) == 2
    assert json.loads(path.read_text()) == {"float32": 1.0, "bfloat16": 0.5}


def test_where_nothing_can_be_kept_it_is_measured_each_time(takes, cache):
    calls = takes(float32=1.0)
    cache.parent.write_text("no folder")
    assert dtypes.fastest() == dtypes.fastest() == torch.float32
    assert len(calls) == 2


def test_measured_are_those_that_work_and_are_exact_enough(monkeypatch):
    before = torch.random.get_rng_state()
    found = dtypes.measured()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(seconds > 0 for seconds in found.values())
    plain = dtypes.convolutions

    def broken(dtype):
        if dtype == torch.float16:
            raise RuntimeError("no float16 here")
        noise = 0.02 * (dtype == torch.bfloat16)
        return [(lambda x, f=f: f(x) * (1 + noise), x) for f, x in plain(torch.float32)]

    monkeypatch.setattr(dtypes, "convolutions", broken)
    assert list(dtypes.measured()) == ["float32"]


def test_shortest_time_counts_whatever_else_runs(monkeypatch):
    """Each convolution takes a second once, and ten while others run."""
    clock = [0.0]
    # The first are not timed.
    took = {torch.float32: [9, 9, 9, 9, 10, 1, 1, 10, 10, 10], torch.bfloat16: [9, 9, *[2] * 6]}

    def convolutions(dtype):
        def layer(x):
            clock[0] += took[dtype].pop(0)
            return torch.ones(1)

        if dtype == torch.float16:
            raise RuntimeError
        return [(layer, None)] * 2

    monkeypatch.setattr(dtypes.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(dtypes, "convolutions", convolutions)
    assert dtypes.measured() == {"float32": 2, "bfloat16": 4}


def test_recipe_names_what_was_taken_and_a_redraw_takes_it_unmeasured(takes, cfg_sample):
    command = ("--model", "emoji", "--device", "cpu", "--steps", 1, "a cat", "--size", 16, 16)
    for name, seconds in (("bfloat16", 0.1), ("float32", 9.0)):
        calls = takes(float32=1.0, bfloat16=seconds)
        assert cfg_sample(*command, "--low-memory", "--threads", 1, "-o", f"{name}.png")[0] == 0
        assert recipes.read(f"{name}.png")["dtype"] == name
        for path in dtypes.cache_folder("dtypes").iterdir():
            path.unlink()
        asked = len(calls)
        assert cfg_sample("--from-png", f"{name}.png", "--seed", 1, "-o", f"{name}_1.png")[0] == 0
        assert recipes.read(f"{name}_1.png")["dtype"] == name
        assert len(calls) == asked
