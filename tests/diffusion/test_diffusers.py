"""Our solvers against the same ones of another library."""

import functools
import math

import pytest
import torch

import diffusion
from diffusion import METHODS
from diffusion.adams_bashforth import deis_step
from diffusion.dpm_solver import unipc_step
from tests.diffusion.mixture import REFERENCE, mixture

diffusers = pytest.importorskip("diffusers")

# Their own arithmetic with NumPy, of which NumPy 2 warns.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")

COMMON = {"prediction_type": "v_prediction", "lower_order_final": False}
DPM = {**COMMON, "final_sigmas_type": "sigma_min", "solver_type": "midpoint"}
SOLVERS = {
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {**DPM, "solver_order": 2}),
    "dpmpp_3m": ("DPMSolverMultistepScheduler", {**DPM, "solver_order": 3}),
    "dpmpp_2m_sde": (
        "DPMSolverMultistepScheduler",
        {**DPM, "solver_order": 2, "algorithm_type": "sde-dpmsolver++"},
    ),
    "unipc": ("UniPCMultistepScheduler", {**COMMON, "solver_order": 2, "solver_type": "bh2"}),
    "unipc3": ("UniPCMultistepScheduler", {**COMMON, "solver_order": 3, "solver_type": "bh2"}),
    "deis": ("DEISMultistepScheduler", {**COMMON, "solver_order": 3, "solver_type": "logrho"}),
}

# Theirs looks back on two, and takes eps for a polynomial in log rho.
log_rho = functools.partial(deis_step, variable=lambda t: math.log(math.tan(t * math.pi / 2)))
third_order = functools.partial(unipc_step, order=3)
VARIANTS = {
    "deis": METHODS["deis"]._replace(step=log_rho, looks_back=2),
    "unipc3": METHODS["unipc"]._replace(step=third_order, looks_back=3),
}


def noises(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(REFERENCE["x"].shape, generator=generator, dtype=torch.float64)


def theirs(method, x, timesteps):
    name, options = SOLVERS[method]
    scheduler = getattr(diffusers, name)(**options)
    scheduler.set_timesteps(len(timesteps) - 1)
    # Its sigmas are noise-to-image ratios; its own timesteps only name the steps.
    scheduler.sigmas = torch.tan(torch.as_tensor(timesteps, dtype=torch.float64) * math.pi / 2)
    scheduler.timesteps = torch.arange(len(timesteps) - 1)
    scheduler.num_inference_steps = len(timesteps) - 1
    noise = noises()
    for i, t in enumerate(timesteps[:-1]):
        v = mixture(x.double(), torch.full([len(x)], t, dtype=torch.float64))
        fresh = {"variance_noise": noise()} if method == "dpmpp_2m_sde" else {}
        x = scheduler.step(v, scheduler.timesteps[i], x, **fresh).prev_sample
    return x


@pytest.mark.parametrize("method", SOLVERS)
@pytest.mark.parametrize("steps", [4, 20])
@pytest.mark.parametrize("schedule", ["linear", "karras", "log"])
def test_agrees_with_diffusers(method, steps, schedule, monkeypatch):
    if method in VARIANTS:
        monkeypatch.setitem(METHODS, method, VARIANTS[method])
    x = REFERENCE["x"]
    timesteps = [0.05 + 0.93 * t for t in diffusion.schedule(schedule, steps).tolist()]
    ours = diffusion.sample(mixture, x, timesteps, method, noise=noises())
    assert (ours - theirs(method, x, timesteps)).abs().max() <= 1e-5
