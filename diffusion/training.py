"""The training of a v model: its timesteps, its conditions and its loss."""

import math

import torch
from torch.nn import functional as F

from diffusion.objective import alpha_sigma, rotate, to_x_v


def stratified_timesteps(n, generator=None):
    """n timesteps uniform in [0, 1), one in each n-th of it, in random order.

    Every batch then sees every noise level, which makes its loss less noisy than independent draws.

    Returns:
        float32 tensor [n] on the CPU.
    """
    u = torch.rand(n, generator=generator)
    return (torch.randperm(n, generator=generator) + u) / n


def drop_conditions(embeds, rate, generator=None):
    """Replaces embeddings by the zero embedding at random, so that a model learns both.

    Classifier-free guidance (Ho and Salimans, 2022, arXiv 2207.12598).

    Args:
        embeds: [N, D].
        rate: the share of embeddings to replace.
    """
    keep = torch.rand(len(embeds), generator=generator) >= rate
    return embeds * keep.to(embeds)[:, None]


def v_loss(model, images, t, eps, octaves=0, octave_weight=1.0):
    """The loss a v model is trained on: the mean squared error of v.

    With octaves it is the weighted mean of several such errors, of averages over squares of 1, 2,
    4, ... pixels, each times the side of its squares (after Hoogeboom et al., 2023, arXiv
    2301.11093, section 3.2) and alpha, since what is coarse is unknown where little of the image is
    left. The best model, the conditional mean of v, stays the same; but slow tints, of which the
    error of single pixels tells little, count for more.

    Args:
        model: callable (x, t) -> v.
        images: clean images [N, C, H, W] in [-1, 1].
        t: timesteps [N].
        eps: standard normal noise [N, C, H, W].
        octaves: the largest squares have 2**octaves pixels a side, at most the image's; 0: the
            plain error.
        octave_weight: of each of these averages beside the plain error, whose weight is 1.
    Returns:
        The losses of the images [N].
    """
    x, v = to_x_v(images, eps, t)
    error = model(x, t) - v
    losses = error.square().mean(dim=(1, 2, 3))
    alpha, _ = alpha_sigma(t)
    for octave in range(1, octaves + 1):
        error = F.avg_pool2d(error, 2)
        losses = losses + octave_weight * alpha * 2**octave * error.square().mean(dim=(1, 2, 3))
    return losses / (1 + octave_weight * octaves)


def grid_timesteps(n, steps, generator=None):
    """n of the timesteps 1/steps, 2/steps, ..., 1 at which a run of so many linear steps asks.

    They are stratified as those of `stratified_timesteps`.

    Returns:
        float32 tensor [n] on the CPU.
    """
    # A float32 just below 1 may round to it.
    before = (stratified_timesteps(n, generator) * steps).floor().clamp_max(steps - 1)
    return (before + 1) / steps


def one_step_to(x, end, length):
    """The v with which one DDIM step goes from x to `end`.

    A step is a rotation of (x, v) by an angle, so that v comes without any division by a small
    noise or image.

    Args:
        x, end: noised images [N, C, H, W].
        length: how far `end` is towards the image, in t.
    Returns:
        v [N, C, H, W].
    """
    angle = length * math.pi / 2
    return (math.cos(angle) * x - end) / math.sin(angle)


def two_steps_in_one(model, x, t, length):
    """The v with which one DDIM step goes where two steps of half its length go.

    What a student of progressive distillation learns (Salimans and Ho, 2022, arXiv 2202.00512,
    algorithm 2).

    Args:
        model: the teacher, callable (x [N, C, H, W], t [N]) -> v [N, C, H, W].
        x: noised images [N, C, H, W].
        t: their timesteps [N].
        length: of the one step in t, towards the image; at most the least t.
    Returns:
        v [N, C, H, W].
    """
    half = length / 2 * (math.pi / 2)
    middle = rotate(x, model(x, t), -half)
    return one_step_to(x, rotate(middle, model(middle, t - length / 2), -half), length)
