"""What a run is to draw and where it all goes, checked before torch is imported."""

import itertools
import math
import os
import sys
import time
from dataclasses import replace

from cli.options import options_of
from cli.scripts import DRAWING, MODIFY, REVERSE
from diffusion.methods import NEGLIGIBLE, WHOLE
from jobs import remarks
from jobs.job_stream import HELP, is_stream
from jobs.jobs import Numbers, batches, items, items_of_line
from jobs.outputs import Outputs, Policy, check_length
from media import terminal
from runner import dry_run, films, results, workers
from runner.exit import PartialFailure
from runner.photos import look_at, photos_told
from runner.run_gallery import RunGallery
from runner.run_grid import RunGrid
from runner.watch import Watch
from values.errors import UserError, counted, note, printable, say
from values.names import DEFAULT_TEMPLATE, LATENT_TEMPLATE
from values.sums import describe, totals
from values.types import DrawnSeed


class Plan:
    """The plan of a run, for one of the processes that share it.

    Args:
        jobs: the `jobs.jobs.Jobs`.
    Attributes:
        options: the RunOptions.
        worker: what this process is in the run.
        files: the `jobs.outputs.Outputs` of the images.
        found: what is at their names, as `jobs.outputs.Found`.
        watch, grid, page, films: previews, the grid, the gallery and animations; None where not
            asked for, but for `watch`.
    Raises:
        UserError: for options that do not go together, and whatever cannot be read or written.
        SystemExit: after --dry-run, and where all files exist.
    """

    def __init__(self, jobs):
        self.began_at = time.time()
        self.jobs, self.options = jobs, jobs.run
        options, animated = jobs.run, jobs.script in DRAWING and films.are_wanted(jobs)
        jobs.check(lambda image: look_at(options, image, animated))
        self.worker = worker = workers.find(options.shard)
        self.files, self.films = self._named_files(animated)
        self._refuse_options()
        if options.results:
            results.check(options.results)
        self.grid = self._wanted_grid()
        # In a shared run another process has drawn a file that exists.
        self.skips = self.files.policy is Policy.SKIP or worker.shared
        self.found = self._find(() if jobs.streams else worker.own(self.batches()))
        self.page = self._wanted_page()
        self.watch = self._wanted_watch(animated)
        self._others = self._named_others()
        for batch in worker.own(self.batches()) if self._others and not jobs.streams else ():
            for item in batch:
                self._refuse_other(item)
        if not worker.shared:
            self.refuse()
        self._incoming = ()  # the images of a stream
        self._refuse_no_jobs()
        leads = worker.rank == 0
        if options.dry_run:
            if leads:
                self._introduce()
            dry_run.tell(self)
            raise SystemExit(0)
        if self._is_drawn():
            if leads:
                note("nothing to draw: all files exist")
            self.finish()
            raise SystemExit(0)
        # Before anybody types ahead: keys that are pressed while the terminal is asked are lost.
        self.pictures = terminal.Pictures() if self.shows_pictures else None
        if leads:
            self._introduce()

    def _named_files(self, animated):
        """(the Outputs of the images, the Films that they are frames of, or None)."""
        options, script = self.options, self.jobs.script
        usual = LATENT_TEMPLATE if script is REVERSE else DEFAULT_TEMPLATE
        template = options.output or options_of(script)["output"].type(usual)
        named = options.output and not options.output.goes_on
        policy = options.policy or (Policy.REFUSE if named else Policy.NUMBER)
        if not animated:
            return Outputs(template, policy), None
        made = films.Films(self.jobs, policy)
        return made.frames, made

    def _wanted_grid(self):
        options, jobs = self.options, self.jobs
        moves = any(job.image.frame for job in jobs.all)
        if moves and options.grid and jobs.sweep:
            raise UserError("--grid of a sweep shows images, not animations: leave out one of them")
        swept = jobs.sweep and not options.shard and jobs.script is not REVERSE
        return RunGrid(jobs) if options.grid or (swept and not moves) else None

    def _wanted_page(self):
        options = self.options
        if not options.gallery:
            return None
        page = None if options.gallery is True else options.gallery
        return RunGallery(page, self.files.template, options.overwrite)

    def _wanted_watch(self, animated):
        options, jobs = self.options, self.jobs
        known = () if jobs.streams else items(jobs)
        first = self.files.template.path(next((item.fields for item in known), {}))
        leads = self.worker.rank == 0 and (options.shard or (1,))[0] == 1
        at_once = options.batch_size
        if not jobs.streams:
            at_once = min(at_once, self.found.images)
        return Watch(
            options, first, at_once, leads, shows_x=jobs.script is REVERSE, animated=animated
        )

    def _named_others(self):
        """The flags of the files that the run writes beside its images, by their paths."""
        watch, found = self.watch, {}
        named = {
            "--trajectory": watch.files and watch.target.path,
            "--preview-every": watch.preview and watch.preview.path,
            "--grid": self.grid and self.grid.files.target({"index": 0}).path,
            "--gallery": self.page and self.page.output,
            "--results": self.options.results,
        }
        for flag, path in named.items():
            if path:
                other = found.setdefault(os.path.abspath(path), flag)
                if other != flag:
                    raise _one_name(other, flag, path)
        return found

    def _refuse_other(self, item):
        """UserError where an image, or its animation, would have the name of another file."""
        outputs = self.films.files if self.films else self.files
        path = outputs.template.path(item.fields)
        if flag := self._others.get(os.path.abspath(path)):
            raise _one_name(flag, "the output", path)

    def _refuse_no_jobs(self):
        """UserError for a job file without jobs; of a stream, the first one is waited for."""
        options = self.options
        if self.jobs.streams:
            if not options.interactive:
                self._incoming = self._wait_for_the_first(self._checked(items(self.jobs)))
        elif not (self.found.images or options.dry_run) and options.from_file:
            raise self._no_jobs()

    def _find(self, batches):
        """What is Found at the names of the images of some batches."""
        in_films = 0  # frames of animations that are finished

        def names():
            nonlocal in_films
            for item in itertools.chain.from_iterable(batches):
                if self.films and self.films.is_there(item):
                    in_films += 1
                else:
                    yield item.fields

        found = self.files.check(names())
        return found._replace(images=found.images + in_films, existing=found.existing + in_films)

    def _wait_for_the_first(self, images):
        """The images of a stream once its first is there, so that a mistake in it ends the run."""
        first = next(images, None)
        if first is None:
            raise self.jobs.failure or self._no_jobs()
        return itertools.chain([first], images)

    def _no_jobs(self):
        shown = printable(self.options.from_file, 200)
        return UserError(f"{shown}: holds no jobs that can be drawn")

    def _checked(self, images):
        """The images of a stream whose files can be written, until one cannot."""
        for item in images:
            try:
                self._refuse_other(item)
                if self.films:
                    if not item.image.frame.number:
                        self.films.files.check_next(item.fields)
                    if self.films.is_there(item):
                        continue
                self.files.check_next(item.fields)
                if self.options.script is REVERSE and self.files.policy is not Policy.NUMBER:
                    self._refuse_beside(self.files.target(item.fields).path)
            except UserError as error:
                if not self.options.interactive:
                    self.jobs.failure = error
                    return
                say(f"error: {error}")
            else:
                yield item

    @property
    def shows_pictures(self):
        """Whether pictures are to be shown and stdout is a terminal."""
        return bool(self.options.show) and sys.stdout.isatty()

    def _refuse_options(self):
        options, worker = self.options, self.worker
        if options.show and worker.shared:
            raise UserError("--show: several processes would draw over each other: leave it out")
        if self.shows_pictures:
            terminal.check()
        if worker.size > 1 and self.files.policy is Policy.NUMBER:
            raise UserError(
                "several processes share this run: name its files with --output, for example "
                f"'runs/{{line:06}}_{{seed:06}}{self.files.template.ending}'"
            )
        if worker.shared and (
            options.interactive or (options.from_file and is_stream(options.from_file))
        ):
            flag = "--interactive" if options.interactive else f"--from-file {options.from_file}"
            raise UserError(
                f"{printable(flag, 200)}: several processes cannot share an input: give a file"
            )
        drawn = any(isinstance(job.image.seed, DrawnSeed) for job in self.jobs.all)
        if drawn and (worker.shared or options.shard):
            raise UserError("--seed random: processes that share a run need one seed: give it")
        if options.grid and options.shard:
            raise UserError(
                "--grid: a share of the images makes no grid: make_grid.py makes one later"
            )
        if options.gallery and options.shard:
            raise UserError(
                "--gallery: a share of the images is not all: use make_gallery.py later"
            )

    def refuse(self):
        """UserError if files exist that may not be replaced; a stream's are looked for later."""
        self.watch.refuse()
        if self.jobs.streams:
            return
        if self.films:
            self.films.files.refuse(self.films.check())
        self.files.refuse(self.found)
        if self.grid:
            self.grid.refuse()
        if self.options.script is REVERSE and self.files.policy is not Policy.NUMBER:
            for batch in self.worker.own(self.batches()):
                for item in batch:
                    self._refuse_beside(self.files.target(item.fields).path)

    def _refuse_beside(self, path):
        for name in beside(self.options, path).values():
            check_length(name)
            skips = self.skips and path.exists()
            if name.exists() and not (self.options.overwrite or skips):
                raise UserError(f"{printable(name, 200)} already exists: remove it or --overwrite")

    def start(self):
        """Waits for processes that share the run; existing files may be its own from here on."""
        self.worker.start(self.refuse)
        if self.worker.size > 1 and self.files.policy is not Policy.OVERWRITE:
            self.files.policy = Policy.SKIP
            if self.films:
                self.films.files.policy = Policy.SKIP

    def _is_drawn(self):
        """Whether there is nothing left to draw."""
        skips = self.options.policy is Policy.SKIP and not self.jobs.streams
        return skips and self.found.existing == self.found.images

    @property
    def total(self):
        """How many images are to be drawn, by all processes; None: a stream does not say."""
        if self.jobs.streams:
            return None
        return self.found.images - (self.found.existing if self.skips else 0)

    def batches(self):
        """The batches of all processes, as lists of items; those of a stream can be taken once."""
        size, script = self.options.batch_size, self.options.script
        if not self.options.interactive:
            images = self._incoming if self.jobs.streams else items(self.jobs)
            yield from batches(images, size, script)
            return
        numbers = Numbers()
        for line in self.jobs.lines():  # whoever typed it waits for it alone
            images = self._checked(items_of_line(self.jobs, line, numbers))
            yield from batches(images, size, script)

    def missing(self, batch):
        """The places of those of a batch's items that are not drawn yet."""
        places = range(len(batch))
        return [i for i in places if not (self.skips and self._is_there(batch[i]))]

    def _is_there(self, item):
        return self.files.exists(item.fields) or bool(self.films and self.films.is_there(item))

    def to_draw(self):
        """(batch, places of those wanted) of what this process is to draw, as it takes them.

        The others exist; they are drawn again but not saved, since rounding depends on the shape of
        a batch.
        """
        worker, records = self.worker, self.options.results if self.skips else None
        recorded = results.files_in(records) if records else set()
        for batch in worker.take(self.batches, lambda b: worker.gave_up(b) or not self.missing(b)):
            wanted = self.missing(batch)
            for i, item in enumerate(batch) if records else ():
                file = self.files.target(item.fields).path
                lacks = i not in wanted and str(file) not in recorded
                if lacks and file.exists() and file.stat().st_mtime < self.began_at:
                    # The process was stopped between the file and its line.
                    results.append(records, results.line_of(file, item))
            if wanted:
                yield batch, wanted

    def remarks(self, jobs):
        """What is good to know of jobs before they are drawn, as lines."""
        return [*remarks.of_images(self.options, [j.image for j in jobs]), *photos_told(jobs)]

    def _introduce(self):
        """Prints remarks on the jobs and, of a single one, the weights of its prompts."""
        options = self.options
        if options.show and not self.shows_pictures:
            note("--show: stdout is no terminal, so no pictures are shown")
        for remark in self.remarks(self.jobs.all):
            note(f"note: {remark}")
        if options.interactive:
            say(HELP)
        if options.from_file or options.interactive:
            return
        image, script = self.jobs.all[0].image, options.script
        if image.frame:
            note(f"{counted(image.frame.count, 'frame')}, {image.frame.words}; the first:")
        given = image.asks or image.latent or options.from_png
        if script in DRAWING and not given and options.network.clip:
            note("no prompt: what is drawn is up to the model (- reads one from standard input)")
        if script.guides_any:
            total = abs(math.fsum(prompt.weight for prompt in image.conditions))
            lines = describe([replace(p, weight=p.weight / total) for p in image.conditions])
            for line in lines:
                note(line)
            return
        sides = {"": image.conditions}
        if script is MODIFY:
            sides = {"from": image.source, "to": image.conditions}
        if not options.network.clip or not any(sides.values()):
            return
        interval = WHOLE if self.jobs.sweep else image.guidance_interval or WHOLE
        for title, asked in sides.items():
            rest = None if options.network.takes_weight else 1 - totals(asked)[0][1]
            against = "guide" if options.guide and totals(asked)[0][1] > NEGLIGIBLE else "no prompt"
            lines = describe(asked, rest, interval, against) if asked else ["  no prompt"]
            for line in [*([title] if title else []), *lines]:
                note(line)

    def finish(self):
        """What is left to do when all images are there; PartialFailure if some cannot be."""
        if self.worker.rank:
            return
        rest = self.films.save_rest() if self.films and not self.jobs.streams else ()
        for path in rest:
            if not self.options.json:
                print(printable(path, 1000), flush=True)
        path = self.grid and self.grid.save(self.files)
        if path and not self.options.json:
            print(printable(path, 1000), flush=True)
        path = self.page and self.page.save()
        if path and not self.options.json:
            print(printable(path, 1000), flush=True)
        if self.jobs.failure:
            raise self.jobs.failure
        counts = {"image": self.worker.left_out, "line": len(self.jobs.bad)}
        left_out = [counted(count, what) for what, count in counts.items() if count]
        if left_out and not self.options.interactive:  # whoever typed it was told
            were = "was" if sum(counts.values()) == 1 else "were"
            of = " of the job file" if self.jobs.bad else ""
            raise PartialFailure(f"finished, but {' and '.join(left_out)}{of} {were} left out")


def _one_name(flag, other, path):
    return UserError(f"{flag} and {other} would both be {printable(path, 200)}: rename one")


def beside(options, path):
    """The pictures that reverse_sample.py saves beside a latent, by kind."""
    kinds = {"preview": options.preview, "round_trip": options.round_trip}
    return {kind: path.with_suffix(f".{kind}.png") for kind, wanted in kinds.items() if wanted}
