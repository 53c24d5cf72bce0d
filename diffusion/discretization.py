"""Which timesteps a run visits."""

import torch

from diffusion.schedules import SCHEDULES

# A timestep of the schedule this near to the end of a run, as a share of the schedule's own step
# there, is left out. With 1/3 the first step is a third to 4/3 of the schedule's, and no choice of
# steps and of a start of two decimals is on the border, where rounding would decide.
NEAR = 1 / 3


def schedule(name, steps):
    """The timesteps of a run from noise.

    Args:
        name: one of SCHEDULES.
        steps: how many steps the run takes.
    Returns:
        float64 tensor [steps + 1] of descending timesteps on the CPU. The first one is 1 or what
        the schedule takes for it (0.9957 or more), the last one is 0.
    Raises:
        ValueError: for an unknown name or steps < 1.
    """
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}: choose from {', '.join(SCHEDULES)}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return torch.cat([SCHEDULES[name](u[:-1]), u[-1:]])


def timesteps(name, steps, start=1.0, min_t=0.0, max_t=1.0):
    """The timesteps of a run that starts between noise and image: at `start` itself.

    After it come the timesteps of the schedule below it, but for one that is too near to it (see
    NEAR) and those outside of the model's range. Of a model of the whole range, from the start of
    the schedule or above it, these are `steps` steps; else those that are left, at least one.

    Args:
        name, steps: as for `schedule`.
        start: the timestep of the x that the run starts from, such as the strength of an edit.
        min_t, max_t: the range that the model knows, as the ends of the run.
    Returns:
        a list of descending floats, the first one `start` or max_t, the last one min_t. It holds
        min_t alone if start is not above that.
    Raises:
        ValueError: as `schedule`, and for a start outside (0, 1].
    """
    if not 0 < start <= 1:
        raise ValueError(f"a run starts at a timestep above 0 and up to 1, not {start}")
    grid, start = schedule(name, steps).tolist(), min(start, max_t)
    if start <= min_t:
        return [min_t]
    grid[0] = max(grid[0], start)
    inside = [t for t in grid if min_t < t < start]
    above, below = min(t for t in grid if t >= start), max(t for t in grid if t <= min_t)
    if inside and start - inside[0] < NEAR * (above - inside[0]):
        del inside[0]
    if inside and inside[-1] - min_t < NEAR * (inside[-1] - below):
        del inside[-1]
    return [start, *inside, min_t]


def ascending(name, steps, end=1.0, min_t=0.0, max_t=1.0):
    """The timesteps of a run from images to their latents at `end`: `timesteps` in reverse."""
    return timesteps(name, steps, end, min_t, max_t)[::-1]
