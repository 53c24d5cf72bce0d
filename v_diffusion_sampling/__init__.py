"""The suite where it is installed: its packages lie in this one, so that no other sees them.

`import v_diffusion_sampling` puts them on the path: after it `import diffusion, models` works.
"""

import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Installed, everything is in this folder; in a checkout, beside it.
INSTALLED = (HERE / "cli").is_dir()
FOLDERS = [HERE / "scripts", HERE] if INSTALLED else [HERE.parent]

sys.path[:0] = [str(folder) for folder in FOLDERS]


def run():
    """Runs the script that the command is called like: the entry point of all of them."""
    from cli.begin import begin

    begin()
    from runner.exit import program

    name = os.path.basename(sys.argv[0]).removesuffix(".exe").removesuffix(".py")
    program(importlib.import_module(name).main)
