# The public names and the modules they are in, which `lazy_loader.attach_stub` reads at run time.

from .chunking import in_chunks
from .discretization import ascending, schedule, timesteps
from .errors import NonFiniteError
from .gaussianity import mix_noise, noise_report, normalise
from .guidance import conditions, distilled, guided, steered
from .guidance_rules import RULES
from .inversion import (
    Latents,
    edit_by_latents,
    edit_directly,
    from_latents,
    in_doubles,
    to_latents,
)
from .methods import METHODS, default_schedule, default_steps, resolve_eta
from .objective import alpha_sigma, log_snr, log_snr_to_t, to_pred_eps, to_x_v
from .sampling import Progress, add_noise, clamp_t, generators, noise, sample
from .schedules import SCHEDULES

__all__ = [
    "METHODS",
    "RULES",
    "SCHEDULES",
    "Latents",
    "NonFiniteError",
    "Progress",
    "add_noise",
    "alpha_sigma",
    "ascending",
    "clamp_t",
    "conditions",
    "default_schedule",
    "default_steps",
    "distilled",
    "edit_by_latents",
    "edit_directly",
    "from_latents",
    "generators",
    "guided",
    "in_chunks",
    "in_doubles",
    "log_snr",
    "log_snr_to_t",
    "mix_noise",
    "noise",
    "noise_report",
    "normalise",
    "resolve_eta",
    "sample",
    "schedule",
    "steered",
    "timesteps",
    "to_latents",
    "to_pred_eps",
    "to_x_v",
]
