"""What bench/guidance.py makes of its measurements."""

import importlib

import numpy as np
import pytest
import torch


@pytest.fixture
def bench():
    return importlib.import_module("bench.guidance")


def test_drawings_are_compared_where_they_are_equally_similar(bench):
    weights = [1.0, 3.0, 7.0]
    curve = {"similarity": np.array([0.6, 0.8, 0.4]), "colours": np.array([10.0, 20.0, 60.0])}
    rising = bench.at_similarity(weights, curve, 0.7)  # at 2 and at 4: the colours say which
    assert rising == pytest.approx({"weight": 2, "similarity": 0.7, "colours": 15})
    falling = bench.at_similarity(weights, curve, 0.5)
    assert falling == pytest.approx({"weight": 6, "similarity": 0.5, "colours": 50})
    assert bench.at_similarity(weights, curve, 0.9) is None


def test_rule_that_is_the_plain_sum_at_half_the_weight_is_found_to_be_no_better(bench):
    rng = np.random.default_rng(0)
    weights, own = [1.0, 2.0, 4.0, 8.0], rng.normal(0, 0.1, (6, 1))

    def cell(weight):
        return {
            "similarity": (0.1 * weight + own + np.zeros((6, 2))).tolist(),
            "limit": (0.01 * weight + own + np.zeros((6, 2))).tolist(),
        }

    cells = {("plain", w): cell(w) for w in weights} | {("half", w): cell(w / 2) for w in weights}
    result = bench.compare(cells, weights, ["similarity", "limit"], 4.0, 6)
    assert result["half"]["weight"] == pytest.approx([8, 8, 8])
    assert result["half"]["limit_more"] == pytest.approx([0, 0, 0])
    value, low, high = result["plain"]["limit"]
    assert value == pytest.approx(0.04 + own.mean())
    assert low < value < high


def test_colours_are_compared_wherever_they_are(bench):
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    renders = bench.in_order(torch.stack([torch.zeros_like(image), image]))
    assert bench.colours(image.flip(2).roll(3, 1), renders) == 0
    assert bench.colours(image + 0.1, renders) == pytest.approx(12.75, rel=1e-4)
