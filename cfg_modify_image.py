#!/usr/bin/env python3
"""Edit a photo with prompts: find its noise, or not even that, and draw it again under others."""

from cli.begin import begin

if __name__ == "__main__":  # Ctrl-C or a missing package during the imports: one line, no traceback
    begin()

import diffusion
import runner
from cli.scripts import MODIFY
from jobs.jobs import Jobs


def main():
    jobs = Jobs(MODIFY)  # what was asked for
    plan = runner.Plan(jobs)  # checked: files, names, pictures; torch is not imported yet
    run = runner.Run(plan)
    for batch in run.batches():
        with batch:
            run.save(batch, edit(run, batch))


def edit(run, batch):
    """The edits of a batch [N, 3, H, W]: by its photos' latents and back, or directly."""
    image, items = batch.image, batch.items
    sources = [item.image.source for item in items]
    targets = [item.conditions for item in items]
    # At once, so that CLIP is loaded once.
    embeds = run.embed([(prompts, []) for prompts in sources] + [item.asked for item in items])
    of_sources, of_targets = embeds[: len(items)], embeds[len(items) :]
    source = run.prepared(runner.guided_model(run, image, of_sources, sources), batch)
    target = run.prepared(runner.guided_model(run, image, of_targets, targets), batch)
    photos, mask = run.photos(batch), run.mask(batch)
    timesteps = run.ascending(image, image.starting_timestep)
    if image.direct:
        # What moves, and is watched, is the change of the photos.
        watch = batch.watch(len(timesteps) - 1, noised=False)
        images = diffusion.edit_directly(
            source,
            target,
            photos,
            timesteps,
            image.method,
            noise=lambda: batch.noise().to(photos),
            mask=mask,
            callback=lambda p: watch(p._replace(x=photos + p.x, pred=photos + p.pred)),
        )
    else:
        watch = batch.watch(2 * (len(timesteps) - 1))
        images = diffusion.edit_by_latents(
            source, target, photos, timesteps, image.method, mask=mask, callback=watch
        )
    # A mask blends in floating point: outside of it the photo's own pixels are put back.
    return images if mask is None else images.where(mask > 0, photos)


if __name__ == "__main__":
    runner.program(main)
