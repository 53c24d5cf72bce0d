"""Tests of whether a latent is Gaussian noise, as one found by reverse sampling should be."""

import math
from typing import NamedTuple

import torch

# How many standard deviations from its mean a statistic may be. A normal distribution is beyond 4
# in one of 16,000 draws: with five statistics this leaves room for tails that are not quite normal.
TOO_FAR = 4.0


class Statistic(NamedTuple):
    """A statistic of one latent beside what Gaussian noise of its size has.

    Args:
        value: of the latent.
        expected, spread: the mean and the standard deviation of the statistic over such noise.
    """

    name: str
    value: float
    expected: float
    spread: float

    @property
    def z(self):
        """The distance of the value from the expected one, in spreads."""
        return (self.value - self.expected) / self.spread


class Report(NamedTuple):
    """The statistics of one latent."""

    statistics: tuple[Statistic, ...]

    @property
    def is_noise(self):
        return all(abs(s.z) <= TOO_FAR for s in self.statistics)

    @property
    def verdict(self):
        """One line: "noise", or the statistic that is furthest from it."""
        if self.is_noise:
            return "noise"
        worst = max(self.statistics, key=lambda s: abs(s.z))
        return (
            f"not noise: {worst.name} {worst.value:.3g}, "
            f"noise has {worst.expected:.3g} +- {worst.spread:.2g}"
        )

    def as_dict(self):
        """For JSON."""
        statistics = {s.name: {**s._asdict(), "z": s.z} for s in self.statistics}
        for statistic in statistics.values():
            del statistic["name"]
        return {"is_noise": self.is_noise, "verdict": self.verdict, "statistics": statistics}


def noise_report(latent):
    """How a latent compares with standard normal noise of its size.

    The means and spreads are those of independent standard normal pixels: exact for the mean, the
    kurtosis and the logarithm of the flatness, to first order for the others.

    Args:
        latent: [C, H, W], at least 8 x 8 pixels.
    Raises:
        ValueError: for another shape, or values that are not finite.
    """
    if latent.ndim != 3 or min(latent.shape[1:]) < 8:
        raise ValueError(f"a latent is [C, H, W] of 8 x 8 pixels or more, not {[*latent.shape]}")
    x = latent.detach().double().cpu()
    if not torch.isfinite(x).all():
        raise ValueError("the latent holds values that are not finite")
    n, mean, std = x.numel(), float(x.mean()), float(x.std())
    # A latent of one value cannot be scaled: ones are as far from noise as can be.
    unit = (x - mean) / std if std > 1e-12 else torch.ones_like(x)
    kurtosis = float(unit.pow(4).mean() / unit.square().mean() ** 2 - 3)
    spread = math.sqrt(24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5)))
    pairs = [unit[:, :, 1:] * unit[:, :, :-1], unit[:, 1:] * unit[:, :-1]]
    count = sum(p.numel() for p in pairs)
    correlation = float(sum(p.sum() for p in pairs)) / count
    return Report(
        (
            Statistic("mean", mean, 0.0, 1 / math.sqrt(n)),
            Statistic("standard deviation", std, 1 - 1 / (4 * n), 1 / math.sqrt(2 * n)),
            Statistic("excess kurtosis", kurtosis, -6 / (n + 1), spread),
            Statistic("correlation of neighbours", correlation, -1 / n, 1 / math.sqrt(count)),
            spectral_flatness(unit),
        )
    )


def spectral_flatness(x):
    """The geometric over the arithmetic mean of the power spectrum of x [C, H, W]: 1 if flat.

    Bins of white noise are exponentially distributed, so their shares of the whole power are
    uniform on the simplex, and the mean of the shares' logarithms is known exactly.
    """
    power = torch.fft.fft2(x).abs().square()
    bins = power[:, _half_plane(*x.shape[1:])].flatten().clamp_min(1e-30)
    m = torch.tensor(float(len(bins)), dtype=torch.float64)
    log_flatness = float(bins.log().mean() - bins.mean().log())
    expected = float(torch.digamma(torch.ones_like(m)) - torch.digamma(m) + m.log())
    variance = float((math.pi**2 / 6 / m) - torch.polygamma(1, m))
    flatness = math.exp(expected)
    return Statistic(
        "spectral flatness", math.exp(log_flatness), flatness, flatness * math.sqrt(variance)
    )


def _half_plane(height, width):
    """A mask [H, W]: one of each pair of conjugate bins, none of those that are real."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    here, there = y * width + x, (-y % height) * width + (-x % width)
    return here < there


def normalise(latents):
    """Latents at a standard deviation of 1, each about its own mean.

    Args:
        latents: [N, C, H, W].
    Raises:
        ValueError: for a latent that is the same everywhere.
    """
    mean, std = (f(dim=(1, 2, 3), keepdim=True) for f in (latents.mean, latents.std))
    if (std < 1e-12).any():
        raise ValueError("a latent that is the same everywhere cannot be normalised")
    return mean + (latents - mean) / std


def mix_noise(latents, fresh, amount):
    """Latents with a share of fresh noise, at the same variance.

    Args:
        latents: [N, C, H, W] of variance 1.
        fresh: standard normal noise of the same shape.
        amount: from 0 (none) to 1 (nothing else).
    Raises:
        ValueError: for an amount outside of that.
    """
    if not 0 <= amount <= 1:
        raise ValueError(f"the amount of fresh noise lies between 0 and 1, not {amount:g}")
    return math.sqrt(1 - amount**2) * latents + amount * fresh
