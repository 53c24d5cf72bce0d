#!/usr/bin/env python3
"""Find the latent noise that yields a photo, by running the sampling loop backwards."""

from cli.begin import begin

if __name__ == "__main__":  # Ctrl-C or a missing package during the imports: one line, no traceback
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
            embeds = run.embed([item.asked for item in items])
            model = runner.guided_model(run, image, embeds, [item.conditions for item in items])
            model, photos = run.prepared(model, batch), run.photos(batch)
            timesteps = run.ascending(image, image.max_timestep)
            steps = (len(timesteps) - 1) * (2 if run.options.round_trip else 1)
            both = {"callback": batch.watch(steps), "tolerance": image.tolerance}
            latents = diffusion.to_latents(model, photos, timesteps, image.method, **both)
            back = None
            if run.options.round_trip:
                down = timesteps[::-1]
                back = diffusion.from_latents(model, latents, down, image.method, **both)
            runner.save_latents(run, batch, latents, timesteps, back)


if __name__ == "__main__":
    runner.program(main)
