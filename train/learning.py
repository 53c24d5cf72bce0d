"""What the trainers of diffusion networks share: the network that learns, its rate, its losses."""

import copy
import time

import torch
from safetensors.torch import save_file

from train.data import replace_file

T_RANGES = 4  # equal parts of [0, 1] in which the loss is told


class Learner:
    """A network that learns: its weights, their moving average and its optimiser.

    Args:
        net: the network, on its device; it is trained in place.
        ema: how much of the average a step keeps.
    """

    def __init__(self, net, ema):
        self.net, self.keep = net, ema
        self.ema = copy.deepcopy(net).eval()
        self.opt = torch.optim.AdamW(
            net.parameters(), 0.0, (0.9, 0.99), weight_decay=0.01, fused=True
        )

    def learn(self, losses, step, lr, larger=1.0):
        """One step of gradient descent.

        Args:
            losses: of the images of a batch [N].
            step: its number, from 0: the average forgets its beginnings.
            lr: the learning rate.
            larger: the size of the batch, relative to that which `ema` was given for: the average
                looks back over as many samples at every size.
        """
        for group in self.opt.param_groups:
            group["lr"] = lr
        self.opt.zero_grad()
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.opt.step()
        decay = min(self.keep**larger, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.ema.parameters()), list(self.net.parameters()), 1 - decay
            )

    def state(self):
        """All of it as a dict that `restore` takes."""
        return {name: getattr(self, name).state_dict() for name in ("net", "ema", "opt")}

    def restore(self, state):
        for name in ("net", "ema", "opt"):
            getattr(self, name).load_state_dict(state[name])


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
