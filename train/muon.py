"""Muon in float32: an optimiser for matrices that is fast on CPUs without bfloat16, too."""

import math

import torch

# Of the odd polynomial a s + b s^3 + c s^5 that lifts singular values to about 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LEAST = 1e-7  # norms below it are taken as this


def orthogonalised(matrix, iterations):
    """A matrix of the same singular vectors, whose singular values are about equal.

    The Newton-Schulz iteration of Muon. Every iterate is P X, where P is a polynomial of X X^T, and
    so only P and the small square matrix P X X^T P are iterated: for the kernels of a convolution
    of 3 x 3, which have nine times as many columns as rows, half of the operations.

    Args:
        matrix: [M, N], float32.
        iterations: how often the polynomial is applied; each multiplies small singular values by
            3.4, up to about 1.
    Returns:
        [M, N], float32; singular values that were 0 stay 0.
    """
    a, b, c = COEFFICIENTS
    x = matrix / matrix.norm().clamp_min(LEAST)
    tall = len(x) > len(x.T)
    x = x.T if tall else x
    gram, product = x @ x.T, None
    for i in range(iterations):
        step = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        step.diagonal().add_(a)
        product = step if product is None else step @ product
        if i + 1 < iterations:
            gram = step @ gram @ step
    x = product @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose updates have about equal singular values.

    Jordan et al., 2024, kellerjordan.github.io/posts/muon, with updates that are about as large as
    those of AdamW (Liu et al., 2025, arXiv 2502.16982): one learning rate does for both.
    `torch.optim.Muon` computes in bfloat16, which CPUs without it imitate: there it took most of
    the time of a step (train/README.md has the figures).

    Args:
        params: matrices [M, N] of float32.
        lr: the learning rate.
        momentum: how much of the average gradient a step keeps; Nesterov's.
        weight_decay: what a step takes off the weights, times the learning rate.
        iterations: of `orthogonalised`.
    """

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.01, iterations=3):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.iterations = iterations

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                average = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
                update = orthogonalised(p.grad.lerp(average, momentum), self.iterations)
                p.mul_(1 - lr * group["weight_decay"])
                p.add_(update, alpha=-lr * 0.2 * math.sqrt(max(p.shape)))
