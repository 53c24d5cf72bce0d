"""Schedules: the timestep t that a run has reached when a share 1 - u of its steps is taken.

A schedule is a function of a tensor u in (0, 1]; u = 1 is the start of a run from noise. Uses the
methods of tensors alone, so that the table can be read without torch.
"""

import math

from diffusion.objective import log_snr_to_t

# Where the spliced schedule leaves the DDPM schedule for the cosine one: value and slope agree.
DDPM_CROSSOVER = 0.48536712
COSINE_CROSSOVER = 0.80074257

# Of the schedules that cannot reach plain noise: from nearly all noise to nearly none.
LOG_SNR_RANGE = (-10.0, 10.0)
KARRAS_RHO = 7
# Amplitudes of the sines that `fitted` adds to u, as slopes at u = 0; found by a search.
SLOPES = (0.095, -0.215, -0.13, 0.07)


def linear(u):
    """Uniform in t: the cosine schedule (Nichol and Dhariwal, 2021, arXiv 2102.09672)."""
    return u


def ddpm(u):
    """The linear-beta schedule (Ho et al., 2020, arXiv 2006.11239) in continuous time."""
    return log_snr_to_t(-(1e-4 + 10 * u**2).expm1().log())


def spliced(u):
    """DDPM's schedule where there is much noise, the cosine schedule where there is little."""
    big = u * (1 + COSINE_CROSSOVER - DDPM_CROSSOVER)
    return ddpm(big + DDPM_CROSSOVER - COSINE_CROSSOVER).where(big >= COSINE_CROSSOVER, big)


def log(u):
    """Uniform in log SNR."""
    low, high = LOG_SNR_RANGE
    return log_snr_to_t(high + u * (low - high))


def karras(u):
    """Uniform in the 7th root of sigma / alpha (Karras et al., 2022, arXiv 2206.00364)."""
    least, most = (math.exp(-log_snr / 2) ** (1 / KARRAS_RHO) for log_snr in LOG_SNR_RANGE[::-1])
    return ((least + u * (most - least)) ** KARRAS_RHO).atan() * (2 / math.pi)


def logit(u):
    """`logit(t) = 2 logit(u)`: steps that grow with the distance to either end."""
    return u**2 / (u**2 + (1 - u) ** 2)


def fitted(u, slopes=SLOPES):
    """`logit`, its steps moved to where they lower the error of `ab23` most.

    bench/fit_schedule.py found where, with the bundled model at weight 3 in 18 steps.
    """
    waves = [k * math.pi for k in range(1, len(slopes) + 1)]
    sines = ((u * k).sin() * (slope / k) for k, slope in zip(waves, slopes, strict=True))
    return logit(u + sum(sines))


SCHEDULES = {
    "linear": linear,
    "ddpm": ddpm,
    "spliced": spliced,
    "log": log,
    "karras": karras,
    "logit": logit,
    "fitted": fitted,
}
