"""What a run is to draw and where it all goes, settled and checked before torch is imported."""

import sys
import time

from cli import outputs
from cli.errors import UserError, printable
from cli.wildcards import Wildcards
from runner import results, watching, workers
from runner.batches import batches, items
from runner.run import Batch, PartialFailure
from runner.run_grid import RunGrid
from runner.ways import open_photo


class Plan:
    """The plan of a run, for one of the processes that share it.

    Args:
        jobs: a `cli.jobs.Jobs`.
    Attributes:
        args: the run's.
        worker: what this process is in the run.
        files: the `outputs.Outputs` of the images.
        found: what is at their names, as `outputs.Found`.
        watch, grid, page: what else is made of them; grid and page may be None.
    Raises:
        UserError: for flags that do not go together, and whatever cannot be read or written.
    """

    def __init__(self, jobs):
        self.jobs, self.args, jobs.check = jobs, jobs.args, look_at
        args, self.began_at = self.args, time.time()
        self.worker = worker = workers.find(args.shard)
        self.files = outputs.Outputs(args.output, args.policy)
        self._refuse_flags()
        if args.results:
            results.check(args.results)
        self.grid = self.page = None
        if args.grid or (jobs.sweep and not args.shard):
            self.grid = RunGrid(args, jobs)
        own = worker.own(self.batches())
        self.found = self.files.check(item.fields for batch in own for item in batch)
        # Of a shared run, whatever is there was drawn by one of its processes.
        self.skips = self.files.policy is outputs.Policy.SKIP or worker.shared
        if args.gallery:
            from runner.run_gallery import RunGallery

            page = None if args.gallery is True else args.gallery
            self.page = RunGallery(page, self.files.template, args.overwrite)
        first = self.files.template.path(next((item.fields for item in items(jobs)), {}))
        leads = worker.rank == 0 and (args.shard or (1,))[0] == 1
        at_once = min(args.batch_size, self.found.images)
        self.watch = watching.Watch(args, first, at_once, leads)
        if not worker.shared:
            self.refuse()
        if not (self.found.images or args.dry_run) and args.from_file:
            raise UserError(f"{printable(args.from_file, 200)}: holds no jobs that can be drawn")

    def _refuse_flags(self):
        args, worker = self.args, self.worker
        if worker.size > 1 and self.files.policy is outputs.Policy.NUMBER:
            raise UserError(
                "several processes share this run: name its files with --output, for example "
                "'runs/{line:06}_{seed:06}.png'"
            )
        if worker.shared and args.from_file == "-":
            raise UserError(
                "--from-file -: several processes cannot share standard input: give a file"
            )
        if args.grid and args.shard:
            raise UserError(
                "--grid: a share of the images makes no grid: make_grid.py makes one later"
            )
        if args.gallery and args.shard:
            raise UserError(
                "--gallery: a share of the images is not all: use make_gallery.py later"
            )

    def refuse(self):
        """UserError if files exist that may not be replaced."""
        self.files.refuse(self.found)
        self.watch.refuse()
        if self.grid:
            self.grid.refuse()

    def start(self):
        """Waits for processes that share the run; from here on files of its own may be there."""
        self.worker.start(self.refuse)
        if self.worker.shared and self.files.policy is not outputs.Policy.OVERWRITE:
            self.files.policy = outputs.Policy.SKIP

    @property
    def is_drawn(self):
        """Whether there is nothing left to draw."""
        skips = self.args.policy is outputs.Policy.SKIP
        return skips and self.found.existing == self.found.images

    @property
    def total(self):
        """How many images are to be drawn, by all processes."""
        return self.found.images - (self.found.existing if self.skips else 0)

    def batches(self):
        """The batches of all processes, as lists of items."""
        return batches(items(self.jobs), self.args.batch_size)

    def missing(self, batch):
        """The places of those of a batch's items that are not drawn yet."""
        places = range(len(batch))
        return [i for i in places if not (self.skips and self.files.exists(batch[i].fields))]

    def to_draw(self):
        """The `run.Batch`es that this process is to draw, as it comes to take them."""
        worker, records = self.worker, self.args.results if self.skips else None
        recorded = results.files_in(records) if records else set()
        for batch in worker.take(self.batches, lambda b: worker.gave_up(b) or not self.missing(b)):
            wanted = self.missing(batch)
            for i, item in enumerate(batch) if records else ():
                file = self.files.target(item.fields).path
                lacks = i not in wanted and str(file) not in recorded
                if lacks and file.stat().st_mtime < self.began_at:
                    # Its file was finished, and then there was no time for the line.
                    results.append(records, results.line_of(file, item))
            if wanted:
                yield Batch(batch, wanted)

    def tell(self):
        """Says what this process would do (`--dry-run`): a line for each image on stdout."""
        if self.worker.rank:
            return
        for number, batch in enumerate(self.worker.own(self.batches())):
            for item in batch:
                there = " (exists)" if self.files.exists(item.fields) else ""
                name = self.files.target(item.fields).path or self.files.template.path(item.fields)
                prompts = "  ".join(printable(f"{p.text}:{p.weight:g}", 90) for p in item.prompts)
                print(f"{number}\t{printable(name, 500)}\t{item.seed}\t{prompts}{there}")
        who = "this process"
        if self.worker.shared:
            who = f"{self.worker.size} processes, each batch by the first that is free"
        print(
            f"{self.found.images:,} images, {self.found.existing:,} of them there already, by "
            f"{who}; nothing is drawn",
            file=sys.stderr,
        )

    def finish(self):
        """What is left to do when all images are there; PartialFailure if some cannot be."""
        if self.worker.rank:
            return
        path = self.grid and self.grid.save(self.files)
        if path:
            print(printable(path, 1000), flush=True)
        path = self.page and self.page.save()
        if path and not self.args.json:
            print(printable(path, 1000), flush=True)
        counts = {"images": self.worker.left_out, "lines of the job file": len(self.jobs.bad)}
        left_out = [f"{count} {what}" for what, count in counts.items() if count]
        if left_out:
            raise PartialFailure(f"finished, but {' and '.join(left_out)} were left out")


def look_at(args):
    """UserError for whatever a job names that is missing or damaged: before torch is imported."""
    for source in [args.init, *(prompt.text for prompt in args.images)]:
        if source:
            open_photo(source)
    if args.makes_choices:
        Wildcards(args.wildcards).check([prompt.text for prompt in args.prompts])
