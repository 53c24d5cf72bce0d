"""All images of a run on one picture (`--grid`), labelled with what `--sweep` varies."""

from jobs import outputs
from jobs.jobs import items
from media import grids, images, saving
from values.errors import UserError, printable
from values.extents import number
from values.names import Template

SWEPT = Template("sweep_{index:05}.png")  # the name where none is given
MOST = 10_000  # images, of which each has a pixel at least


class RunGrid:
    """The grid of a run, laid out and checked before any work.

    Args:
        jobs: a `jobs.jobs.Jobs`.
    Raises:
        UserError: for a grid that would be too large, or whose file exists.
    """

    def __init__(self, jobs):
        options = jobs.run
        self.paths = {}  # of finished images, by their index in the run
        policy = options.policy if options.grid else outputs.Policy.NUMBER
        self.files = outputs.Outputs(options.grid or SWEPT, policy)
        self.refuse = lambda: self.files.refuse(self.files.check([{"index": 0}]))
        names, found = [name for name, _ in jobs.sweep], []
        for item in items(jobs):
            if len(found) == MOST:
                raise UserError(f"--grid: more than {MOST:,} images do not fit on one picture")
            found.append(item)
        if not found:
            raise UserError("--grid: there are no images for it")
        across = names[-1] if names else None
        columns = len(jobs.sweep[-1][1]) if names else None
        if names:  # row by row: what is swept last goes across, all else down
            found.sort(key=lambda item: (item.job.line, item.job.row, item.number))
        self.order = [item.index for item in found]
        self.layout = grids.layout(
            len(found),
            tuple(max(item.image.size[i] for item in found) for i in range(2)),
            columns,
            column_titles=[_said(across, value) for value, _ in jobs.sweep[-1][1]] if names else (),
            row_titles=_row_titles(found[::columns], names[:-1]) if names else (),
            fit="contain",
        )
        self.missing = {item.index: item for item in found}

    def save(self, files):
        """Puts the images together; those that this process has not made are found by their names.

        Returns:
            the Path of the grid, or None if it is there already.
        """
        canvas = grids.blank(self.layout)
        for place, index in enumerate(self.order):
            path = self.paths.get(index) or files.target(self.missing[index].fields).path
            if path and path.exists():  # one that was left out leaves a gap
                grids.paste(canvas, self.layout, place, images.open_image(path))
        return saving.publish(canvas, self.files.target({"index": 0}))


def _row_titles(firsts, names):
    several = {
        "line": len({item.job.line for item in firsts}) > 1,
        "seed": len({item.seed for item in firsts}) > 1,
    }
    titles = []
    for item in firsts:
        words = [_said(name, item.job.swept[name]) for name in names]
        if several["line"]:
            words.insert(0, item.fields["prompt"] or f"line {item.job.line}")
        if several["seed"]:
            words.append(f"seed {item.seed}")
        titles.append("\n".join(printable(word, 200) for word in words))
    return titles if any(titles) else ()


def _said(name, value):
    if isinstance(value, int | float):
        return f"{name} {number(value)}"
    return f"{name} {' '.join(value) if isinstance(value, list) else value}"
