"""From settled arguments to images on disk: what the scripts that draw have in common."""

import functools
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import diffusion
from cli import images, latents, outputs, results, run, watching, workers
from cli.batches import batches, items
from cli.errors import UserError, printable
from cli.run_grid import RunGrid
from cli.wildcards import Wildcards
from models import NETWORKS, checkpoints, clip

open_photo = functools.lru_cache(maxsize=32)(images.open_image)


def photos_of(job):
    """The PIL images of a job's image prompts."""
    return [open_photo(prompt.text) for prompt in job.args.images]


class Way(NamedTuple):
    """How the images of a batch come about.

    Args:
        steps: of one image.
        go: the function (what `build` made, function that draws noise [N, 3, H, W], callback that
            wants a `diffusion.Progress` in each step) -> (images [N, 3, H, W], evaluations of the
            model for each or None).
        noised: whether the callback's x are images with the noise of their timesteps.
    """

    steps: int
    go: Callable
    noised: bool = True


def look_at(args):
    """UserError for whatever a job names that is missing or damaged: before torch is imported."""
    for source in [args.init, *(prompt.text for prompt in args.images)]:
        if source:
            open_photo(source)
    if args.makes_choices:
        Wildcards(args.wildcards).check([prompt.text for prompt in args.prompts])


def draw(jobs, build, clips, described, way=None, guides=lambda: None):
    """Draws the images of all jobs and saves each as soon as it is there.

    Args:
        jobs: a `cli.jobs.Jobs`.
        build: function (path of the checkpoint, device, dtype) -> function (items of a batch,
            generators of their noise) -> model (x, t) -> v.
        clips: function (a job's args) -> a dict from "clip_sha256" and the like to (name of a CLIP,
            checkpoint or None), for those that the job reads.
        described: function (a job's args) -> what a recipe says beyond what `recipe_of` does.
        way: function (items of a batch, device) -> Way; None: `sampling`.
        guides: function () that says on stderr what guides a run of one job.
    """
    args, jobs.check = jobs.args, look_at
    worker, began_at = workers.find(args.shard), time.time()
    files = outputs.Outputs(args.output, args.policy)
    if worker.size > 1 and files.policy is outputs.Policy.NUMBER:
        raise UserError(
            "several processes share this run: name its files with --output, for example "
            "'runs/{line:06}_{seed:06}.png'"
        )
    if worker.shared and args.from_file == "-":
        raise UserError("--from-file -: several processes cannot share standard input: give a file")
    if args.results:
        results.check(args.results)
    if args.grid and args.shard:
        raise UserError("--grid: a share of the images makes no grid: make_grid.py makes one later")
    if args.gallery and args.shard:
        raise UserError("--gallery: a share of the images is not all: use make_gallery.py later")

    def all_batches():
        return batches(items(jobs), args.batch_size)

    grid = None
    if args.grid or (jobs.sweep and not args.shard):
        grid = RunGrid(args, jobs)
    found = files.check(item.fields for batch in worker.own(all_batches()) for item in batch)
    skips = files.policy is outputs.Policy.SKIP or worker.shared
    page = None
    if args.gallery:
        from cli.run_gallery import RunGallery

        file = None if args.gallery is True else args.gallery
        page = RunGallery(file, files.template, args.overwrite)
    name = files.template.path(next((item.fields for item in items(jobs)), {}))
    leads = worker.rank == 0 and (args.shard or (1,))[0] == 1
    watch = watching.Watch(args, name, min(args.batch_size, found.images), leads)

    def refuse():
        files.refuse(found)
        watch.refuse()
        if grid:
            grid.refuse()

    if not worker.shared:
        refuse()
    if args.dry_run:
        return tell(worker, worker.own(all_batches()), files, found)
    if not found.images and args.from_file:
        raise UserError(f"{printable(args.from_file, 200)}: holds no jobs that can be drawn")
    if args.policy is outputs.Policy.SKIP and found.existing == found.images:
        if worker.rank == 0:
            print("nothing to draw: all files exist", file=sys.stderr)
        return finish(jobs, worker, files, grid, page)
    if worker.rank == 0:
        if args.note:
            print(args.note, file=sys.stderr)
        if not args.from_file:
            guides()

    import torch

    worker.start(refuse)
    if worker.shared and files.policy is not outputs.Policy.OVERWRITE:
        files.policy = outputs.Policy.SKIP  # whatever is there from now on is the run's own
    device = run.pick_device(args.device, worker.local_rank)
    dtype = run.pick_dtype(args.dtype, device)
    path = checkpoints.find(NETWORKS[args.model], args.checkpoint, args.mirror)
    sha256 = functools.cache(clip.sha256)
    facts = {
        "model_sha256": checkpoints.sha256(path),
        "checkpoint": path.name,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type,
    }

    def facts_of(job_args):
        return {**facts, **{what: sha256(*which) for what, which in clips(job_args).items()}}

    note_other_weights(args, facts_of(args))
    # What gradients flow through cannot be made in inference mode.
    mode = torch.no_grad if args.needs_gradients else torch.inference_mode
    with mode():
        model_for = build(path, device, dtype)
    run.keep_freed_memory()
    rows, its_row = args.batch or (None, None)
    its_rows = slice(its_row, its_row + 1) if rows else slice(None)

    @mode()
    def sample_items(batch, callback):
        began = time.perf_counter()
        args = batch[0].job.args
        steps, go, noised = (way or sampling)(batch, device)
        sources = diffusion.generators([item.seed for item in batch])

        def noise():
            eps = diffusion.noise(sources, (3, args.size[1], args.size[0]))
            # An image that is drawn again is rounded as then in a batch of the same shape alone.
            return eps.repeat(rows or 1, 1, 1, 1)

        count = itertools.count(1)

        def step(progress):
            callback(min(1, next(count) / steps))
            watch.see(progress, its_rows)

        watch.begin(len(batch), args.size, steps, noised)
        drawn, evaluations = go(model_for(batch, sources), noise, step)
        drawn = drawn[its_rows].cpu()
        watch.end(drawn)
        seconds = (time.perf_counter() - began) / len(batch)
        return [(image, seconds, evaluations, [len(batch), i]) for i, image in enumerate(drawn)]

    def sample(batch, callback):
        try:
            return sample_items(batch.items, callback)
        except Exception as error:
            if not args.keep_going or not run.explained(error):
                raise
        drawn = [None] * len(batch.items)
        for i in batch.wanted:  # one of them may have spoilt it for all
            item = batch.items[i]
            try:
                drawn[i] = sample_items([item], callback)[0]
            except Exception as error:
                if not run.explained(error):
                    raise
                what = f"line {item.job.line}, " if item.job.line else ""
                workers.note(f"left out: {what}seed {item.seed}: {run.explained(error)[0]}")
                worker.give_up(batch.items)
        return drawn

    recorded = results.files_in(args.results) if args.results and skips else set()

    def save(batch, drawn, say):
        for i in batch.wanted:
            if drawn[i] is None:
                continue
            item, (image, seconds, evaluations, place) = batch.items[i], drawn[i]
            recipe = None
            if not args.no_metadata:
                own = {**recipe_of(item), **described(item.job.args), **facts_of(item.job.args)}
                recipe = {**own, "batch": args.batch or place}
            target = files.target(item.fields)
            made = outputs.publish(images.to_image(image), target, recipe)
            if made is None:
                continue  # another process was quicker
            if grid:
                grid.paths[item.index] = made
            line = results.line_of(made, item, seconds, evaluations)
            if args.results:
                results.append(args.results, line)
            say(results.as_text(line) if args.json else printable(made, 1000))
        trajectory = watch.save()
        if trajectory and not args.json:
            say(printable(trajectory, 1000))
        worker.report(len(batch.wanted))

    def missing(batch):
        places = range(len(batch))
        return [i for i in places if not (skips and files.exists(batch[i].fields))]

    def to_draw():
        for batch in worker.take(all_batches, lambda b: worker.gave_up(b) or not missing(b)):
            wanted = missing(batch)
            for i, item in enumerate(batch) if args.results and skips else ():
                file = files.target(item.fields).path
                lacks = i not in wanted and str(file) not in recorded
                if lacks and file.stat().st_mtime < began_at:
                    # Its file was finished, and then there was no time for the line.
                    results.append(args.results, results.line_of(file, item))
            if wanted:
                yield run.Batch(batch, wanted)

    total = found.images - (found.existing if skips else 0)
    run.draw(to_draw(), total, sample, save, worker)
    finish(jobs, worker, files, grid, page)


def finish(jobs, worker, files, grid, page):
    """What is left to do when all images are there; PartialFailure if some cannot be."""
    if worker.rank:
        return
    path = grid and grid.save(files)
    if path:
        print(printable(path, 1000), flush=True)
    path = page and page.save()
    if path and not jobs.args.json:
        print(printable(path, 1000), flush=True)
    counts = {"images": worker.left_out, "lines of the job file": len(jobs.bad)}
    left_out = [f"{count} {what}" for what, count in counts.items() if count]
    if left_out:
        raise run.PartialFailure(f"finished, but {' and '.join(left_out)} were left out")


def tell(worker, own, files, found):
    """Says what a process would do (`--dry-run`): a line for each image on stdout."""
    if worker.rank:
        return
    for number, batch in enumerate(own):
        for item in batch:
            there = " (exists)" if files.exists(item.fields) else ""
            name = files.target(item.fields).path or files.template.path(item.fields)
            prompts = "  ".join(printable(f"{p.text}:{p.weight:g}", 90) for p in item.prompts)
            print(f"{number}\t{printable(name, 500)}\t{item.seed}\t{prompts}{there}")
    who = "this process"
    if worker.shared:
        who = f"{worker.size} processes, each batch by the first that is free"
    print(
        f"{found.images:,} images, {found.existing:,} of them there already, by {who}; "
        "nothing is drawn",
        file=sys.stderr,
    )


def note_other_weights(args, facts):
    for what, digest in args.expected.items():
        if digest is not None and facts.get(what) not in (None, digest):
            whose = what.removesuffix("_sha256").replace("_", " ")
            print(f"note: the {whose}'s weights are not those of the recipe", file=sys.stderr)


def sampling(batch, device):
    """The Way of a run from noise, or wherever it starts, to images."""
    args = batch[0].job.args
    begins = [start(item.job) for item in batch]
    timesteps, reversible = begins[0].timesteps, diffusion.METHODS[args.method].reversible

    def go(model, noise, callback):
        import torch

        asked, eps = 0, noise()
        # One image may fill a batch by itself, in as many rows.
        parts = zip(batch, begins, eps.chunk(len(batch)), strict=True)
        states = [begin.states(part, [item.number]) for item, begin, part in parts]
        x = torch.cat([x for x, _ in states])
        before = states[0][1]
        if before:
            before = before[0], torch.cat([x for _, (_, x) in states])
        x = x.double() if reversible else x.to(device)
        if reversible:
            model = diffusion.in_doubles(model, device)

        def counted(x, t):
            nonlocal asked
            asked += len(x)
            return model(x, t)

        way = (args.method, args.eta, noise, callback, before, args.tolerance)
        return diffusion.sample(counted, x, timesteps, *way), round(asked / len(eps), 1)

    return Way(len(timesteps) - 1, go)


class Start(NamedTuple):
    """Where a run starts.

    Args:
        timesteps: of the run.
        states: the function (noise [N, 3, H, W], the images' numbers in the job) -> (noised images
            at timesteps[0], the state before as `diffusion.sample` takes it or None).
    """

    timesteps: Sequence
    states: Callable


@functools.lru_cache(maxsize=64)
def start(job):
    """The Start of a job's images."""
    args = job.args
    if args.latent:
        return start_from_latents(args)
    if args.init:
        init = images.resize_and_crop(open_photo(args.init), args.size)
        timesteps = diffusion.schedule(args.schedule, args.steps, args.starting_timestep)
        image, t = images.to_tensor(init), float(timesteps[0])
        return Start(timesteps, lambda eps, _: (diffusion.add_noise(image, eps, t), None))
    timesteps = diffusion.schedule(args.schedule, args.steps)
    return Start(timesteps, lambda eps, _: (eps, None))


def start_from_latents(args):
    """The Start of a run from saved latents; the way back, where the method has one."""
    t, way = args.found.timestep, args.timesteps
    found, previous = (
        stored if stored is None else stored[list(args.latent_indices)]
        for stored in latents.load(args.latent, args.found)
    )
    if way is None:
        below = diffusion.schedule(args.schedule, args.steps, start=t)
        way = below if below[0] == t else [t, *below.tolist()]

    def fill(latents_, eps):
        # One that is drawn again in a batch of its old shape fills that batch.
        return latents_.expand(len(eps), -1, -1, -1)

    if args.timesteps and previous is not None and diffusion.METHODS[args.method].reversible:
        return Start(
            way[1:],
            lambda eps, numbers: (
                fill(previous[numbers], eps),
                (t, fill(found[numbers], eps)),
            ),
        )
    return Start(way, lambda eps, numbers: (fill(found[numbers].float(), eps), None))


def recipe_of(item):
    """What the recipe of an image says of it and of its job's arguments."""
    args = item.job.args
    return {
        "prompts": [[p.text, p.weight] for p in item.prompts],
        "images": [[p.text, p.weight] for p in args.images],
        "seed": item.seed,
        "steps": args.steps,
        "method": args.method,
        "schedule": args.schedule,
        "eta": args.eta,
        "tolerance": args.tolerance,
        "starting_timestep": args.starting_timestep if args.init else None,
        "init": args.init,
        "latent": args.latent and str(args.latent),
        "timesteps_of_latent": True if args.timesteps else None,
        "latent_index": args.latent_indices[item.number] if args.latent else None,
        "chunk": args.chunk,
        "size": list(args.size),
        "model": args.model,
        "clip": NETWORKS[args.model].clip,
        "software": run.SOFTWARE,
    }
