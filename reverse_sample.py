#!/usr/bin/env python3
"""Find the latent noise that yields a photo, by running the sampling loop backwards."""

import diffusion
import runner
from cli.jobs import Jobs
from cli.scripts import REVERSE


def main():
    jobs = Jobs(REVERSE)  # what was asked for
    plan = runner.Plan(jobs)  # checked: files, names, pictures; torch is not imported yet
    run = runner.Run(plan)
    for batch in run.batches():
        with batch:
            image = batch.image
            embeds = run.embed(*batch.asked)
            model = runner.guided_model(run, batch, embeds, batch.conditions)
            model, photos = run.prepared(model, batch), run.photos(batch)
            up = run.way_up(batch, image.max_timestep)
            watch = batch.watch((len(up) - 1) * (2 if run.options.round_trip else 1))
            going = (image.method, watch, image.tolerance)
            latents, back = diffusion.to_latents(model, photos, up, *going), None
            if run.options.round_trip:
                back = diffusion.from_latents(model, latents, up[::-1], *going)
            runner.save_latents(run, batch, latents, up, back)


if __name__ == "__main__":
    runner.program(main)
