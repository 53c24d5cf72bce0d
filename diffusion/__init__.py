"""Sampling from v-objective diffusion models; depends on no network, no file and no CLIP.

A model is any callable `(x [N, C, H, W], t [N]) -> v [N, C, H, W]`. The stub `__init__.pyi` lists
the public names. They are imported on first use, torch with those that need it: the tables
METHODS and SCHEDULES and the rules for defaults do not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
