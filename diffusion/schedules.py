"""Timesteps: how much signal and noise an image has at t, and which timesteps a run visits.

With t in [0, 1] a noised image is `alpha x0 + sigma eps`: t = 0 is the image, t = 1 is the noise.
"""

import math

# Tensors bring their own functions, so this table of schedules can be read without importing torch.

# Where the spliced schedule leaves the DDPM schedule for the cosine one: value and slope agree.
DDPM_CROSSOVER = 0.48536712
COSINE_CROSSOVER = 0.80074257

# Of the schedules that cannot reach plain noise: from nearly all noise to nearly none.
LOG_SNR_RANGE = (-10.0, 10.0)
KARRAS_RHO = 7
# Of the sines that `fitted` adds to u, where they are steepest; searched for.
SLOPES = (0.095, -0.215, -0.13, 0.07)


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


def schedule(name, steps, start=None):
    """The timesteps of a run.

    Args:
        name: one of SCHEDULES.
        steps: how many steps a run from noise takes.
        start: leave out the timesteps that are not below this one, as for a run that starts from
            an image with noise added. If none but 0 is below it, the run is one step from `start`.
    Returns:
        float64 tensor of descending timesteps on the CPU, `steps + 1` of them without `start`;
        the last one is 0.
    Raises:
        ValueError: for an unknown name, steps < 1 or a start outside (0, 1].
    """
    import torch

    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}: choose from {', '.join(SCHEDULES)}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1]
    timesteps = SCHEDULES[name](u)
    if start is not None:
        if not 0 < start <= 1:
            raise ValueError(f"a run starts at a timestep above 0 and up to 1, not {start}")
        timesteps = timesteps[timesteps < start]
        if not len(timesteps):
            timesteps = torch.tensor([start], dtype=torch.float64)
    return torch.cat([timesteps, torch.zeros(1, dtype=torch.float64)])


def ascending(name, steps, end=1.0, min_t=0.0, max_t=1.0):
    """The timesteps of a run from images to their noise; reversed, those of the way back.

    Args:
        name, steps: as for `schedule`.
        end: the timestep to go up to.
        min_t, max_t: the range that the model knows: where images and noise are for it.
    Returns:
        a list of ascending floats, the first one min_t, the last one end or max_t.
    """
    below = schedule(name, steps, start=end).tolist()
    way = [end, *(t for t in below if t < end)]
    return sorted({min_t, *(min(t, max_t) for t in way if t > min_t)})
