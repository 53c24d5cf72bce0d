"""How far a run is, as a bar on stderr where a terminal watches."""

import sys

from tqdm import tqdm

FORMAT = "{desc} |{bar}| {elapsed}<{remaining}"


class Progress:
    """The bar of a run; of one that does not know its images, a bar for each batch.

    Args:
        total: images of the run, by all processes; None: not known.
        title: what the bar begins with.
        shown: whether this process shows it.
    """

    def __init__(self, total, title, shown=True):
        self.total, self.title, self.shown = total, title, shown
        self.bar = None if total is None else self._bar(total)

    def _bar(self, total):
        return tqdm(
            total=total,
            bar_format=FORMAT,
            dynamic_ncols=True,
            miniters=0,
            disable=None if self.shown else True,  # None: where nobody watches
            leave=False,
        )

    def begin(self, which, images):
        """A batch of so many images begins; which: what they are called."""
        self.which = which
        if self.total is None:
            self.end()
            self.bar = self._bar(images)
        self.bar.set_description_str(f"{self.title}: {which}")

    def show(self, images, step=None, steps=None):
        """Shows that so many images are done, in parts; of a stream: of the batch.

        Args:
            step: the number of the step that is done, from 1; None: none has been.
            steps: how many there are about to be.
        """
        if self.bar is None:
            return
        text = f"{self.title}: {self.which}"
        if step is not None:
            text += f", step {step} of {max(step, steps)}"
        self.bar.set_description_str(text, refresh=False)
        self.bar.update(min(self.bar.total, images) - self.bar.n)

    def say(self, line, file=None):
        """A line beside the bar, on stdout unless another file is given."""
        file = file or sys.stdout
        if self.bar is None:
            print(line, file=file, flush=True)
            return
        with self.bar.external_write_mode(file=file):
            print(line, file=file, flush=True)

    def end(self):
        """Takes the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
