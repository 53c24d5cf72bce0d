"""The v objective: noise levels, and what an image and its velocity at t say of image and noise.

With t in [0, 1] a noised image is `x = alpha x0 + sigma eps`: t = 0 is the image, t = 1 is the
noise. Progressive Distillation (Salimans and Ho, 2022, arXiv 2202.00512). On the circle theta =
pi t / 2, `x = alpha pred + sigma eps` and `v = dx / dtheta = alpha eps - sigma pred`: (x, v) is
(pred, eps) rotated by theta, so every conversion is a rotation, finite at both ends.

Uses the methods of tensors alone, so that the tables built on it can be read without torch.
"""

import math


def alpha_sigma(t):
    """The scales of the image and of the noise at t.

    Args:
        t: timesteps, a tensor of any shape or a float.
    Returns:
        (alpha, sigma) = (cos(pi t / 2), sin(pi t / 2)), tensors if t is one, else floats.
    """
    theta = t * (math.pi / 2)
    if isinstance(theta, float):
        return math.cos(theta), math.sin(theta)
    return theta.cos(), theta.sin()


def log_snr(t):
    """log(alpha^2 / sigma^2) at t; plus infinity at t = 0.

    Args:
        t: tensor of timesteps.
    """
    alpha, sigma = alpha_sigma(t)
    return 2 * (alpha.log() - sigma.log())


def log_snr_to_t(log_snr):
    """The timestep at which an image has a given log SNR, the inverse of `log_snr`."""
    return (-log_snr / 2).exp().atan() * (2 / math.pi)


def noise_to_t(deviation):
    """The timestep whose images, scaled by 1 / alpha, have noise of this standard deviation."""
    return math.atan(deviation) * (2 / math.pi)


def half_log_snr(t):
    """log(alpha / sigma) at t, a float; plus infinity at t = 0."""
    alpha, sigma = alpha_sigma(t)
    return math.log(alpha / sigma) if sigma else math.inf


def like(t, x):
    """A timestep, or one per image, in a shape that multiplies images x [N, C, H, W]."""
    return t if isinstance(t, float) or t.ndim == 0 else t.to(x)[:, None, None, None]


def rotate(x, v, angle):
    """A DDIM step: x after an angle of the flow along which image and noise stay what they are.

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
