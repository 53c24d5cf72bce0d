"""Images that are drawn together."""

import itertools
import time

import torch

import diffusion
from jobs.jobs import own_options
from media.tensors import to_image, visible
from models.checkpoints import CheckpointError
from runner.exit import explained

# What would go wrong with every image.
RUN_WIDE = (CheckpointError, ModuleNotFoundError)


class Shared:
    """The ImageOptions that a batch has in common; what each image has of its own is refused.

    Args:
        image: those of one of its images.
        own: the names of options that may differ within a batch.
    """

    def __init__(self, image, own):
        self._image, self._own = image, own

    def __getattr__(self, name):
        if name in self._own:
            raise AttributeError(
                f"{name} may differ within a batch: take item.image.{name} of each item"
            )
        return getattr(self._image, name)


class Batch:
    """Images that are drawn together, inside of a `with` that sees what goes wrong.

    Args:
        run: the Run.
        items: the `jobs.jobs.Item`s, alike in shape.
        wanted: the places of those that are to be saved.
    Attributes:
        image: the ImageOptions, but for those that may differ within a batch.
        sources: a random generator for each image.
        error: what went wrong, in a line, where the run is to keep going; or None.
        pending: a function () that saves what was drawn; or None.
        evaluations: rows of x that the model has been asked for.
        last_pred: what the model last took the images to be, of those that are watched.
    """

    def __init__(self, run, items, wanted):
        self.run, self.items, self.wanted = run, items, wanted
        self.image = Shared(items[0].image, own_options(run.options.script))
        self.error, self.pending, self.evaluations = None, None, 0
        self.sources = diffusion.generators([item.seed for item in items])
        # Rounding depends on the shape of a batch: an image that is redrawn gets the old one.
        rows, row = self.image.batch or (None, None)
        self.rows = rows or 1
        self.visible_rows = slice(row, row + 1) if rows else slice(None)

    def __enter__(self):
        self.began = time.perf_counter()
        # What gradients flow through cannot be made in inference mode.
        self._mode = torch.no_grad() if self.run.needs_gradients else torch.inference_mode()
        self._mode.__enter__()
        return self

    def __exit__(self, kind, error, traceback):
        self._mode.__exit__(kind, error, traceback)
        if not self.run.keeps_going or isinstance(error, RUN_WIDE):
            return False
        known = explained(error) if isinstance(error, Exception) else None
        self.error = known and str(known[0])  # the error itself would keep what its frames hold
        return known is not None

    def noise(self):
        """Fresh noise [N, 3, H, W], from each image's own generator."""
        width, height = self.image.size
        return diffusion.noise(self.sources, (3, height, width)).repeat(self.rows, 1, 1, 1)

    def watch(self, steps, noised=True):
        """A callback for a run of so many steps, which shows how it goes.

        Args:
            noised: whether the x seen are images with the noise of their timesteps.
        """
        count, self.last_pred = itertools.count(), None
        self.run.plan.watch.begin(len(self.items), tuple(self.image.size), steps, noised)

        def see(progress):
            number = next(count)
            self.run.show(min(1, (number + 1) / steps) * len(self.wanted), number + 1, steps)
            self.last_pred = progress.pred[self.visible_rows]
            self._look(number, progress.t, progress.x[self.visible_rows], self.last_pred)

        return see

    def watch_end(self, x, t=0.0, pred=None):
        """Shows where the run ended: x at t and pred, which at t = 0 is x itself."""
        self._look(None, t, x, x if pred is None else pred)

    def _look(self, number, t, x, pred):
        watch = self.run.plan.watch
        if watch.wants(number):
            x = visible(x, t) if watch.noised else x
            watch.show(number, t, *([to_image(image) for image in part] for part in (x, pred)))
