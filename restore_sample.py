#!/usr/bin/env python3
"""Draw what is not known of a photo: a hole, its surroundings, its details or its colours."""

from cli.begin import begin

if __name__ == "__main__":  # a Ctrl-C or a missing package among the imports is no traceback
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
            draw = draw_again if batch.image.by == "inversion" else draw_from_noise
            run.save(batch, known.settled(draw(run, batch, known)))


def draw_from_noise(run, batch, known):
    """The images of a batch [N, 3, H, W], brought to agree with what is known on the way."""
    image, items = batch.image, batch.items
    embeds = run.embed([(item.prompts, item.image.images) for item in items])
    model = runner.guided_model(run, image, embeds, [item.conditions for item in items])
    x, timesteps = known.start(batch)
    how = {"eta": image.eta, "callback": batch.watch((len(timesteps) - 1) * image.travel)}
    if image.by == "pigdm":
        model, what = run.prepared(model, batch), (known.measurement, known.y, known.deviation)
        return diffusion.sample_towards(
            model, x, timesteps, image.method, *what, noise=batch.noise, **how
        )
    model, again = run.prepared(known.model(model), batch), (image.travel, runner.STRETCH)
    return diffusion.sample_again(model, x, timesteps, image.method, batch.noise, *again, **how)


def draw_again(run, batch, known):
    """The images of a batch: the photo enlarged, its noise found part of the way, and drawn."""
    image, items = batch.image, batch.items
    embeds = run.embed([(item.prompts, item.image.images) for item in items])
    wanted = [item.conditions for item in items]
    shown = [runner.at_weight_1(prompts) for prompts in wanted]
    source = run.prepared(runner.guided_model(run, image, embeds, shown), batch)
    model = known.model(runner.guided_model(run, image, embeds, wanted))
    target = run.prepared(model, batch)
    timesteps = run.ascending(image, image.strength)
    watch = batch.watch(2 * (len(timesteps) - 1))
    return diffusion.edit_by_latents(
        source, target, known.enlarged(), timesteps, image.method, callback=watch
    )


if __name__ == "__main__":
    runner.program(main)
