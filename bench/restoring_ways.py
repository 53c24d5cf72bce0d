"""What bench/restoring.py compares: tasks, ways to restore images, and what needs no network."""

import copy
import math

try:
    import cv2
except ImportError:
    cv2 = None
import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

import diffusion
from bench.pictures import in_8_bits
from diffusion.inversion import inside
from diffusion.measurements import Measurement
from media.tensors import to_image, to_tensor

SIDE, SHARE, PLACE = 64, 0.7, (5, -4)  # of the renders: training's are larger, and in the middle
WEIGHT = 3.0
LEVEL = 25.0  # of noise, in grey levels
ROUNDING = 0.29 / 127.5  # the standard deviation of what 8 bits leave out
HALF = torch.ones(1, SIDE, SIDE)
HALF[:, :, SIDE // 2 + PLACE[0] :] = 0  # the right half of the thing, and all beside it
FRAME = torch.zeros(1, SIDE, SIDE)
FRAME[:, 12:52, 12:52] = 1

LARGE_HALF = HALF.repeat_interleave(2, 1).repeat_interleave(2, 2)

TASKS = {  # name: (measurement, parameters, noise in grey levels, side of what is drawn)
    "inpaint": ("inpaint", (HALF,), 0.0, SIDE),
    "outpaint": ("outpaint", (FRAME,), 0.0, SIDE),
    "upscale": ("upscale", (4,), 0.0, SIDE),
    "larger": ("upscale", (2,), 0.0, 2 * SIDE),  # than the network was trained to draw
    "larger_inpaint": ("inpaint", (LARGE_HALF,), 0.0, 2 * SIDE),
    "colourise": ("colourise", (), 0.0, SIDE),
    "deblur": ("deblur", (2.0,), 0.0, SIDE),
    "denoise": ("denoise", (), LEVEL, SIDE),
    "noisy_upscale": ("upscale", (2,), 10.0, SIDE),
    "noisy_deblur": ("deblur", (2.0,), 5.0, SIDE),
    "noisy_colourise": ("colourise", (), 10.0, SIDE),
}


class Problem:
    """What one task asks of some renders: a model under their prompts, and what is known.

    Args:
        task: of TASKS.
        images: the renders [N, 3, H, W].
        embeds: of their prompts, [1, D] each.
        seeds: of the noise.
    """

    def __init__(self, net, task, images, embeds, seeds):
        measurement, parameters, level, _ = TASKS[task]
        self.images, self.shape, self.task = images, images.shape, task
        self.model = diffusion.guided(net, embeds, [[WEIGHT]] * len(embeds))
        self.source = diffusion.guided(net, embeds, [[1.0]] * len(embeds))
        self.measurement, self.sigma = Measurement({measurement: parameters}), level / 127.5
        self.sources = diffusion.generators(seeds)
        self.y = self.measurement.degrade(images)
        if level:
            self.y = self.y + self.sigma * self.noise(self.y.shape)
        self.y = in_8_bits(self.y)

    @property
    def mask(self):
        """1 where a pixel is known, of a task with a hole; else None."""
        return self.measurement.parts[0][1][0] if self.task in HOLES else None

    @property
    def deviation(self):
        return math.hypot(self.sigma, ROUNDING)

    def noise(self, shape=None):
        return diffusion.noise(self.sources, tuple(shape or self.shape)[1:])

    def enlarged(self):
        return interpolate(self.y, size=self.shape[-2:], mode="bicubic").clamp(-1, 1)

    def settled(self, images):
        if not self.sigma:
            images = diffusion.within_range(self.measurement, images, self.y)
        return in_8_bits(images)


def the_render(p):
    return p.images


def mean_filled(p):
    """The hole in the mean colour of what is known."""
    mean = (p.y * p.mask).sum((2, 3), keepdim=True) / p.mask.sum()
    return torch.where(p.mask > 0, p.y, mean)


def smoothly_filled(p, rounds=4000):
    """The hole as a membrane that is held at its edges: each pixel is the mean of its four."""
    x = mean_filled(p)
    for _ in range(rounds):
        around = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        rows, columns = around[..., 1:-1], around[..., 1:-1, :]
        mean = (rows[..., 2:, :] + rows[..., :-2, :] + columns[..., 2:] + columns[..., :-2]) / 4
        x = torch.where(p.mask > 0, p.y, mean)
    return x


def by_opencv(method, reach=3):
    """The hole as OpenCV fills it, from what lies around up to `reach` pixels away."""

    def restore(p):
        hole = (p.mask[0] == 0).numpy().astype("uint8")
        levels = [np.asarray(to_image(image)) for image in p.y]
        filled = [cv2.inpaint(picture, hole, reach, method) for picture in levels]
        return torch.stack([to_tensor(Image.fromarray(picture)) for picture in filled])

    return restore


def bicubic(p):
    return p.enlarged()


def as_given(p):
    return p.y.expand(-1, 3, -1, -1)


HOLES, LARGER = ("inpaint", "outpaint", "larger_inpaint"), ("upscale", "larger")
LARGE = ("larger", "larger_inpaint")
SHAPED = (*HOLES, *LARGER, "noisy_upscale")  # what is given is no image of the same shape
NOISY = tuple(name for name in TASKS if name.startswith("noisy_"))
EXACT = tuple(name for name, (_, _, level, _) in TASKS.items() if not level)
WITHOUT = {  # name: (tasks, function (Problem) -> images), of what needs no network
    "the render": (tuple(TASKS), the_render),
    "mean colour": (HOLES, mean_filled),
    "smooth fill": (HOLES, smoothly_filled),
    "bicubic": ((*LARGER, "noisy_upscale"), bicubic),
    "as given": (tuple(name for name in TASKS if name not in SHAPED), as_given),
}
if cv2:
    WITHOUT |= {
        "opencv.inpaint, Telea": (HOLES, by_opencv(cv2.INPAINT_TELEA)),
        "opencv.inpaint, Navier-Stokes": (HOLES, by_opencv(cv2.INPAINT_NS)),
    }


def small_first(restore, until=0.2):
    """A way whose model draws images of twice its size small first."""

    def restored(p):
        p = copy.copy(p)
        p.model = diffusion.coarse_first(p.model, 2, until)
        return restore(p)

    return restored


def drawn(p, model, method, steps, times=1, stretch=1):
    timesteps = diffusion.schedule(diffusion.default_schedule(method), steps)
    return diffusion.sample_again(model, p.noise(), timesteps, method, p.noise, times, stretch)


def ddnm(method, steps, times=1, stretch=1):
    def restore(p):
        model = diffusion.exactly(p.model, p.measurement, p.y)
        return p.settled(drawn(p, model, method, steps, times, stretch))

    return restore


def mmps(method, steps, solving):
    """1 pass forward and `solving` + 1 backward, which of the input alone takes about as long."""

    def restore(p):
        model = diffusion.nearly(p.model, p.measurement, p.y, p.deviation, solving)
        return p.settled(drawn(p, model, method, steps))

    return restore


def pigdm(method, steps):
    """1 pass forward and 1 backward."""

    def restore(p):
        timesteps = diffusion.schedule(diffusion.default_schedule(method), steps)
        known = p.measurement, p.y, p.deviation
        x = diffusion.sample_towards(p.model, p.noise(), timesteps, method, *known, p.noise)
        return p.settled(x)

    return restore


def inverted(method, steps, strength, alone=False):
    """The enlarged image's noise is found part of the way; alone: nothing keeps what is known.

    steps: of the whole way; only those up to `strength` are gone, up and down, in 37 to 40 passes.
    """

    def restore(p):
        timesteps = diffusion.ascending(diffusion.default_schedule(method), steps, strength)
        target = p.model if alone else diffusion.exactly(p.model, p.measurement, p.y)
        images = diffusion.edit_by_latents(p.source, target, p.enlarged(), timesteps, method)
        return in_8_bits(images.float()) if alone else p.settled(images.float())

    return restore


def pasted(method, steps):
    """The plain way: in each step the known pixels, with the noise of the step, are put in."""

    def restore(p):
        eps = p.noise()

        def outside(t):
            return diffusion.add_noise(p.y, eps, t)

        images = drawn(p, inside(p.model, 1 - p.mask, outside), method, steps)
        return in_8_bits(torch.where(p.mask > 0, p.y, images))

    return restore


def from_its_level(method, steps):
    """Noise is what the model removes: the picture is a state of the flow, and starts it."""

    def restore(p):
        t = diffusion.noise_to_t(p.sigma)
        timesteps = diffusion.timesteps(diffusion.default_schedule(method), steps, t)
        alpha, _ = diffusion.alpha_sigma(t)
        return in_8_bits(diffusion.sample(p.model, alpha * p.y, timesteps, method, noise=p.noise))

    return restore


USUAL = ("ddnm, ddpm, each 2 steps twice", "from its level, ddpm")  # of restore_sample.py
WAYS = {  # name: (tasks, function (Problem) -> images)
    "pasted, ddim": (HOLES, pasted("ddim", 40)),
    "ddnm, ddpm": (EXACT, ddnm("ddpm", 40)),
    "ddnm, ddpm, each 2 steps twice": (EXACT, ddnm("ddpm", 20, 2, 2)),
    "ddnm, ddpm, each 2 steps 4 times": (EXACT, ddnm("ddpm", 10, 4, 2)),
    "ddnm, ddpm, each 2 steps twice, small first": (LARGE, small_first(ddnm("ddpm", 20, 2, 2))),
    "mmps, ddpm": (tuple(TASKS), mmps("ddpm", 10, 2)),
    "mmps, ddpm, small first": (LARGE, small_first(mmps("ddpm", 10, 2))),
    "pigdm, ddpm": (tuple(TASKS), pigdm("ddpm", 20)),
    "pigdm, ddpm, small first": (LARGE, small_first(pigdm("ddpm", 20))),
    "mmps, ddpm, 25 steps": (NOISY, mmps("ddpm", 25, 2)),  # the default steps: more than 40 passes
    "pigdm, ddpm, 25 steps": (NOISY, pigdm("ddpm", 25)),
    "inversion to 0.3, exact": (LARGER, inverted("exact", 85, 0.3)),
    "inversion to 0.5, exact": (LARGER, inverted("exact", 52, 0.5)),
    "inversion to 0.3, plms": (LARGER, inverted("plms", 46, 0.3)),
    "inversion to 0.5, plms": (LARGER, inverted("plms", 25, 0.5)),
    "inversion to 0.5 alone, exact": (LARGER, inverted("exact", 52, 0.5, alone=True)),
    "from its level, ddpm": (("denoise",), from_its_level("ddpm", 40)),  # 4 steps from there
    "from its level, ddpm, 39 steps": (("denoise",), from_its_level("ddpm", 410)),
}
