"""The training of a v model: its timesteps, its conditions and its loss."""

import torch

from diffusion.objective import to_x_v


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


def v_loss(model, images, t, eps):
    """The loss a v model is trained on: the mean squared error of v.

    Args:
        model: callable (x, t) -> v.
        images: clean images [N, C, H, W] in [-1, 1].
        t: timesteps [N].
        eps: standard normal noise [N, C, H, W].
    Returns:
        The losses of the images [N].
    """
    x, v = to_x_v(images, eps, t)
    return (model(x, t) - v).square().mean(dim=(1, 2, 3))
