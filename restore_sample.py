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
            image, items = batch.image, batch.items
            embeds = run.embed([(item.prompts, item.image.images) for item in items])
            model = runner.guided_model(run, image, embeds, [item.conditions for item in items])
            known = runner.Known(run, batch)
            x, timesteps = known.start(batch)
            images = diffusion.sample_again(
                run.prepared(known.model(model), batch),
                x,
                timesteps,
                image.method,
                batch.noise,
                image.travel,
                runner.STRETCH,
                eta=image.eta,
                callback=batch.watch((len(timesteps) - 1) * image.travel),
            )
            run.save(batch, known.settled(images))


if __name__ == "__main__":
    runner.program(main)
