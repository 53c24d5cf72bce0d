# The public names and the modules they are in, which `lazy_loader.attach_stub` reads at run time.

from .chunking import in_chunks
from .discretization import ascending, schedule, timesteps
from .errors import NonFiniteError
from .gaussianity import mix_noise, noise_report, normalise
from .guidance import Weight, box_mask, conditions, distilled, guided, steered
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
from .spans import ALWAYS, Span
from .sphere import between, turned

__all__ = [
    "ALWAYS",
    "METHODS",
    "RULES",
    "SCHEDULES",
    "Latents",
    "NonFiniteError",
    "Progress",
    "Span",
    "Weight",
    "add_noise",
    "alpha_sigma",
    "ascending",
    "between",
    "box_mask",
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
    "turned",
]
