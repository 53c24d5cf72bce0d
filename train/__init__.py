"""Training and evaluation of the bundled model."""

import os

# OpenMP's threads spin while they wait for each other: beside anything else that runs, a step then
# takes up to ten times as long. Read when torch is imported; a value that is set is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
