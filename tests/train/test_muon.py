"""Muon, beside singular value decompositions and the optimiser of torch."""

import pytest
import torch

from train.muon import COEFFICIENTS, Muon, orthogonalised

SHAPES = [(24, 216), (40, 8), (16, 16)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_only_the_singular_values_change_and_by_the_polynomial(shape, iterations):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    a, b, c = COEFFICIENTS

    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    for _ in range(iterations):
        values = a * values + b * values**3 + c * values**5

    found = orthogonalised(matrix, iterations)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), left @ values.diag() @ right, atol=3e-5, rtol=1e-4)


def test_directions_that_are_not_there_stay_away():
    row = torch.randn(1, 30, generator=torch.Generator().manual_seed(1))
    thin = torch.ones(6, 1) @ row  # of rank 1
    found = orthogonalised(thin, 5)
    assert torch.linalg.matrix_rank(found, rtol=1e-4) == 1
    assert not orthogonalised(torch.zeros(4, 9), 5).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_those_of_torch_but_for_its_bfloat16(shape):
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(shape, generator=generator)
    ours, theirs = start.clone(), start.clone()
    own = Muon([ours], 0.01, weight_decay=0.1)
    other = torch.optim.Muon(
        [theirs], 0.01, weight_decay=0.1, ns_steps=3, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(4):
        gradient = torch.randn(shape, generator=generator)
        ours.grad, theirs.grad = gradient, gradient.clone()
        own.step()
        other.step()
    moved = (theirs - start).norm()
    assert moved > 0.1
    assert (ours - theirs).norm() < 0.01 * moved


def test_a_restored_optimiser_goes_on_to_the_bit():
    generator = torch.Generator().manual_seed(3)
    gradients = torch.randn(4, 6, 10, generator=generator)

    def steps(weight, optimiser, gradients):
        for gradient in gradients:
            weight.grad = gradient
            optimiser.step()

    whole = torch.ones(6, 10)
    steps(whole, Muon([whole], 0.01), gradients)

    begun = torch.ones(6, 10)
    first = Muon([begun], 0.01)
    steps(begun, first, gradients[:2])
    rest = begun.clone()
    second = Muon([rest], 0.5)
    second.load_state_dict(first.state_dict())
    steps(rest, second, gradients[2:])
    assert torch.equal(rest, whole)
