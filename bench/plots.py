"""Two plots that take no measuring: the schedules, and latents of drawings beside noise.

    python bench/plots.py schedules [-o docs/schedules.png]
    python bench/plots.py latents [-o docs/latents.png]

`latents` draws sixteen images with the bundled model, finds their noise as `reverse_sample.py`
does, without a prompt, by two methods and several numbers of steps, and plots what its report
measures beside what it is of noise. Some minutes.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import runner  # noqa: F401  before torch: its threads are to sleep while they wait

# isort: split
import torch

import diffusion

STEPS = (5, 10, 25, 50, 100)
METHODS = ("ddim", "exact")
THINGS = ("a red heart", "a cat", "a slice of pizza", "a rocket")
GROUNDS = ("white", "blue", "green", "yellow")


def schedules(axes, steps=200):
    """t and log SNR over the share of a run's steps."""
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    for name in diffusion.SCHEDULES:
        t = diffusion.schedule(name, steps)
        axes[0].plot(share, t, label=name)
        axes[1].plot(share, diffusion.log_snr(t).clamp(-30, 30))
    axes[0].set(xlabel="share of the steps taken", ylabel="t", title="timestep")
    axes[1].set(xlabel="share of the steps taken", title="log SNR", ylim=(-16, 16))
    axes[0].legend(fontsize=8)


def latents(axes):
    """Statistics of latents by number of steps, the median and the range of all drawings."""
    import models
    from bench.pictures import in_8_bits
    from models import clip

    prompts = [f"{thing} on a {ground} background" for thing in THINGS for ground in GROUNDS]
    net = models.load("emoji")
    embeds = clip.load("emoji").encode_text(prompts)
    drawn = diffusion.guided(net, list(embeds[:, None]), [[3.0]] * len(prompts))
    x = diffusion.noise(range(len(prompts)), (3, 64, 64))
    x = diffusion.sample(drawn, x, diffusion.schedule("logit", 20), "ab2")
    x = in_8_bits(x.double())
    empty = diffusion.in_doubles(diffusion.guided(net, embeds[:0], []), "cpu")
    for method in METHODS:
        reports = []
        for steps in STEPS:
            found = diffusion.to_latents(empty, x, diffusion.ascending("spliced", steps), method).x
            told = [diffusion.noise_report(latent) for latent in found]
            noise = sum(report.is_noise for report in told)
            print(f"{method}, {steps} steps: {noise} of {len(x)} are noise", flush=True)
            reports.append([report.statistics for report in told])
        for i, ax in enumerate(axes, 1):  # the mean says the least
            values = torch.tensor([[one[i].value for one in row] for row in reports])
            (line,) = ax.plot(STEPS, values.median(dim=1).values, "o-", label=method)
            ends, colour = (values.amin(dim=1), values.amax(dim=1)), line.get_color()
            ax.fill_between(STEPS, *ends, alpha=0.15, color=colour)
    for i, ax in enumerate(axes, 1):
        of_noise = reports[0][0][i]
        ax.axhline(of_noise.expected, color="black", linestyle=":", label="noise")
        ax.set(title=of_noise.name, xlabel="steps", xscale="log", xticks=STEPS)
        ax.set_xticks(STEPS, STEPS)
        ax.minorticks_off()
    axes[0].legend(fontsize=8)


PLOTS = {"schedules": (schedules, 2, (7.5, 3)), "latents": (latents, 4, (11, 2.8))}


def main(argv=None):
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=PLOTS)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args(argv)
    plot, columns, size = PLOTS[args.what]
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, columns)
    with torch.inference_mode():
        plot(axes)
    for ax in axes:
        ax.grid(alpha=0.3)
    figure.savefig(args.output or Path(f"{args.what}.png"), dpi=90)


if __name__ == "__main__":
    main()
