# The public names and the modules they are in, which `lazy_loader.attach_stub` reads at run time.

from .chunking import in_chunks
from .coarse import coarse_first, coarse_t
from .discretization import ascending, schedule, timesteps
from .errors import NonFiniteError
from .gaussianity import mix_noise, noise_report, normalise
from .guidance import conditions, distilled, guided
from .guidance_rules import RULES
from .inversion import (
    Latents,
    edit_by_latents,
    edit_directly,
    from_latents,
    in_doubles,
    to_latents,
)
from .measurements import MEASUREMENTS, Measurement
from .methods import METHODS, default_schedule, default_steps, resolve_eta
from .objective import alpha_sigma, log_snr, log_snr_to_t, noise_to_t, to_pred_eps, to_x_v
from .restoring import exactly, nearly, sample_again, sample_towards, within_range
from .sampling import Progress, add_noise, clamp_t, generators, noise, sample
from .schedules import SCHEDULES
from .spans import ALWAYS, Span
from .sphere import between, turned
from .steering import steered
from .weights import Weight, box_mask

__all__ = [
    "ALWAYS",
    "MEASUREMENTS",
    "METHODS",
    "RULES",
    "SCHEDULES",
    "Latents",
    "Measurement",
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
    "coarse_first",
    "coarse_t",
    "conditions",
    "default_schedule",
    "default_steps",
    "distilled",
    "edit_by_latents",
    "edit_directly",
    "exactly",
    "from_latents",
    "generators",
    "guided",
    "in_chunks",
    "in_doubles",
    "log_snr",
    "log_snr_to_t",
    "mix_noise",
    "nearly",
    "noise",
    "noise_report",
    "noise_to_t",
    "normalise",
    "resolve_eta",
    "sample",
    "sample_again",
    "sample_towards",
    "schedule",
    "steered",
    "timesteps",
    "to_latents",
    "to_pred_eps",
    "to_x_v",
    "turned",
    "within_range",
]
