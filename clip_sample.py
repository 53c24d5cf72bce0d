#!/usr/bin/env python3
"""Draw images with any model, steered by what CLIP sees in them towards weighted prompts."""

from cli.begin import begin

if __name__ == "__main__":  # Ctrl-C or a missing package during the imports: one line, no traceback
    begin()

import diffusion
import runner
from cli.scripts import CLIP
from jobs.jobs import Jobs


def main():
    jobs = Jobs(CLIP)  # what was asked for
    plan = runner.Plan(jobs)  # checked: files, names, pictures; torch is not imported yet
    run = runner.Run(plan)
    steering = runner.Steering(run)
    for batch in run.batches():
        with batch:
            image = batch.image
            targets, condition = steering.targets(batch)
            model = steering.model(batch, condition)
            if targets is not None:  # else nothing steers
                model = diffusion.steered(
                    model,
                    steering.gradient(batch, targets),
                    image.guidance_interval,
                    image.guide_every,
                    recompute=run.options.low_memory,
                )
            x, timesteps, before = run.start(batch)
            images = diffusion.sample(
                run.prepared(model, batch),
                x,
                timesteps,
                image.method,
                eta=image.eta,
                noise=batch.noise,
                callback=batch.watch(len(timesteps) - 1),
                before=before,
                tolerance=image.tolerance,
            )
            run.save(batch, images)


if __name__ == "__main__":
    runner.program(main)
