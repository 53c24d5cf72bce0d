"""The networks, their checkpoints, and CLIP.

Names and modules are imported when they are first used: the table of networks needs no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
