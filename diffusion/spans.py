"""The timesteps at which a condition counts, as plain numbers; imports no torch."""

from typing import NamedTuple


class Span(NamedTuple):
    """Timesteps from low to high, both included, and how a weight rises and falls at their ends.

    Args:
        low, high: outside of these a weight is 0.
        whole_from, whole_to: between these it is whole. From `low` up to `whole_from` it rises
            along a line, and from `whole_to` up to `high` it falls; it does neither where the inner
            border is not within the outer one.
        above: whether `low` itself is left out, as it belongs to the span below.
    """

    low: float = 0.0
    high: float = 1.0
    whole_from: float = 0.0
    whole_to: float = 1.0
    above: bool = False

    def share(self, t):
        """The share of its weight that counts at t, a float: 0 to 1."""
        if not self.low <= t <= self.high or (self.above and t == self.low):
            return 0.0
        share = 1.0
        if t < self.whole_from:
            share = (t - self.low) / (self.whole_from - self.low)
        if t > self.whole_to:
            share = min(share, (self.high - t) / (self.high - self.whole_to))
        return share

    @property
    def borders(self):
        """The timesteps at which the share changes its course."""
        return self[:4]


ALWAYS = Span()
