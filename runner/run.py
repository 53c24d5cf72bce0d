"""A run: the network, the batches that are drawn with it, and what becomes of them.

run = Run(Plan(Jobs(CFG)))
for batch in run.batches():
    with batch:
        ...
        run.save(batch, images)
"""

import functools
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import torch

import diffusion
import models
from cli.scripts import CLIP, RESTORE
from jobs.jobs import said_of
from media.saving import publish
from media.tensors import to_image, to_tensor
from models import checkpoints, networks
from models.unet import recompute_gradients
from runner import memory, precision, results, threads
from runner.batch import Batch
from runner.conditions import Reader
from runner.device import compiled, pick_device, pick_dtype
from runner.exit import finished_images_are_kept
from runner.facts import Facts
from runner.masks import mask_of
from runner.progress import Progress
from runner.start import photos, start
from values.errors import counted, note, prefix, printable, say


class Run:
    """A run, for one of the processes that share it.

    Args:
        plan: a `runner.plan.Plan`.
    Attributes:
        options: the RunOptions.
        device, dtype: what the network computes on, and in.
        facts: what recipes say, `runner.facts.Facts`.
    Raises:
        UserError: for a device that is not there.
        CheckpointError: if the network has no usable weights.
    """

    def __init__(self, plan):
        self.plan, self.options = plan, plan.options
        plan.start()
        options = self.options
        threads.settle(options.threads)
        self.device = pick_device(options.device, plan.worker.local_rank)
        self.dtype = pick_dtype(
            options.dtype, self.device, options.low_memory, self.needs_gradients
        )
        if plan.worker.rank == 0 and not self.needs_gradients:
            precision.hint(options.dtype, self.device, self.dtype, options.network)
        self.checkpoint = checkpoints.find(
            options.network, options.checkpoint, options.mirror, progress=not options.quiet
        )
        if options.checkpoint:  # before a CLIP is sought, and perhaps downloaded
            networks.check(options.network.name, self.checkpoint)
        if options.guide:
            networks.check(options.network.name, options.guide)
        self.facts = Facts(options, self.checkpoint, self.device, self.dtype)
        self._told = set()  # what was said of lines of a job file
        if options.verbose and plan.jobs.all:
            first = plan.jobs.all[0].image
            note(
                f"{options.network.name} in {self.dtype} on {self.device}, from {self.checkpoint}; "
                f"{first.steps} steps of {first.method}, schedule {first.schedule}, "
                f"{first.size[0]} x {first.size[1]} pixels"
            )
        if any(options.expected.values()):
            self.facts.note_other_files(plan.jobs.all[0].image)

    @property
    def needs_gradients(self):
        """Whether something is to be differentiated; a line may steer where the others do not."""
        jobs = self.plan.jobs
        if jobs.streams:
            return self.options.script in (CLIP, RESTORE)
        return any(job.image.differentiates or job.image.unpacked for job in jobs.all)

    @property
    def _unpacked_for_others(self):
        """Whether the weights, packed otherwise, are not for the sake of images with gradients."""
        on_cpu = self.device.type == "cpu"
        return self.needs_gradients and on_cpu and not self.options.compile

    @property
    def keeps_going(self):
        """Whether an image that cannot be drawn is left out."""
        return self.options.keep_going or self.options.interactive

    @functools.cached_property
    def network(self):
        """The network, loaded; what it frees is kept for it once it has been called."""
        memory.give_back_freed_memory()  # what a CLIP has left
        net, name = self._loaded(self.checkpoint), self.options.network.name
        if self.dtype == torch.int8 and self.plan.worker.rank == 0:
            precision.tell(name, self.checkpoint, self.facts.model_sha256, net)
        if self.options.compile:
            memory.keep_freed_memory()
            return compiled(net)

        def keep(*_):
            memory.give_back_freed_memory()
            memory.keep_freed_memory()
            hook.remove()

        # Not before: what loading and packing frees is no size that an activation asks for.
        hook = net.register_forward_hook(keep)
        return net

    @functools.cached_property
    def guide(self):
        """The weaker network that guides, loaded like `network`; None: there is none."""
        if not self.options.guide:
            return None
        net = self._loaded(self.options.guide)
        return compiled(net) if self.options.compile else net

    def _loaded(self, checkpoint):
        """The network with the weights of a file, fast or with gradients."""
        options, differentiated = self.options, self.needs_gradients
        packed = not (options.compile or differentiated)
        where = (self.device, self.dtype, packed, options.low_memory)
        net = models.load(options.network.name, checkpoint, *where)
        if options.low_memory and differentiated:
            recompute_gradients(net)
        return net

    @functools.cached_property
    def reader(self):
        """The Reader of the network's own CLIP."""
        options, row = self.options, self.options.network
        cached = not options.no_embedding_cache
        return Reader(row.clip, options.clip_checkpoint, row.architecture.clip_dim, cached)

    def embed(self, asked):
        """The embeddings of lists of (text prompts, image prompts): a list of tensors [K, D]."""
        if self.options.network.clip is None:
            return [None] * len(asked)
        embeds = self.reader.embed(asked)
        if not self.texts_follow:
            self.reader.forget_clip()
        return embeds

    @property
    def texts_follow(self):
        """Whether later batches may have other texts than the first."""
        jobs, names = self.plan.jobs, {"images", "source", "region"}
        swept = any(name in names for name, _ in jobs.sweep)
        more = bool(self.options.from_file) or jobs.streams or swept
        return more or any(job.image.makes_choices or job.image.frame for job in jobs.all)

    def prepared(self, model, batch):
        """A model as this run samples it: in float64 where the method wants that, and counted."""
        if diffusion.METHODS[batch.image.method].reversible:
            model = diffusion.in_doubles(model, self.device)

        def evaluated(x, t):
            batch.evaluations += len(x)
            return model(x, t)

        return evaluated

    def start(self, batch):
        """Where the images of a batch start, as `runner.start.Start`."""
        return start(batch.items, batch.noise(), self.device)

    def photos(self, batch):
        """The photos of a batch [N, 3, H, W] in [-1, 1]."""
        return photos(batch.items, self.device).repeat(batch.rows, 1, 1, 1)

    def mask(self, batch):
        """Where the photos of a batch may change: 1, or 0 where they stay [1, H, W]; or None."""
        mask = mask_of(batch.image)
        return None if mask is None else (to_tensor(mask)[:1] / 2 + 0.5).to(self.photos(batch))

    def ascending(self, image, end):
        """The ascending timesteps from an image, of these ImageOptions, to its latent at `end`."""
        row = self.options.network
        return diffusion.ascending(image.schedule, image.steps, end, row.min_t, row.max_t)

    def batches(self):
        """The Batches that this process is to draw, under a progress bar on stderr.

        Images are saved while the next batch is drawn; those of a stream before it is asked for
        more. A batch in which something failed is drawn again image by image where the run is to
        keep going.
        """
        plan, streams = self.plan, self.plan.jobs.streams
        if plan.watch.preview:
            finished_images_are_kept()  # and pictures of them
        if self.options.interactive:
            self._load()
        leads = plan.worker.rank == 0 and not self.options.quiet
        self.progress = Progress(plan.total, self.options.network.name, leads, plan.pictures)
        if plan.pictures:
            plan.watch.screen = self.progress.preview
        self._saved, self._done = None, 0
        plan.worker.meanwhile = functools.partial(self.show, 0)
        try:
            with ThreadPoolExecutor(1) as self._saver:
                for items, wanted in plan.to_draw():
                    self._begin(items, wanted)
                    batch = Batch(self, items, wanted)
                    yield batch
                    self._submit(batch)
                    if batch.error:
                        yield from self._one_by_one(batch)
                    self._done += len(wanted)
                    if streams:
                        self._wait()
                        self.progress.end()
                self._wait()
        finally:
            self.progress.end()
        plan.finish()

    def _load(self):
        """Loads what the first image needs, so that nobody who has typed a prompt waits for it."""
        if self.options.network.clip:
            self.reader.clip  # noqa: B018
        self.network  # noqa: B018

    def _begin(self, items, wanted):
        """Says which images are drawn next, and of which lines of a job file they are."""
        first, last, total = self._done + 1, self._done + len(wanted), self.plan.total
        which = f"image {last}" if first == last else f"images {first}-{last}"
        if self.plan.worker.size > 1:
            which = counted(total, "image")
        elif total is not None:
            which += f" of {total}"
        self.progress.begin(which, len(wanted))
        if self.options.quiet:
            return
        for job in [items[i].job for i in wanted]:
            told = [f"line {job.line}: {said_of(job)}"] if self.options.from_file else []
            if self.plan.jobs.streams:  # of others this was said before
                told += [f"note: {remark}" for remark in self.plan.remarks([job])]
            for line in told:
                if line not in self._told:
                    self._told.add(line)
                    self.progress.say(f"{prefix()}{line}", sys.stderr)

    def _one_by_one(self, batch):
        """Batches of one: an image may have spoilt it for all."""
        for i in batch.wanted:
            alone = Batch(self, [batch.items[i]], [0])
            yield alone
            self._submit(alone)
            if alone.error:
                item = batch.items[i]
                where = f"line {item.job.line}, " if item.job.line else ""
                say(f"left out: {where}seed {item.seed}: {alone.error}")
                self.plan.worker.give_up(batch.items)

    def show(self, images, *steps):
        """Shows the progress within the batch that is drawn.

        Args:
            images: how many of its images that is, a fraction too.
            steps: the number of the step that is done, from 1, and how many there are.
        """
        if self.plan.total is not None:
            images += self.plan.worker.finished(self._done)
        self.progress.show(images, *steps)

    def say(self, line, file=None, picture=None):
        """A line on stdout, or on another file, beside the progress bar; and a PIL image below."""
        self.progress.say(line, file, picture)

    def save(self, batch, images):
        """Saves the images of a batch [N, 3, H, W] as PNGs, while the next batch is drawn."""
        drawn = images[batch.visible_rows].float().cpu()
        batch.watch_end(drawn)
        self.finish(batch, functools.partial(self._publish, batch, drawn))

    def finish(self, batch, save):
        """Has the saving of a batch done in the background; save: a function () that does it."""
        batch.seconds = (time.perf_counter() - batch.began) / len(batch.items)
        batch.pending = save

    def _submit(self, batch):
        # Not within the batch's own `with`: a fault in saving the one before is none of its own.
        self._wait()
        if batch.pending:
            finished_images_are_kept()
            self._saved = self._saver.submit(self._finish, batch)

    def _wait(self):
        """Waits for the batch that is being saved, of which there is one at a time."""
        saved, self._saved = self._saved, None
        if saved:
            saved.result()  # raises what went wrong

    def _finish(self, batch):
        save, batch.pending = batch.pending, None  # it holds the images, and the batch itself
        save()
        films = self.plan.films
        for path in films.save([batch.items[i] for i in batch.wanted]) if films else ():
            if not self.options.json:
                self.say(printable(path, 1000))
        trajectory = self.plan.watch.save()
        if trajectory and not self.options.json:
            self.say(printable(trajectory, 1000))
        self.plan.worker.report(len(batch.wanted))

    def _publish(self, batch, drawn):
        options, plan = self.options, self.plan
        for i in batch.wanted:
            item, recipe = batch.items[i], None
            if not options.no_metadata:
                place = item.image.batch or [len(batch.items), i]
                recipe = {**self.facts.recipe(item), "batch": place}
                if self._unpacked_for_others and not item.image.differentiates:
                    recipe["unpacked"] = True
            picture = to_image(drawn[i])
            path = publish(picture, plan.files.target(item.fields), recipe)
            if path is None:
                continue  # another process was quicker
            if plan.grid:
                plan.grid.paths[item.index] = path
            self.tell(path, item, batch, picture=picture)

    def tell(self, path, item, batch, more=None, picture=None):
        """Says that an image is finished, on stdout and in the file of results.

        Args:
            more: what its line of JSON says beyond `results.line_of`.
            picture: what `--show` shows of it.
        """
        evaluations = round(batch.evaluations / (len(batch.items) * batch.rows), 1)
        line = {**results.line_of(path, item, batch.seconds, evaluations), **(more or {})}
        if self.options.results:
            results.append(self.options.results, line)
        if self.options.verbose:
            self.say(
                f"{printable(path, 1000)}: seed {item.seed}, {batch.seconds:.2f} s, "
                f"{evaluations:g} evaluations",
                sys.stderr,
            )
        text = results.as_text(line) if self.options.json else printable(path, 1000)
        self.say(text, picture=picture)
