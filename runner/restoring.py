"""What is known of the images of a batch, and whether what was drawn agrees with it."""

import math
import sys

import torch
from torch.nn.functional import interpolate, pad

import diffusion
from media.saving import as_saved, is_lossy
from media.tensors import in_levels, to_image, to_tensor
from values.errors import counted, printable

ROUNDING = 1 / math.sqrt(12)  # grey levels: the standard deviation of what 8 bits leave out
MISFIT = 16  # grey levels: photos that were blurred as is said come within two
NAMED = 3  # photos of a batch, in the line about it
TRAVEL_STEPS = 2  # of each part of the way that --travel goes again


class Known:
    """What is known of a batch of photos.

    Args:
        run, batch: the Run and its Batch.
    Attributes:
        measurement: the `diffusion.Measurement`.
        y: what it is known to come to, [N, C, H, W].
    """

    def __init__(self, run, batch):
        image, photos = batch.image, run.photos(batch).float()
        self.run, self.image, parameters = run, image, {}
        self.names = list(dict.fromkeys(str(item.photo) for item in batch.items))
        for task in image.task:
            parameters[task] = ()
            if task == "inpaint":
                parameters[task] = ((run.mask(batch) == 0).to(photos),)
            elif task == "outpaint":
                around = [image.pad[side] for side in (0, 2, 1, 3)]  # left, right, top, bottom
                parameters[task] = (pad(torch.ones_like(photos[0, :1]), around),)
                photos = pad(photos, around)
            elif task == "upscale":
                parameters[task] = (image.factor,)
            elif task == "deblur":
                parameters[task] = (image.blur,)
        self.measurement = diffusion.Measurement(parameters)
        self.photos = photos.to(run.device)
        self.y = self.measurement.of_picture(self.photos)
        self.is_hole = all(task in ("inpaint", "outpaint") for task in image.task)

    def start(self, batch):
        """(x, timesteps) that the batch starts from: noise, or the photo where it is as noisy."""
        image, (x, timesteps, _) = self.image, self.run.start(batch)
        if image.by == "level":
            t = diffusion.noise_to_t(image.noise / 127.5)
            alpha, _ = diffusion.alpha_sigma(t)
            x = (alpha * self.y).to(x)
            timesteps = diffusion.timesteps(image.schedule, image.steps, t)
        return x, timesteps

    def model(self, model):
        """A model (x, t) -> v whose images agree with what is known."""
        if self.image.by == "level":  # it started from all that is known
            return model
        if self.image.by in ("ddnm", "inversion"):
            return diffusion.exactly(model, self.measurement, self.y)
        return diffusion.nearly(model, self.measurement, self.y, self.deviation)

    @property
    def deviation(self):
        """The standard deviation of the noise in y, and at the least that of its rounding."""
        return math.hypot(self.image.noise, ROUNDING) / 127.5

    def enlarged(self):
        """The photos by interpolation, as large as what is drawn [N, 3, H, W]."""
        width, height = self.image.size
        large = interpolate(self.photos, size=(height, width), mode="bicubic").clamp(-1, 1)
        reversible = diffusion.METHODS[self.image.method].reversible
        return large.cpu().double() if reversible else large

    def rounded_to_agree(self, images):
        """The images [N, 3, H, W] in whole grey levels, in agreement with what is known.

        Says on stderr how well they agree, as they are saved.
        """
        images = images.to(self.y)
        if not self.image.noise:
            y = self.measurement.degrade(self.measurement.lift(self.y))  # what it can come to
            images = in_levels(diffusion.within_range(self.measurement, images, y))
            # Rounding puts a mean of pixels off by up to half a level, and hardly ever by more.
            for _ in range(3):
                missing = y - self.measurement.degrade(images)
                missing = missing.where(missing.abs() * 127.5 > 0.5, 0)
                images = in_levels(images + self.measurement.lift(missing))
        images = in_levels(images)
        if not self.run.options.quiet:
            told = self._told(self._as_saved(images))
            if "deblur" in self.image.task and not self.image.noise and self._off(images) > MISFIT:
                told += f": the photo is hardly one that --blur {self.image.blur:g} has made"
            names = ", ".join(printable(name, 200) for name in self.names[:NAMED])
            if len(self.names) > NAMED:
                names += f" and {counted(len(self.names) - NAMED, 'more photo')}"
            self.run.say(f"{names}: {told}", sys.stderr)
        return images

    def _as_saved(self, images):
        """What is read of the files: a JPEG keeps no pixels."""
        name = self.run.options.output
        if name is None or not is_lossy(name.ending):
            return images
        saved = [to_tensor(as_saved(to_image(image), name.ending)) for image in images]
        return torch.stack(saved).to(images)

    def _off(self, images):
        """By how many grey levels images, degraded again, are off what is known at the most."""
        return float((self.measurement.degrade(images) - self.y).abs().max()) * 127.5

    def _told(self, images):
        if self.image.noise:
            off = (self.measurement.degrade(images) - self.y) * 127.5
            rms = float(off.square().mean().sqrt())
            return f"degraded again: {rms:.1f} grey levels off (RMS), noise {self.image.noise:g}"
        most = self._off(images)
        if self.is_hole and most < 1e-3:
            return "what is known is kept to the bit"
        return f"degraded again: at most {most:.2f} of 255 grey levels off"
