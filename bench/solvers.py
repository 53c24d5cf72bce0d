"""How far drawings are from the exact ones, by method, schedule and number of evaluations.

    python bench/solvers.py [--methods NAME ...] [--schedules NAME ...] [--weights W ...]
        [--evaluations N ...] [--seeds N] [--guidance-interval LOW HIGH] [-o PLOT.png]

Draws with the bundled model, in float32, and prints the RMS distance (median over the seeds; 2/255
is one grey level) from a solution of 200 steps of `ab2`, and the share of drawings in which the
judge of `train.evaluate` finds what was asked for. Guided at all timesteps, or between two, as the
solution then is. What is measured is kept in --results, which is not in the repository: the same
command goes on where it was stopped, and others add to it. `adaptive` is run at several tolerances.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import runner  # noqa: E402, F401  before torch: its threads are to sleep while they wait

# isort: split
import torch  # noqa: E402

import diffusion  # noqa: E402
import models  # noqa: E402
from bench.common import head, row  # noqa: E402
from bench.pictures import SHAPE  # noqa: E402
from diffusion.methods import WHOLE  # noqa: E402
from models import clip  # noqa: E402
from train import judge, render  # noqa: E402
from train.drawing import one_each  # noqa: E402

EVALUATIONS = (5, 8, 10, 15, 20, 30, 50)
TOLERANCES = (0.3, 0.1, 0.03, 0.01, 0.003)
WEIGHTS = (0.0, 1.0, 3.0, 6.0)
VISIBLE = 2 / 255  # one grey level of the range from -1 to 1
STEPS = 200  # of the solution that is taken for exact: its error is a fortieth of that of 30
AT_ONCE = 16


class Drawer:
    """Draws one image for each seed, of a thing of its own, and counts evaluations."""

    def __init__(self, seeds, critic, first_seed=0, interval=WHOLE):
        things = critic[1] if critic else ["red heart", "cat", "star", "pizza", "rocket"]
        self.seeds = range(first_seed, first_seed + seeds)
        self.things = [things[i * 7 % len(things)] for i in self.seeds]
        self.critic, self.interval = critic, interval
        self.net = models.load("emoji", packed=True)
        self.embeds = clip.load("emoji").encode_text([render.article(t) for t in self.things])
        self.exact = {}
        self.evaluations = 0

    def draw(self, weight, timesteps, method, tolerance=None):
        """Images [N, 3, H, W], and how many evaluations each took on the average."""
        images, self.evaluations = [], 0
        for first in range(0, len(self.things), AT_ONCE):
            part = self.embeds[first : first + AT_ONCE]
            net, on = one_each(self.net, part), part.new_ones(1, 1)
            model = diffusion.guided(net, on, [weight], interval=self.interval)

            def counted(x, t, model=model):
                self.evaluations += len(x)
                return model(x.float(), t.float()).double()

            x = diffusion.noise(self.seeds[first : first + AT_ONCE], SHAPE).double()
            images.append(diffusion.sample(counted, x, timesteps, method, tolerance=tolerance))
        return torch.cat(images), self.evaluations / len(self.things)

    def solution(self, weight):
        """The images that every method comes to with enough steps."""
        if weight not in self.exact:
            print(f"weight {weight:g}: {STEPS} steps", file=sys.stderr, flush=True)
            self.exact[weight] = self.draw(weight, diffusion.schedule("logit", STEPS), "ab2")[0]
        return self.exact[weight]

    def errors(self, weight, images):
        """The RMS distance of each image from the exact one."""
        return (images - self.solution(weight)).square().mean((1, 2, 3)).sqrt()

    def measure(self, weight, schedule, method, steps, tolerance=None):
        timesteps = diffusion.schedule(schedule, steps)
        images, evaluations = self.draw(weight, timesteps, method, tolerance)
        rms = self.errors(weight, images).tolist()
        return {"evaluations": evaluations, "rms": rms, "right": self.right(images)}

    def right(self, images):
        """How many images the judge takes for what they should be; None without a judge."""
        if self.critic is None:
            return None
        net, names = self.critic
        found = judge.ranking(net, images.float().clamp(-1, 1))[:, 0].tolist()
        return sum(names[i] == thing for i, thing in zip(found, self.things, strict=True))


def load_critic():
    """The judge and the names it knows; None, said in a line, where there is none."""
    if judge.JUDGE.exists():
        return judge.load()
    print("no judge: `python -m train.judge` trains one", file=sys.stderr)
    return None


def steps_for(method, evaluations):
    """The most steps that take no more evaluations; 0: even one takes more."""
    takes = diffusion.METHODS[method].evaluations
    return max(n for n in range(evaluations + 1) if n == 0 or takes(n) <= evaluations)


def settings_of(method, evaluations):
    """(a name, steps, tolerance) of each run of a method."""
    if diffusion.METHODS[method].evaluations is None:
        return [(f"tolerance {tol:g}", 1, tol) for tol in TOLERANCES]
    runs = [(str(n), steps_for(method, n), None) for n in evaluations]
    return [run for run in runs if run[1]]


def key_of(args, method, schedule, weight, name):
    """What a run is called in the results."""
    ends = tuple(args.guidance_interval)
    interval = "" if ends == WHOLE else "/{:g}-{:g}".format(*ends)
    return f"{method}/{schedule}/{weight:g}/{name}/{args.seeds}{interval}"


def measure_all(args, results):
    """Measures what is not in `results` yet, and saves after each."""
    drawer = Drawer(args.seeds, load_critic(), interval=args.guidance_interval)
    for weight in args.weights:
        for schedule in args.schedules:
            for method in args.methods:
                for name, steps, tolerance in settings_of(method, args.evaluations):
                    key = key_of(args, method, schedule, weight, name)
                    if key in results:
                        continue
                    results[key] = drawer.measure(weight, schedule, method, steps, tolerance)
                    median = statistics.median(results[key]["rms"])
                    print(f"{key}: {median:.4f}", file=sys.stderr, flush=True)
                    new = args.results.with_suffix(".new")
                    new.write_text(json.dumps(results, indent=0))
                    new.replace(args.results)


def chosen(args, results, weight, method, schedule):
    """{a run's name: (evaluations, median RMS, share that is right or None)} of a line."""
    rows = {}
    for name, _, _ in settings_of(method, args.evaluations):
        found = results.get(key_of(args, method, schedule, weight, name))
        if found:
            right = None if found["right"] is None else found["right"] / args.seeds
            rows[name] = (found["evaluations"], statistics.median(found["rms"]), right)
    return rows


def print_table(args, results):
    head("weight", "method", "schedule", *args.evaluations)
    for weight in args.weights:
        for method in args.methods:
            for schedule in args.schedules:
                rows, cells = chosen(args, results, weight, method, schedule), []
                if not rows:
                    continue
                columns = [str(n) for n in args.evaluations]
                if diffusion.METHODS[method].evaluations is None:  # tolerances
                    columns = ([""] * len(columns) + list(rows))[-len(columns) :]
                for name in columns:
                    if name not in rows:  # not measured, or too few for the method
                        cells.append("")
                        continue
                    evaluations, rms, right = rows[name]
                    cell = f"{rms:.4f}" + ("" if right is None else f", {right:.0%}")
                    exactly = evaluations in args.evaluations
                    cells.append(cell if exactly else f"{cell} ({evaluations:.3g})")
                row(f"{weight:g}", method, schedule, *cells)


def plot(args, results, path):
    """Error over evaluations, a row of panels for each weight and a column for each schedule."""
    from matplotlib.figure import Figure

    size = (3.4 * len(args.schedules) + 1.5, 2.8 * len(args.weights))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        len(args.weights), len(args.schedules), sharex=True, sharey=True, squeeze=False
    )
    for weight, axes in zip(args.weights, grid, strict=True):
        for ax, schedule in zip(axes, args.schedules, strict=True):
            for i, method in enumerate(args.methods):
                found = chosen(args, results, weight, method, schedule)
                if found:
                    style = ("o-", "s--")[i // 10 % 2]
                    counts, errors, _ = zip(*found.values(), strict=True)
                    ax.plot(counts, errors, style, color=f"C{i % 10}", label=method, ms=3, lw=1)
            ax.axhline(VISIBLE, color="gray", lw=0.8)
            ax.set(xscale="log", yscale="log", ylim=(1e-3, 1))
            ax.set_xticks(args.evaluations, [str(n) for n in args.evaluations])
            ax.minorticks_off()
            ax.grid(alpha=0.3)
        axes[0].set_ylabel(f"RMS error at weight {weight:g}")
    for ax, schedule in zip(grid[0], args.schedules, strict=True):
        ax.set_title(schedule)
    for ax in grid[-1]:
        ax.set_xlabel("evaluations")
    lines = {line.get_label(): line for ax in grid.flat for line in ax.get_lines()}
    lines = {name: lines[name] for name in args.methods if name in lines}
    outside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
    grid[0][-1].legend(lines.values(), lines, fontsize=8, **outside)
    figure.savefig(path, dpi=75)


def main():
    usual = [name for name, row in diffusion.METHODS.items() if row.eta_range[0] == 0]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=usual, default=usual)
    parser.add_argument(
        "--schedules",
        nargs="+",
        choices=diffusion.SCHEDULES,
        default=["spliced", "log", "karras", "logit", "fitted"],
    )
    parser.add_argument("--weights", nargs="+", type=float, default=WEIGHTS)
    parser.add_argument("--evaluations", nargs="+", type=int, default=EVALUATIONS)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--guidance-interval", nargs=2, type=float, default=WHOLE)
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results" / "solvers.json")
    parser.add_argument("--table", action="store_true", help="print what is there, measure nothing")
    parser.add_argument("-o", "--output", type=Path, help="plot the errors to this file")
    args = parser.parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    if not args.table:
        args.results.parent.mkdir(parents=True, exist_ok=True)
        with torch.inference_mode():
            measure_all(args, results)
    print_table(args, results)
    if args.output:
        plot(args, results, args.output)


if __name__ == "__main__":
    main()
