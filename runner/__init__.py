"""What happens once a command line is understood: the plan, the run, its batches, its files.

What is public is listed in `__init__.pyi`; it is imported on first use, as torch takes a second.
Whoever imports this package before torch has threads that sleep while they wait.
"""

import lazy_loader

from runner import threads

threads.prepare()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
