"""What bench/restoring.py draws, keeps and makes of it."""

import importlib
import json
import math
from types import SimpleNamespace

import pytest
import torch

from bench import restoring_ways as ways
from train import render

pytestmark = pytest.mark.skipif(
    not (render.FONT.exists() and render.ANNOTATIONS.exists()), reason="renders need the font"
)

EMBED = torch.zeros(1, 4)


@pytest.fixture
def bench():
    return importlib.import_module("bench.restoring")


class Sees:
    """Eyes that find what is brighter than nothing."""

    def sees(self, images, numbers):
        return images.mean((1, 2, 3)) > 0

    def apart(self, images, others):
        return (images - others).abs().mean((1, 2, 3))


def test_renders_are_held_out_ones_first_and_none_twice(bench):
    things = render.read_things()
    pairs = bench.pairs(things)
    held_out = render.held_out_pairs(things, 0)
    names = [(things[number].name, ground) for number, ground in pairs]
    assert set(names[: len(held_out)]) == {tuple(pair) for pair in held_out}
    assert len(set(names)) == len(names) >= 200
    assert bench.pairs(things) == pairs


def test_every_way_has_a_file_of_its_own(bench, tmp_path):
    cells = SimpleNamespace(args=SimpleNamespace(folder=tmp_path))
    every = [*ways.WITHOUT, *ways.WAYS]
    files = {bench.Cells.path(cells, "upscale", way).with_suffix(".json") for way in every}
    assert len(files) == len(every)


def test_a_run_that_was_stopped_goes_on(bench, tmp_path):
    drawn = []

    def lines_of(count, weights="a"):
        cells = bench.Cells.__new__(bench.Cells)
        cells.args = SimpleNamespace(folder=tmp_path, again=2)
        cells.settings = {"weights": weights}
        cells._drawn = lambda task, way, restore, first, end, again: [
            drawn.append(i) or {"off": i} for i in range(first, end)
        ]
        return cells.lines("upscale", "pigdm, ddpm", None, count)

    assert lines_of(6) == [{"off": i} for i in range(6)]
    assert lines_of(23) == [{"off": i} for i in range(23)]
    assert lines_of(4) == [{"off": i} for i in range(4)]
    assert drawn == list(range(23))
    assert len(json.loads((tmp_path / "upscale/pigdm_ddpm.json").read_text())["images"]) == 23
    lines_of(1, "others")
    assert drawn[23:] == [0]


def test_measures_are_those_of_the_images(bench):
    images = torch.rand(3, 3, ways.SIDE, ways.SIDE) - 0.5
    problem = ways.Problem(None, "inpaint", images, [EMBED] * 3, [0, 1, 2])
    found = torch.where(problem.mask > 0, problem.y, images + 0.1)
    lines = bench.measures(problem, found, found[:1] + 0.2, torch.arange(3), Sees())
    assert [round(line["off"], 3) for line in lines] == [0, 0, 0]
    wrong = 0.01 * float((problem.mask == 0).float().mean())
    assert lines[0]["psnr"] == pytest.approx(10 * math.log10(4 / wrong), abs=0.02)
    assert lines[0]["between"] == pytest.approx(0.2 * 127.5, rel=1e-3)
    assert "between" not in lines[1]
    count, off, *_, between = bench.summary(lines)
    assert (count, off, between) == (3, "0.00", "25.5")


@pytest.mark.parametrize(
    "way", [way for way in ways.WAYS if "mmps" not in way and "25 steps" not in way]
)
def test_ways_take_up_to_40_passes_and_most_of_them(way):
    """A pass whose gradient is wanted has one backwards, too; mmps has more of these."""
    passes = []

    def net(x, t, embed=None):
        passes.append(x.requires_grad)
        return x * t[:, None, None, None]

    tasks, restore = ways.WAYS[way]
    images = torch.rand(1, 3, ways.SIDE, ways.SIDE)
    problem = ways.Problem(None, tasks[0], images, [EMBED], [0])
    problem.model = problem.source = net
    restore(problem)
    least = 4 if way == "from its level, ddpm" else 36  # the usual steps are those of all the way
    assert least <= len(passes) + sum(passes) <= 40


def test_a_smooth_fill_is_a_membrane(monkeypatch):
    """Between edges that a plane passes through it is that plane."""
    plane = torch.linspace(-0.8, 0.8, ways.SIDE).expand(1, 3, ways.SIDE, -1).clone()
    known = torch.ones(1, ways.SIDE, ways.SIDE)
    known[:, 20:40, 24:44] = 0
    monkeypatch.setitem(ways.TASKS, "inpaint", ("inpaint", (known,), 0.0, ways.SIDE))
    problem = ways.Problem(None, "inpaint", plane, [EMBED], [0])
    assert (ways.smoothly_filled(problem) - plane).abs().max() < 0.01


def test_opencv_fills_an_even_hole_about_evenly():
    pytest.importorskip("cv2")
    for name in ways.HOLES:
        images = torch.full((2, 3, ways.TASKS[name][-1], ways.TASKS[name][-1]), 0.2)
        problem = ways.Problem(None, name, images, [EMBED] * 2, [0, 1])
        for way in ("opencv.inpaint, Telea", "opencv.inpaint, Navier-Stokes"):
            tasks, restore = ways.WITHOUT[way]
            assert name in tasks
            off = (restore(problem) - images).abs() * 127.5
            assert off.max() < 16  # Telea drifts by some levels
            assert (off * problem.mask).max() < 1e-3
