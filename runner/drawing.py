"""From settled arguments to images on disk: what the scripts that draw have in common."""

import functools
import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import diffusion
from cli import outputs
from cli.errors import printable
from media import images
from models import NETWORKS, checkpoints
from runner import results, run, workers
from runner.plans import Plan
from runner.ways import sampling


def draw(jobs, build, clips, described, way=sampling, guides=lambda: None):
    """Draws the images of all jobs and saves each as soon as it is there.

    Args:
        jobs: a `cli.jobs.Jobs`.
        build: function (path of the checkpoint, device, dtype) -> function (items of a batch,
            generators of their noise) -> model (x, t) -> v.
        clips: function (a job's args) -> a dict from "clip_sha256" and the like to (name of a CLIP,
            checkpoint or None), for those that the job reads.
        described: function (a job's args) -> what a recipe says beyond what `recipe_of` does.
        way: function (items of a batch, device) -> `runner.ways.Way`.
        guides: function () that says on stderr what guides a run of one job.
    """
    plan = Plan(jobs)
    args, worker = plan.args, plan.worker
    if args.dry_run:
        return plan.tell()
    if plan.is_drawn:
        if worker.rank == 0:
            print("nothing to draw: all files exist", file=sys.stderr)
        return plan.finish()
    if worker.rank == 0:
        if args.note:
            print(args.note, file=sys.stderr)
        if not args.from_file:
            guides()

    import torch

    plan.start()
    device = run.pick_device(args.device, worker.local_rank)
    dtype = run.pick_dtype(args.dtype, device)
    path = checkpoints.find(NETWORKS[args.model], args.checkpoint, args.mirror)
    # Of a new file of 2.4 GB this takes two seconds, in which libraries are loaded.
    model_sha256 = ThreadPoolExecutor(1).submit(checkpoints.sha256, path)
    clip_sha256 = functools.cache(checkpoints.clip_sha256)

    def facts_of(job):
        return {
            "model_sha256": model_sha256.result(),
            "checkpoint": path.name,
            "dtype": str(dtype).removeprefix("torch."),
            "device": device.type,
            **{what: clip_sha256(*which) for what, which in clips(job).items()},
        }

    def recipe(item):
        job = item.job.args
        return {**recipe_of(item), **described(job), **facts_of(job)}

    if args.expected:
        note_other_weights(args, facts_of(args))
    # What gradients flow through cannot be made in inference mode.
    mode = torch.no_grad if args.needs_gradients else torch.inference_mode
    with mode():
        model_for = build(path, device, dtype)
    sample = mode()(Sampler(plan, model_for, way, device))
    run.draw(plan.to_draw(), plan.total, sample, functools.partial(save, plan, recipe), worker)
    plan.finish()


class Sampler:
    """Draws batches.

    Args:
        plan: the run's.
        model_for, way, device: as for `draw`.
    """

    def __init__(self, plan, model_for, way, device):
        self.plan, self.model_for, self.way, self.device = plan, model_for, way, device
        # An image that is drawn again is rounded as then in a batch of the same shape alone.
        rows, row = plan.args.batch or (None, None)
        self.rows = rows or 1
        self.its_rows = slice(row, row + 1) if rows else slice(None)

    def __call__(self, batch, callback):
        """What `save` takes of each image of a `run.Batch`; None for those that cannot be drawn."""
        worker, keep_going = self.plan.worker, self.plan.args.keep_going
        try:
            return self._draw(batch.items, callback)
        except Exception as error:
            if not keep_going or not run.explained(error):
                raise
        drawn = [None] * len(batch.items)
        for i in batch.wanted:  # one of them may have spoilt it for all
            item = batch.items[i]
            try:
                drawn[i] = self._draw([item], callback)[0]
            except Exception as error:
                if not run.explained(error):
                    raise
                what = f"line {item.job.line}, " if item.job.line else ""
                workers.note(f"left out: {what}seed {item.seed}: {run.explained(error)[0]}")
                worker.give_up(batch.items)
        return drawn

    def _draw(self, items, callback):
        """(image, seconds it took, evaluations, [size of its batch, its place]) of each item."""
        began, size = time.perf_counter(), items[0].job.args.size
        steps, go, noised = self.way(items, self.device)
        sources, watch = diffusion.generators([item.seed for item in items]), self.plan.watch

        def noise():
            return diffusion.noise(sources, (3, size[1], size[0])).repeat(self.rows, 1, 1, 1)

        count = itertools.count(1)

        def step(progress):
            callback(min(1, next(count) / steps))
            watch.see(progress, self.its_rows)

        watch.begin(len(items), size, steps, noised)
        drawn, evaluations = go(self.model_for(items, sources), noise, step)
        drawn = drawn[self.its_rows].cpu()
        watch.end(drawn)
        seconds = (time.perf_counter() - began) / len(items)
        return [(image, seconds, evaluations, [len(items), i]) for i, image in enumerate(drawn)]


def save(plan, recipe, batch, drawn, say):
    """Saves the images of a batch and says so.

    Args:
        plan: the run's.
        recipe: function (item) -> what its PNG says, but for its place in a batch.
        batch: a `run.Batch`.
        drawn: what a Sampler returned.
        say: function that prints a line on stdout.
    """
    args = plan.args
    for i in batch.wanted:
        if drawn[i] is None:
            continue
        item, (image, seconds, evaluations, place) = batch.items[i], drawn[i]
        told = None
        if not args.no_metadata:
            told = {**recipe(item), "batch": args.batch or place}
        made = outputs.publish(images.to_image(image), plan.files.target(item.fields), told)
        if made is None:
            continue  # another process was quicker
        if plan.grid:
            plan.grid.paths[item.index] = made
        line = results.line_of(made, item, seconds, evaluations)
        if args.results:
            results.append(args.results, line)
        say(results.as_text(line) if args.json else printable(made, 1000))
    trajectory = plan.watch.save()
    if trajectory and not args.json:
        say(printable(trajectory, 1000))
    plan.worker.report(len(batch.wanted))


def note_other_weights(args, facts):
    for what, digest in args.expected.items():
        if digest is not None and facts.get(what) not in (None, digest):
            whose = what.removesuffix("_sha256").replace("_", " ")
            print(f"note: the {whose}'s weights are not those of the recipe", file=sys.stderr)


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
