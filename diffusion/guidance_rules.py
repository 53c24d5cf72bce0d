"""The table of guidance rules: what becomes of v_0 and the prompts' difference; imports no torch.

A rule is a function `(x, t, v0, difference, weight, state, *values) -> v` of one image:

- x, v0, difference: [C, H, W]; t: its timestep, a tensor of no dimensions.
- v0 is v under the zero embedding, or that of a weaker network (`guided`).
- difference is `D = sum_i w_i (v_i - v0)` and weight `W = sum_i w_i`, above 0 and not 1. So
  v0 + D / W is v under the prompts, the conditional one, and v0 + D the guided one. At weight 1
  these are the same, and no rule is asked. For one prompt W is its weight w.
- state: a dict of that image, empty when its run starts, for what a rule remembers of it.
- values: those of the rule's parameters.

It sees nothing of the other images of a batch, so that an image does not depend on them. A new rule
is a function, a row of RULES and a test.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from diffusion.objective import alpha_sigma

PLAIN = "plain"
TINY = 1e-30  # what a division by 0 divides by instead; the numerator is 0, too


class Parameter(NamedTuple):
    """A number that a rule takes: its name, its default, the lowest and the highest."""

    name: str
    default: float
    low: float
    high: float


class Rule(NamedTuple):
    """A row of RULES.

    Args:
        function: as the module describes it; None: the weighted sum as it is.
        parameters: the numbers that it takes, in the order in which they are written.
        contrasts: whether it compares v0 with something; one that does not is asked of all images,
            also where there is no v0 or W <= 0, with `v0` the weighted sum and a difference of 0.
        invertible: whether the flow of its v has one way back.
        remembers: the parameter that, unless it is 0, makes v depend on earlier evaluations; "":
            v is a function of (x, t).
    """

    function: Callable | None
    parameters: tuple[Parameter, ...] = ()
    contrasts: bool = True
    invertible: bool = True
    remembers: str = ""


def rescale(x, t, v0, difference, weight, state, phi):
    """The guided v, brought to the spread of the conditional one (Lin et al., arXiv 2305.08891).

    The standard deviation of the guided v grows with the weight. phi says how much of that is taken
    back: at 1 it is that of the conditional v, at 0 nothing is changed.
    """
    guided, conditional = v0 + difference, v0 + difference / weight
    gain = conditional.std() / guided.std().clamp(min=TINY)
    return (phi * gain + 1 - phi) * guided


def threshold(x, t, v0, difference, weight, state, percentile):
    """Pred kept in range: dynamic thresholding (Saharia et al., arXiv 2205.11487).

    The percentile of |pred| over an image is its limit, which is 1 at least. What is beyond is cut
    off, and the rest divided by the limit. It asks for no conditional v: pred is kept in range at
    weight 1 and without prompts as well, which changes nothing where it was in range.
    """
    alpha, sigma = alpha_sigma(t)
    v = v0 + difference
    pred = alpha * x - sigma * v
    sizes = pred.abs().flatten().sort().values  # quantile() takes 16 million values at most
    limit = sizes[math.ceil(percentile / 100 * (len(sizes) - 1))].clamp(min=1)
    cut = pred - pred.clamp(-limit, limit) / limit
    # v = (alpha x - pred) / sigma; at t = 0 pred is x, whatever v is.
    return v + (cut / sigma).where(sigma > 0, 0 * cut)


def apg(x, t, v0, difference, weight, state, radius, momentum, parallel):
    """Adaptive projected guidance of pred (Sadat et al., arXiv 2410.02416).

    The conditional pred is moved by W - 1 times the difference of the two preds, after that was

    1. added to `momentum` times what it was in the evaluation before (negative: away from that),
    2. shortened to an RMS of `radius`, in the units of pred, whose range is from -1 to 1,
    3. and freed of its part along the conditional pred, which saturates colours, but for a share
       `parallel` of it.

    The paper's r is a norm; an RMS means the same at every size. Its 15 on latents of 4 x 128 x 128
    is an RMS of 0.06.

    With momentum, v depends on the evaluations before: it is no function of (x, t). Evaluations
    count, not steps: with a method that takes several a step, each remembers the one before it, at
    whatever t that was. The adaptive method compares evaluations and repeats some, so it has no use
    for such a v; nor is there a way back. `momentum` 0 gives a function of (x, t).
    """
    alpha, sigma = alpha_sigma(t)
    step = difference / weight  # of v; that of pred is -sigma times as large
    conditional = v0 + step
    if momentum:
        kept = sigma * step
        if "kept" in state:
            kept = kept + momentum * state["kept"]
        state["kept"] = kept
        step = (kept / sigma).where(sigma > 0, step)
    size = sigma * step.square().mean().sqrt()
    step = step * (radius / size.clamp(min=TINY)).clamp(max=1)
    pred = alpha * x - sigma * conditional
    along = (step * pred).sum() / pred.square().sum().clamp(min=TINY) * pred
    return conditional + (weight - 1) * (step - along + parallel * along)


def cfg_zero(x, t, v0, difference, weight, state):
    """CFG-Zero*: v0 scaled to be as near as it can be to the conditional v (arXiv 2503.18886).

    The scale is that of the projection of the conditional v on v0, so that what is multiplied with
    the weight is orthogonal to v0. The paper's "zero init", no v in the first steps, is left out.
    It mends flows that have learnt less of pure noise than v = 0 says, and leaves x as it is there;
    on this path v = 0 is no standstill but a grey pred in a shrunken x. And it is of the first
    steps of a solver, of which a model (x, t) -> v knows nothing.
    """
    conditional = v0 + difference / weight
    scale = (conditional * v0).sum() / v0.square().sum().clamp(min=TINY)
    return scale * v0 + weight * (conditional - scale * v0)


def cfg_pp(x, t, v0, difference, weight, state, share, steps):
    """The weights of CFG++ (Chung et al., arXiv 2406.08070), small near image and noise.

    A step of CFG++ takes pred from eps_0 + lambda (eps_c - eps_0) and renoises it with eps_0. From
    theta to theta' = theta - delta that is the DDIM step of plain guidance with the weight

        lambda cos(theta') sin(theta) / sin(delta),

    so it is a weight that depends on t, but also on the length of the step: it grows without bound
    where steps shrink, and there is no flow that CFG++ follows. The length is therefore fixed
    here, as that of `steps` equal steps. This v is CFG++ exactly for ddim on the schedule `linear`
    with that number of steps. For every other method, schedule and number of steps it is a function
    of (x, t) with the same weights, and not their update.

    lambda is `share` times W: 0.08, since the paper compares lambda 0.6 with a weight of 7.5, both
    in 50 steps. The zero embedding's share is not 0 at W = 1, but there the plain sum is drawn, as
    by all rules.
    """
    theta, delta = t * (math.pi / 2), math.pi / 2 / steps
    gain = (theta - delta).cos() * theta.sin() / math.sin(delta)
    gain = gain.where(theta > delta, gain * 0 + 1)  # the last step, which ends at 0
    return v0 + share * gain * difference


RULES = {
    PLAIN: Rule(None),
    "rescale": Rule(rescale, (Parameter("phi", 0.7, 0, 1),)),
    # What is cut off cannot be found again: near t = 0 many x lead to one image.
    "threshold": Rule(
        threshold, (Parameter("percentile", 99.5, 50, 100),), contrasts=False, invertible=False
    ),
    "apg": Rule(
        apg,
        (
            Parameter("radius", 0.06, 0.001, 100),
            Parameter("momentum", -0.5, -0.99, 0.99),
            Parameter("parallel", 0, 0, 1),
        ),
        remembers="momentum",
    ),
    "cfg_zero": Rule(cfg_zero),
    "cfg_pp": Rule(cfg_pp, (Parameter("share", 0.08, 0, 1), Parameter("steps", 50, 2, 100_000))),
}


class Chosen(NamedTuple):
    """A rule and the values of its parameters."""

    name: str
    rule: Rule
    values: tuple[float, ...]

    def __str__(self):
        """As `choose` reads it, with all values."""
        return ":".join([self.name, *map(_number, self.values)])

    @property
    def remembers(self):
        """Whether v depends on earlier evaluations, so that it is no function of (x, t)."""
        names = [parameter.name for parameter in self.rule.parameters]
        return bool(self.rule.remembers) and self.values[names.index(self.rule.remembers)] != 0

    @property
    def invertible(self):
        """Whether the flow can be followed back from images to noise."""
        return self.rule.invertible and not self.remembers


def choose(text):
    """The `Chosen` that `NAME[:VALUE...]` names; values that are left out are the defaults.

    Raises:
        ValueError: for an unknown name, values out of their range and too many of them.
    """
    name, *words = text.split(":")
    if name not in RULES:
        raise ValueError(f"unknown rule {name!r}: choose from {', '.join(RULES)}")
    parameters = RULES[name].parameters
    if len(words) > len(parameters):
        takes = ":".join([name, *(parameter.name.upper() for parameter in parameters)])
        raise ValueError(f"{text}: write no more than {takes}")
    values = [parameter.default for parameter in parameters]
    for i, (word, parameter) in enumerate(zip(words, parameters, strict=False)):
        try:
            values[i] = float(word)
        except ValueError:
            values[i] = math.nan
        if not parameter.low <= values[i] <= parameter.high:
            raise ValueError(
                f"{name} takes a {parameter.name} from {parameter.low:g} to {parameter.high:g}, "
                f'not "{word}"'
            )
    return Chosen(name, RULES[name], tuple(float(value) for value in values))


def _number(value):
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
