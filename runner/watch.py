"""Watching a run: the preview that is renewed as it draws, and the trajectory of its first batch.

A `Watch` of a run that asks for neither does nothing, and none changes what is drawn.
"""

from jobs import outputs
from media import animation
from media.preview import Preview
from values.errors import UserError
from values.picture_types import FPS, is_strip


class Watch:
    """What looks on while the images of a run are drawn.

    Args:
        options: the RunOptions.
        output: the Path of the run's first file.
        at_once: how many images are drawn together at the most.
        first: whether this process is the first of those that share the run; others do not watch.
        shows_x: whether the preview is of x, made visible, rather than of pred.
        animated: whether the images become animations.
    Attributes:
        screen: a function (a preview) that shows it elsewhere, too; or None.
    Raises:
        UserError: for flags that do not go together, and for what cannot be shown.
    """

    def __init__(self, options, output, at_once, first=True, shows_x=False, animated=False):
        self.preview = self.files = self.finished = None
        self.trajectory, self.noised, self.shows_x = None, True, shows_x
        self.fps, self.screen = options.fps or FPS, None
        template = options.trajectory
        if options.fps and not animated and (not template or is_strip(template.text)):
            raise UserError("--fps is of an animation: give one with --trajectory FILE.gif")
        if template:
            self.files = outputs.Outputs(template, options.policy)
            self.target = self.files.target({"index": 0})
            animation.check(self.target.path)
            if at_once > animation.MOST_IMAGES:
                raise UserError(
                    f"--trajectory shows {animation.MOST_IMAGES} images at the most, and "
                    f"{at_once:,} are drawn at once: lower --batch-size"
                )
        if options.preview_every:
            self.preview = Preview(output.parent, options.preview_every)
        if not first:
            self.preview = self.files = None

    def refuse(self):
        """UserError if files exist that may not be replaced."""
        if self.files:
            self.files.refuse(self.files.check([{"index": 0}]))
        if self.preview:
            self.preview.refuse()

    def begin(self, count, size, steps, noised=True):
        """A batch of `count` images of `size` (width, height) begins.

        Args:
            steps: that it will be seen to take, about.
            noised: whether the x seen hold the noise of their timesteps, for which they are scaled.
        """
        self.trajectory, self.noised = None, noised
        if not self.files:
            return
        replaces = self.files.policy is outputs.Policy.OVERWRITE
        if replaces or not self.files.exists({"index": 0}):
            strip = is_strip(self.target.path)
            self.trajectory = animation.Trajectory(count, size, steps, strip)

    def wants(self, number):
        """Whether a step of the batch, counted from 0, is shown; None: what it has come to."""
        return any(self._wanting(number))

    def show(self, number, t, x, pred):
        """Shows a step that is wanted: x, made visible, and pred at timestep t, PIL images each."""
        for_trajectory, for_preview = self._wanting(number)
        if for_trajectory:
            self.trajectory.add(t, x, pred)
        if for_preview:
            picture = self.preview.show(x if self.shows_x else pred)
            if self.screen and number is not None:  # what it has come to is shown once it is saved
                self.screen(picture)
        if number is None and self.trajectory:
            self.finished, self.trajectory, self.files = self.trajectory, None, None

    def _wanting(self, number):
        trajectory, preview = self.trajectory, self.preview
        if number is None:
            return bool(trajectory), bool(preview)
        return bool(trajectory and trajectory.wants(number)), bool(
            preview and preview.wants(number)
        )

    def save(self):
        """Writes the trajectory once it is complete; its Path, or None where there is none."""
        finished, self.finished = self.finished, None
        if not finished:
            return None

        def write(path, number, overwrite):
            animation.save(finished, path, self.fps, overwrite)

        return outputs.place(write, self.target)
