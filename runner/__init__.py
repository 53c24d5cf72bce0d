"""What happens once a command line is understood: the plan, the run, its batches, its files.

What is public is listed in `__init__.pyi`; it is imported on first use, as torch takes a second.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
