"""The weights of prompts taken together: what they add up to, and the lines that show them."""

import itertools
import math

from diffusion.methods import NEGLIGIBLE, WHOLE
from diffusion.spans import ALWAYS
from values.errors import printable


def describe(conditions, zero_weight=None, interval=WHOLE, against="no prompt"):
    """Lines that show what guides the sampling, weights aligned at their decimal points.

    Args:
        conditions: prompts, of texts and images alike.
        zero_weight: the weight of the zero embedding, shown as "(no prompt)" at the end where it is
            the same at all timesteps and everywhere; None: it has no part in it.
        interval: the timesteps at which it has.
        against: what has that weight, where it is another.
    Returns:
        a string for each, safe to print.
    """
    rows = [(_decimal(prompt.weight), _told(prompt)) for prompt in conditions]
    varies = zero_weight is not None and is_varied(conditions)
    if zero_weight is not None and not varies:
        low, high = interval
        when = "" if (low, high) == WHOLE else f", at t from {low:g} to {high:g}"
        rows.append((_decimal(zero_weight), f"({against}{when})"))
    if not rows:
        return []
    parts = [weight.partition(".") for weight, _ in rows]
    left = max(len(whole) for whole, _, _ in parts)
    right = max(len(point + digits) for _, point, digits in parts)
    lines = [
        f"  {whole:>{left}}{point + digits:<{right}}  {text}"
        for (whole, point, digits), (_, text) in zip(parts, rows, strict=True)
    ]
    rest = f"({against}: the rest to 1, at each t and in each place)"
    return [*lines, f"  {'':{left + right}}  {rest}"] if varies else lines


def _told(prompt):
    text = printable(prompt.text, 90)
    if prompt.when != ALWAYS:
        low, high = prompt.when.low, prompt.when.high
        start = f"above {low:g}, up to" if prompt.when.above else f"from {low:g} to"
        text += f", at t {start} {high:g}"
        fades = prompt.when.whole_from - low, high - prompt.when.whole_to
        text += ", fading" if any(fades) else ""
    if prompt.box:
        text += f", in [{', '.join(f'{side:g}' for side in prompt.box)}]"
    return text if prompt.mask is None else f"{text}, in {printable(prompt.mask, 90)}"


def totals(prompts):
    """What the weights add up to over time, wherever in the image they count.

    Sums jump where prompts begin and end, and are straight in between: they are taken at these
    timesteps and just beside.

    Returns:
        a list of (timestep, the sum of the weights, that of their sizes).
    """
    borders = sorted({0.0, 1.0, *(t for prompt in prompts for t in prompt.when.borders)})
    beside = [t for a, b in itertools.pairwise(borders) for t in _just_within(a, b)]
    found = []
    for t in sorted([*borders, *beside]):
        now = [prompt.weight * prompt.when.share(t) for prompt in prompts]
        found.append((t, math.fsum(now), math.fsum(map(abs, now))))
    return found


def _just_within(a, b):
    return a + (b - a) / 1e6, b - (b - a) / 1e6


def is_varied(prompts):
    """Whether the weight of the zero embedding changes with t or over the image."""
    if any(prompt.place is not None for prompt in prompts):
        return True
    sums = [total for _, total, _ in totals(prompts)]
    return max(sums) - min(sums) > NEGLIGIBLE


def _decimal(weight):
    text = f"{weight:.4f}".rstrip("0").rstrip(".")
    if text in ("0", "-0") and weight:
        return f"{weight:.1e}" if abs(weight) > 1e-9 else "0"  # less is rounding, of 1 - sum
    return "0" if text == "-0" else text if abs(weight) < 1e6 else f"{weight:.4g}"
