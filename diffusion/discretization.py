"""Which timesteps a run visits."""

import torch

from diffusion.schedules import SCHEDULES


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
