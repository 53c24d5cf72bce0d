#!/usr/bin/env python3
"""Draw what is not known of a photo: a hole, its surroundings, its details or its colours."""

from cli.begin import begin

if __name__ == "__main__":  # Ctrl-C or a missing package during the imports: one line, no traceback
    begin()

import diffusion
import runner
from cli.scripts import RESTORE
from jobs.jobs import Jobs


def main():
    jobs = Jobs(RESTORE)  # what was asked for
    plan = runner.Plan(jobs)  # checked: files, names, pictures; torch is not imported yet
    run = runner.Run(plan)
    for batch in run.batches():
        with batch:
            known = runner.Known(run, batch)
            draw_images = draw_by_inversion if batch.image.by == "inversion" else draw
            run.save(batch, known.rounded_to_agree(draw_images(run, batch, known)))


def draw(run, batch, known):
    """The images of a batch [N, 3, H, W], brought to agree with what is known on the way."""
    image, items = batch.image, batch.items
    embeds = run.embed([item.asked for item in items])
    model = runner.guided_model(run, image, embeds, [item.conditions for item in items])
    x, timesteps = known.start(batch)
    watch = batch.watch((len(timesteps) - 1) * image.travel)
    if image.by == "pigdm":
        return diffusion.sample_towards(
            run.prepared(model, batch),
            x,
            timesteps,
            image.method,
            measurement=known.measurement,
            y=known.y,
            deviation=known.deviation,
            noise=batch.noise,
            eta=image.eta,
            callback=watch,
        )
    return diffusion.sample_again(
        run.prepared(known.model(model), batch),
        x,
        timesteps,
        image.method,
        batch.noise,
        times=image.travel,
        stretch=runner.TRAVEL_STEPS,
        eta=image.eta,
        callback=watch,
    )


def draw_by_inversion(run, batch, known):
    """The images of a batch: the photo enlarged, its noise found part of the way, and drawn."""
    image, items = batch.image, batch.items
    embeds = run.embed([item.asked for item in items])
    targets = [item.conditions for item in items]
    # Noise is found at weight 1: what guidance adds does not come back as it went.
    sources = [runner.at_weight_1(prompts) for prompts in targets]
    source = run.prepared(runner.guided_model(run, image, embeds, sources), batch)
    model = known.model(runner.guided_model(run, image, embeds, targets))
    target = run.prepared(model, batch)
    timesteps = run.ascending(image, image.strength)
    watch = batch.watch(2 * (len(timesteps) - 1))
    return diffusion.edit_by_latents(
        source, target, known.enlarged(), timesteps, image.method, callback=watch
    )


if __name__ == "__main__":
    runner.program(main)
