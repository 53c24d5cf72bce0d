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
from tqdm import tqdm

import diffusion
import models
from cli import recipe as recipes
from cli.scripts import CFG, CLIP
from media.images import publish
from media.tensors import to_image, to_tensor
from models import checkpoints, networks
from models.unet import recompute_gradients
from runner import memory, precision, results
from runner.batch import Batch
from runner.conditions import Reader
from runner.device import compiled, pick_device, pick_dtype
from runner.exit import finished_images_are_kept
from runner.masks import mask_of
from runner.start import photos, start
from values.errors import note, printable

SOFTWARE = "v-diffusion 1.0"


class Run:
    """A run, for one of the processes that share it.

    Args:
        plan: a `runner.plan.Plan`.
    Attributes:
        options: the RunOptions.
        device, dtype: what the network computes on, and in.
    Raises:
        UserError: for a device that is not there.
        CheckpointError: if the network has no usable weights.
    """

    def __init__(self, plan):
        self.plan, self.options = plan, plan.options
        plan.start()
        options = self.options
        self.device = pick_device(options.device, plan.worker.local_rank)
        self.dtype = pick_dtype(options.dtype, self.device)
        if plan.worker.rank == 0 and not self.needs_gradients:
            precision.hint(options.dtype, self.device, self.dtype, options.network)
        self.checkpoint = checkpoints.find(options.network, options.checkpoint, options.mirror)
        if options.checkpoint:  # before a CLIP is sought, and perhaps downloaded
            networks.check(options.network.name, self.checkpoint)
        # Of a new file of 2.4 GB this takes two seconds, in which libraries are loaded.
        self._sha256 = ThreadPoolExecutor(1).submit(checkpoints.sha256, self.checkpoint)
        self._clip_sha256 = functools.cache(checkpoints.clip_sha256)
        if any(options.expected.values()):
            self._note_other_weights(plan.jobs.all[0].image)

    @property
    def needs_gradients(self):
        """Whether something is to be differentiated; a line may steer where the others do not."""
        jobs = self.plan.jobs.all
        return self.options.script is CLIP and any(job.image.steers for job in jobs)

    @functools.cached_property
    def network(self):
        """The network, loaded; what it frees is kept for it once it has been called."""
        memory.give_back_freed_memory()  # what a CLIP has left
        compiling = self.options.compile
        packed = not (compiling or self.needs_gradients)
        name = self.options.network.name
        net = models.load(name, self.checkpoint, self.device, self.dtype, packed)
        if self.dtype == torch.int8 and self.plan.worker.rank == 0:
            precision.tell(name, self.checkpoint, self._sha256.result(), net)
        if self.options.low_memory:
            recompute_gradients(net)
        if compiling:
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
        jobs, names = self.plan.jobs, {"images", "source"}
        swept = any(name in names for name, _ in jobs.sweep)
        more = bool(self.options.from_file) or swept
        return more or any(job.image.makes_choices for job in jobs.all)

    def prepared(self, model, batch):
        """A model as this run samples it: in float64 where the method wants that, and counted."""
        if diffusion.METHODS[batch.image.method].reversible:
            model = diffusion.in_doubles(model, self.device)

        def counted(x, t):
            batch.evaluations += len(x)
            return model(x, t)

        return counted

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

        Images are saved while the next batch is drawn. A batch in which something failed is drawn
        again image by image where the run is to keep going.
        """
        plan, worker, total = self.plan, self.plan.worker, self.plan.total
        finished_images_are_kept()
        with (
            tqdm(
                total=total,
                bar_format="{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}]",
                dynamic_ncols=True,
                miniters=0,
                disable=None if worker.rank == 0 else True,  # None: where nobody watches
                leave=False,
            ) as self.bar,
            ThreadPoolExecutor(1) as self._saver,
        ):
            self._saved, self._done = None, 0
            worker.meanwhile = functools.partial(self.show, 0)
            for items, wanted in plan.to_draw():
                first, last = self._done + 1, self._done + len(wanted)
                which = f"image {last}" if first == last else f"images {first}-{last}"
                self.bar.set_description(
                    f"{which} of {total}" if worker.size == 1 else f"{total} images"
                )
                batch = Batch(self, items, wanted)
                yield batch
                self._submit(batch)
                if batch.error:
                    yield from self._one_by_one(batch)
                self._done = last
            self._wait()
        plan.finish()

    def _one_by_one(self, batch):
        """Batches of one: an image may have spoilt it for all."""
        for i in batch.wanted:
            alone = Batch(self, [batch.items[i]], [0])
            yield alone
            self._submit(alone)
            if alone.error:
                item = batch.items[i]
                where = f"line {item.job.line}, " if item.job.line else ""
                note(f"left out: {where}seed {item.seed}: {alone.error}")
                self.plan.worker.give_up(batch.items)

    def show(self, images):
        """Shows that of the batch that is drawn so many images are done, in parts."""
        finished = self.plan.worker.finished(self._done) + images
        self.bar.update(min(self.plan.total, finished) - self.bar.n)

    def say(self, line):
        """A line on stdout, beside the progress bar."""
        with self.bar.external_write_mode(file=sys.stdout):
            print(line, flush=True)

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
            self._saved = self._saver.submit(self._finish, batch)

    def _wait(self):
        """Waits for the batch that is being saved, of which there is one at a time."""
        saved, self._saved = self._saved, None
        if saved:
            saved.result()  # raises what went wrong

    def _finish(self, batch):
        batch.pending()
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
                recipe = {**self.recipe(item), "batch": place}
            path = publish(to_image(drawn[i]), plan.files.target(item.fields), recipe)
            if path is None:
                continue  # another process was quicker
            if plan.grid:
                plan.grid.paths[item.index] = path
            self.tell(path, item, batch)

    def tell(self, path, item, batch, more=None):
        """Says that an image is finished, on stdout and in the file of results.

        Args:
            more: what its line of JSON says beyond `results.line_of`.
        """
        evaluations = round(batch.evaluations / (len(batch.items) * batch.rows), 1)
        line = {**results.line_of(path, item, batch.seconds, evaluations), **(more or {})}
        if self.options.results:
            results.append(self.options.results, line)
        self.say(results.as_text(line) if self.options.json else printable(path, 1000))

    def recipe(self, item):
        """How an image is made, but for its place in a batch."""
        options, image = self.options, item.image
        guided = item.conditions or options.script is not CFG
        return {
            **recipes.of(options, image),
            "script": options.script.name,
            "prompts": [[p.text, p.weight] for p in item.prompts],
            "guidance_interval": image.guidance_interval if guided else None,
            "direct": image.direct or None,
            "seed": item.seed,
            "eta": image.eta or 0.0,
            "starting_timestep": image.starting_timestep if image.init else None,
            "init": image.init,
            "timesteps_of_latent": True if image.latent_timesteps else None,
            "latent_index": image.latent_indices[item.number] if image.latent else None,
            "clip": options.network.clip,
            "software": SOFTWARE,
            **self.facts(image),
        }

    def facts(self, image):
        """What was computed with: weights, dtype and device."""
        return {
            "model_sha256": self._sha256.result(),
            "checkpoint": self.checkpoint.name,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            **{name: self._clip_sha256(*which) for name, which in self._clips(image).items()},
        }

    def _clips(self, image):
        """The CLIPs that read the prompts of an image, as (name, checkpoint or None)."""
        options, row, read = self.options, self.options.network, {}
        if options.script is CLIP and image.steers:
            read["guiding_clip_sha256"] = (options.clip_model, options.clip_checkpoint)
        if row.clip and (image.conditions or image.source):
            read["clip_sha256"] = (row.clip, self.own_clip_checkpoint)
        return read

    @property
    def own_clip_checkpoint(self):
        """The weights of the network's own CLIP that were given; those of the one that steers."""
        options = self.options
        steered = options.script is CLIP and options.clip_model != options.network.clip
        return None if steered else options.clip_checkpoint

    def _note_other_weights(self, image):
        facts = self.facts(image)
        for name, digest in self.options.expected.items():
            if digest is not None and facts.get(name) not in (None, digest):
                whose = name.removesuffix("_sha256").replace("_", " ")
                print(f"note: the {whose}'s weights are not those of the recipe", file=sys.stderr)
