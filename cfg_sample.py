#!/usr/bin/env python3
"""Draw images from weighted text and image prompts, by classifier-free guidance."""

from cli.begin import begin

if __name__ == "__main__":  # Ctrl-C or a missing package during the imports: one line, no traceback
    begin()

import diffusion
import runner
from cli.scripts import CFG
from jobs.jobs import Jobs


def main():
    jobs = Jobs(CFG)  # what was asked for
    plan = runner.Plan(jobs)  # checked: files, names, pictures; torch is not imported yet
    run = runner.Run(plan)
    for batch in run.batches():  # resumes, shares the work with other processes
        with batch:  # by --keep-going, an error in it leaves out its image alone
            image, items = batch.image, batch.items
            embeds = run.embed([item.asked for item in items])
            model = runner.guided_model(run, image, embeds, [item.conditions for item in items])
            x, timesteps, before = run.start(batch)  # before: one step earlier, of some latents
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
