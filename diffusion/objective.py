"""The v objective: an image and its velocity at t, what they say of image and noise, and training.

Progressive Distillation (Salimans and Ho, 2022, arXiv 2202.00512). On the circle theta = pi t / 2,
`x = alpha pred + sigma eps` and `v = dx / dtheta = alpha eps - sigma pred`: (x, v) is (pred, eps)
turned by theta, so every conversion is a rotation, without a division, finite at both ends.
"""

import math

from diffusion.schedules import alpha_sigma


def like(t, x):
    """A timestep, or one per image, ready to multiply images."""
    return t if isinstance(t, float) or t.ndim == 0 else t.to(x)[:, None, None, None]


def rotate(x, v, angle):
    """Where the flow takes x if image and noise stay what (x, v) say: a DDIM step.

    Args:
        x, v: noised images and their velocities [N, C, H, W].
        angle: theta' - theta in radians, a float; negative towards the image.
    """
    return math.cos(angle) * x + math.sin(angle) * v


def to_pred_eps(x, v, t):
    """The image and the noise that (x, v) at t stand for.

    Args:
        x, v: noised images and their velocities [N, C, H, W].
        t: a timestep, or one per image [N].
    Returns:
        (pred, eps), both [N, C, H, W].
    """
    alpha, sigma = alpha_sigma(like(t, x))
    return alpha * x - sigma * v, sigma * x + alpha * v


def to_x_v(pred, eps, t):
    """The noised image and its velocity at t, the inverse of `to_pred_eps`.

    Args:
        pred, eps: images and noise [N, C, H, W].
        t: a timestep, or one per image [N].
    Returns:
        (x, v), both [N, C, H, W].
    """
    alpha, sigma = alpha_sigma(like(t, pred))
    return alpha * pred + sigma * eps, alpha * eps - sigma * pred


def stratified_timesteps(n, generator=None):
    """n timesteps uniform in [0, 1), one in each n-th of it, in random order.

    Every batch then sees every noise level, which makes its loss less noisy than n free draws.

    Returns:
        float32 tensor [n] on the CPU.
    """
    import torch

    u = torch.rand(n, generator=generator)
    return (torch.randperm(n, generator=generator) + u) / n


def drop_conditions(embeds, rate, generator=None):
    """Replaces embeddings by the zero embedding at random, so that a model learns both.

    Classifier-free guidance (Ho and Salimans, 2022, arXiv 2207.12598).

    Args:
        embeds: [N, D].
        rate: the share of embeddings to replace.
    """
    import torch

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
