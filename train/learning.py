"""What the trainers of diffusion networks share: the network that learns, its rate, its losses."""

import copy
import time

import torch
from safetensors.torch import save_file

from models.unet import FourierFeatures
from train.data import replace_file
from train.muon import Muon

T_RANGES = 4  # equal parts of [0, 1] in which the loss is told


def as_matrix(x):
    """A matrix, or the kernels of a convolution with one row for each, as a matrix."""
    return x if x.ndim == 2 else x.permute(0, 2, 3, 1).flatten(1)


def inner_matrices(net):
    """The parameters of a U-Net that map hidden features to hidden features.

    The first and the last convolution, Fourier features and vectors are none.
    """
    ends = (net.net[0].main["0"], list(net.net[-1].main.values())[-1])
    fourier = [module for module in net.modules() if isinstance(module, FourierFeatures)]
    apart = {id(module.weight) for module in (*ends, *fourier)}
    return [p for p in net.parameters() if p.ndim > 1 and p.requires_grad and id(p) not in apart]


class Learner:
    """A network that learns: its weights, their moving average and its optimiser.

    By AdamW or, but for what `inner_matrices` leaves out, by Muon, which makes the singular values
    of an update about equal (Jordan et al., 2024, kellerjordan.github.io/posts/muon).

    Args:
        net: a `models.unet.UNet` on its device; it is trained in place, but for its sketch, which
            `python -m train.sketch` has taught.
        ema: how much of the average a step keeps.
        muon: whether to take Muon.
    """

    def __init__(self, net, ema, muon=False):
        # Of kernels in this order, matrices are views.
        self.net, self.keep = net.to(memory_format=torch.channels_last), ema
        if net.arch.sketch:
            net.sketch.requires_grad_(False)
        self.ema = copy.deepcopy(net).eval()
        self.matrices = [(p, as_matrix(p.data)) for p in inner_matrices(net)] if muon else []
        inner = {id(p) for p, _ in self.matrices}
        others = [p for p in net.parameters() if p.requires_grad and id(p) not in inner]
        self.opt = torch.optim.AdamW(others, 0.0, (0.9, 0.99), weight_decay=0.01, fused=True)
        self.muon = None
        if muon:
            views = [view for _, view in self.matrices]
            # Three of the usual five iterations: what the bundled weights were trained by.
            self.muon = Muon(views, 0.0, weight_decay=0.01, iterations=3)

    def learn(self, losses, step, lr, larger=1.0):
        """One step of gradient descent.

        Args:
            losses: of the images of a batch [N].
            step: its number, from 0: the average forgets its beginnings.
            lr: the learning rate.
            larger: the size of the batch, relative to that which `ema` was given for: the average
                looks back over as many samples at every size.
        """
        optimisers = [self.opt, self.muon] if self.muon else [self.opt]
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = lr
        self.net.zero_grad()
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for parameter, view in self.matrices:
            view.grad = as_matrix(parameter.grad)
        for optimiser in optimisers:
            optimiser.step()
        decay = min(self.keep**larger, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.ema.parameters()), list(self.net.parameters()), 1 - decay
            )

    def state(self):
        """All of it as a dict that `restore` takes."""
        return {name: getattr(self, name).state_dict() for name in self.kept}

    def restore(self, state):
        for name in self.kept:
            getattr(self, name).load_state_dict(state[name])

    @property
    def kept(self):
        return ("net", "ema", "opt", "muon") if self.muon else ("net", "ema", "opt")


class Losses:
    """Losses of some steps, by ranges of the timesteps."""

    def __init__(self):
        self.sums, self.counts, self.since = [0.0] * T_RANGES, [0] * T_RANGES, time.time()

    def add(self, t, losses):
        """The losses of a batch [N] at the timesteps t [N]."""
        parts = (t * T_RANGES).int().clamp_max(T_RANGES - 1)
        for part, loss in zip(parts.tolist(), losses.tolist(), strict=True):
            self.sums[part] += loss
            self.counts[part] += 1

    def entry(self):
        """What a log says of them, a dict."""
        sums, counts = self.sums, self.counts
        return {
            "loss": round(sum(sums) / sum(counts), 5),
            "loss_by_t": [round(a / max(1, n), 5) for a, n in zip(sums, counts, strict=True)],
            "images_per_second": round(sum(counts) / (time.time() - self.since), 1),
        }


def lr_factor(step, share, decay, warmup=100):
    """Up over the first steps, then level, then down to nothing over the last `decay` of the run.

    Args:
        step: from 0.
        share: how much of the run is behind, in [0, 1].
    """
    return max(0, min(1, (step + 1) / warmup, (1 - share) / max(1e-9, decay)))


def save_weights(net, path, name):
    """A network in half precision, as the zoo reads it."""
    weights = {k: v.half().contiguous() for k, v in net.state_dict().items()}
    replace_file(path, lambda p: save_file(weights, p, {"model": name}))
