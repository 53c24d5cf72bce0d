"""The one sampling loop, and noise that depends on the seed of an image, not on its batch."""

import itertools
from typing import NamedTuple

import torch

from diffusion.errors import NonFiniteError
from diffusion.methods import DEFAULT, METHODS, resolve_eta
from diffusion.objective import alpha_sigma
from diffusion.solvers import Evaluation

MAX_SEED = 2**64 - 1

# Evaluations at timesteps this near to each other, as a share of the distance of the next one, tell
# nothing of the curvature of the flow: the differences between them are errors of rounding.
NEAR = 1e-3


class Progress(NamedTuple):
    """What a callback sees before step i: all of it belongs to timestep t.

    Args:
        i: the number of the step, from 0.
        t: the timestep, a float.
        x: the noised images at t [N, C, H, W].
        v, pred: what the model says of x.
    """

    i: int
    t: float
    x: torch.Tensor
    v: torch.Tensor
    pred: torch.Tensor


def generators(seeds):
    """One random generator per image, on the CPU so that every device draws the same.

    Args:
        seeds: integers in [0, 2**64).
    Raises:
        ValueError: for a seed out of range.
    """
    return [_generator(seed) for seed in seeds]


def _generator(seed):
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"a seed is a whole number from 0 to 2**64 - 1, not {seed}")
    # The generator uses 32 bits of its seed: larger seeds are folded, so that 2**32 is not 0 again.
    low, high = seed & 0xFFFFFFFF, seed >> 32
    return torch.Generator().manual_seed(low ^ (high * 0x9E3779B1 & 0xFFFFFFFF))


def noise(seeds, shape):
    """Standard normal noise, one image per seed.

    Args:
        seeds: N integers in [0, 2**64), or N generators, which continue from their state; image i
            depends on seeds[i] alone.
        shape: (channels, height, width) of one image, in pixels.
    Returns:
        float32 tensor [N, channels, height, width] on the CPU.
    Raises:
        ValueError: for a seed out of range or an empty shape.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"an image has a shape (channels, height, width), not {tuple(shape)}")
    if isinstance(seeds, int):
        raise ValueError(f"seeds are a list, one for each image: [{seeds}]")
    sources = [s if isinstance(s, torch.Generator) else _generator(s) for s in seeds]
    images = [torch.randn(tuple(shape), generator=source) for source in sources]
    return torch.stack(images) if images else torch.empty(0, *shape)


def add_noise(images, eps, t):
    """Images with noise: where a run from timestep t starts.

    Args:
        images: clean images [N, C, H, W] or [C, H, W].
        eps: noise [N, C, H, W].
        t: a timestep, a float.
    """
    alpha, sigma = alpha_sigma(t)
    return alpha * images + sigma * eps


def clamp_t(model, min_t, max_t):
    """A model whose timesteps are clamped to the range that it was trained on."""
    if min_t <= 0 and max_t >= 1:
        return model
    return lambda x, t: model(x, t.clamp(min_t, max_t))


def sample(
    model,
    x,
    timesteps,
    method=DEFAULT,
    eta=None,
    noise=None,
    callback=None,
    before=None,
    tolerance=None,
):
    """Takes x along the flow from the first timestep to the last.

    Descending timesteps draw images out of noise; ascending ones find the noise of images.

    A reversible method is undone from the last two states of a run: the last, handed in as
    `before`, and the one that the last callback saw, as x. The run back visits the timesteps of
    the first run in reverse, but for its last, and returns the x that run started from. Keep x in
    float64 for that, around a network in float32 if need be:
    `lambda x, t: net(x.float(), t.float()).double()`.

    Args:
        model: callable (x [N, C, H, W], t [N]) -> v [N, C, H, W].
        x: noised images [N, C, H, W] at timesteps[0].
        timesteps: strictly monotonic floats in [0, 1], a tensor or a list. Multistep methods leave
            out those that are much nearer to one neighbour than to the other (see NEAR): they
            divide by the distance.
        method: one of METHODS; the default is that of `cfg_sample.py`.
        eta: the share of fresh noise in each step, for methods that add any: 0 is deterministic,
            1 is DDPM; None: the method's default.
        noise: a function of no arguments that draws fresh noise [N, C, H, W], called once a step
            in order; needed where eta is not 0.
        callback: called with a `Progress` before each step is taken.
        before: (t, x [N, C, H, W]), the state that a reversible method comes from: a timestep
            on the other side of timesteps[0] than where the run goes. None: a run starts here.
        tolerance: the RMS error a step may make, for `adaptive`; None: its default.
    Returns:
        x at timesteps[-1], [N, C, H, W].
    Raises:
        ValueError: for arguments out of their range.
        NonFiniteError: if the model returns NaN or infinity, with the step and the timestep.
    """
    if isinstance(timesteps, int | float):
        raise ValueError(f"timesteps are a list or a tensor: schedule(name, {timesteps}) makes one")
    if x.dim() != 4:
        raise ValueError(f"images are [N, C, H, W], not {list(x.shape)}")
    ts = [float(t) for t in timesteps]
    row, eta = _check(method, eta, ts)
    if row.looks_back and not row.reversible:  # one that is reversible visits the same both ways
        ts = _apart(ts)
    options = {}
    if eta:
        if noise is None:
            raise ValueError(f"{method} with eta {eta:g} adds noise: pass a function that draws it")
        options = {"eta": eta, "noise": lambda: noise().to(x)}
    if tolerance is not None:
        if row.evaluations is not None:
            raise ValueError(f"{method} takes the timesteps it is given: leave out the tolerance")
        if not tolerance > 0:
            raise ValueError(f"a tolerance is above 0, not {tolerance}")
        options["tolerance"] = tolerance

    past = [] if before is None else [_comes_from(before, x, ts, method)]
    for i, (t, s) in enumerate(itertools.pairwise(ts)):

        def checked(x, t, i=i):
            v = model(x, t)
            if not torch.isfinite(v).all():
                raise NonFiniteError(
                    f"the model returned NaN or infinity in step {i + 1} of {len(ts) - 1}, "
                    f"at timestep {float(t[0]):.6g}"
                )
            return v

        x, now = row.step(checked, x, t, s, past, **options)
        if callback is not None:
            callback(Progress(i, t, now.x, now.v, now.pred))
        past = [*past, now][-row.looks_back :] if row.looks_back else []
    return x


def _apart(ts):
    """Timesteps without the inner ones that are within NEAR of a neighbour."""
    kept = ts[:1]
    for t, after in itertools.pairwise(ts[1:]):
        gaps = abs(t - kept[-1]), abs(after - t)
        if min(gaps) >= NEAR * max(gaps):
            kept.append(t)
    return kept + ts[1:][-1:]


def _comes_from(before, x, ts, method):
    """The past of a run that continues from `before`, which is checked to fit the run."""
    if not METHODS[method].reversible:
        can = ", ".join(name for name, row in METHODS.items() if row.reversible)
        raise ValueError(f"{method} does not run from two states: choose from {can}")
    t, state = float(before[0]), before[1]
    if state.shape != x.shape:
        raise ValueError(f"the two states differ in shape: {tuple(state.shape)}, {tuple(x.shape)}")
    onwards = ts[0] - t
    if not 0 <= t <= 1 or not onwards or (len(ts) > 1 and onwards * (ts[1] - ts[0]) < 0):
        raise ValueError(f"the state before is at {t:g}, which does not lead on to these timesteps")
    return Evaluation(t, state.to(x), None, None, None)


def _check(method, eta, ts):
    """The row of the method and the eta to use; checks that all arguments are in range."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose from {', '.join(METHODS)}")
    eta = resolve_eta(method, eta)
    steps = [b - a for a, b in itertools.pairwise(ts)]
    if not ts or not all(0 <= t <= 1 for t in ts):
        raise ValueError("timesteps are numbers from 0 to 1, at least one of them")
    up, down = all(d > 0 for d in steps), all(d < 0 for d in steps)
    if not (up or down):
        raise ValueError("timesteps must descend (to draw images) or ascend (to find noise)")
    if eta and up and steps:
        raise ValueError(f"{method} with eta {eta:g} adds noise: it cannot run in reverse")
    return METHODS[method], eta
