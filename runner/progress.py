"""How far a run is, as a bar on stderr where a terminal watches, and pictures beside it."""

import contextlib
import sys
import threading

from tqdm import tqdm

FORMAT = "{desc} |{bar}| {elapsed}<{remaining}"


class Progress:
    """The bar of a run; of one that does not know its images, a bar for each batch.

    Args:
        total: images of the run, by all processes; None: not known.
        title: what the bar begins with.
        shown: whether this process shows it.
        pictures: the `media.terminal.Pictures`; None: no pictures are shown.
    """

    def __init__(self, total, title, shown=True, pictures=None):
        self.total, self.title, self.shown, self.pictures = total, title, shown, pictures
        # Images are told of while the next ones are drawn, and previewed, in another thread.
        self._lock, self._lines = threading.RLock(), 0  # the lines of the preview on the screen
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

    def say(self, line, file=None, picture=None):
        """A line beside the bar, on stdout unless another file is given, and a picture below it."""
        file = file or sys.stdout
        with self._beside(file):
            self._take_preview_away()
            print(line, file=file, flush=True)
            if picture is not None and self.pictures:
                sys.stdout.write(self.pictures.text(picture))
                sys.stdout.flush()

    def preview(self, picture):
        """Shows a picture until there is another one, or a line to say."""
        with self._beside(sys.stdout):
            self._take_preview_away()
            text = self.pictures.text(picture)
            sys.stdout.write(text)
            sys.stdout.flush()
            self._lines = text.count("\n")

    @contextlib.contextmanager
    def _beside(self, file):
        bar = self.bar.external_write_mode(file=file) if self.bar else contextlib.nullcontext()
        with self._lock, bar:
            yield

    def _take_preview_away(self):
        if self._lines:
            sys.stdout.write(self.pictures.away(self._lines))
            sys.stdout.flush()
            self._lines = 0

    def end(self):
        """Takes the bar away, and a preview."""
        with self._lock:
            if self.bar is not None:
                self.bar.close()
                self.bar = None
            self._take_preview_away()
