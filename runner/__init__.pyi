from .batch import Batch as Batch
from .conditions import guided_model as guided_model
from .exit import program as program
from .exit import script as script
from .found_latents import save_latents as save_latents
from .plan import Plan as Plan
from .run import Run as Run
from .steering import Steering as Steering
