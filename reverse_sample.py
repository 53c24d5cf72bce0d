#!/usr/bin/env python3
"""Find the latent noise that yields a photo, by running the sampling loop backwards."""

from cli.begin import begin

if __name__ == "__main__":  # a Ctrl-C or a missing package among the imports is no traceback
    begin()

import diffusion
import runner
from cli.scripts import REVERSE
from jobs.jobs import Jobs


def main():
    jobs = Jobs(REVERSE)  # what was asked for
    plan = runner.Plan(jobs)  # checked: files, names, pictures; torch is not imported yet
    run = runner.Run(plan)
    for batch in run.batches():
        with batch:
            image, items = batch.image, batch.items
            embeds = run.embed([(item.prompts, item.image.images) for item in items])
            model = runner.guided_model(run, image, embeds, [item.conditions for item in items])
            model, photos = run.prepared(model, batch), run.photos(batch)
            timesteps = run.ascending(image, image.max_timestep)
            evaluated = (len(timesteps) - 1) * (2 if run.options.round_trip else 1)
            how = {"callback": batch.watch(evaluated), "tolerance": image.tolerance}
            latents = diffusion.to_latents(model, photos, timesteps, image.method, **how)
            back = None
            if run.options.round_trip:
                down = timesteps[::-1]
                back = diffusion.from_latents(model, latents, down, image.method, **how)
            runner.save_latents(run, batch, latents, timesteps, back)


if __name__ == "__main__":
    runner.program(main)
