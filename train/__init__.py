"""Training and evaluation of the bundled model."""

import runner  # noqa: F401  before torch: its threads are to sleep while they wait
