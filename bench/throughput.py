"""Many images: one process against a loop of runs, the time between batches, many processes.

    python bench/throughput.py [--images N] [--loop N] [--processes N ...] [--batches N]

1. Images of the bundled model by one process, and by a shell loop that starts one for each; of a
   job file of one-image lines, and by `-n`.
2. The share of the run's time in which the network stands still between two batches.
3. Scaling: torchrun starts processes whose model only sleeps, a second a batch. From the moment
   when all are ready, how near they come to n times the speed of one; then with one of them four
   times slower. They draw 16 x 16 pixels, so that two cores are enough for all of them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.common import head, machine, row  # noqa: E402

SCRIPT = ROOT / "cfg_sample.py"
PROMPT = "a red apple on a blue background"
BATCH_SECONDS = 1.0
STEPS = 2


def run(*command, **options):
    """Seconds that a process takes."""
    start = time.perf_counter()
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL, **options)
    return time.perf_counter() - start


def against_a_loop(args, folder):
    draw = [sys.executable, SCRIPT, PROMPT, "--model", "emoji"]
    run(*draw, "-o", folder / "warm.png")  # the prompt's embedding is remembered from here on
    names = folder / "{line}_{seed}.png"
    jobs = folder / "jobs.txt"
    jobs.write_text("".join(f'"{PROMPT}" --seed {i}\n' for i in range(args.images)))
    loop = sum(run(*draw, "--seed", i, "-o", folder / f"loop_{i}.png") for i in range(args.loop))
    many, from_file = [*draw, "-n", args.images], [sys.executable, SCRIPT, "--model", "emoji"]
    from_file += ["--from-file", jobs, "-o", folder / "jobs_{line}_{seed}.png"]
    ways = {
        f"-n {args.images} -bs 1": run(*many, "-o", names),
        f"-n {args.images} -bs 8": run(*many, "-bs", 8, "-o", names, "--overwrite"),
        f"--from-file of {args.images} lines, -bs 8": run(*from_file, "-bs", 8),
    }
    head("bundled model", "images a second", "times a loop")
    row(f"a loop of {args.loop} runs", f"{args.loop / loop:.2f}", "1.0")
    for way, seconds in ways.items():
        rate = args.images / seconds
        row(way, f"{rate:.2f}", f"{rate * loop / args.loop:.1f}")


def between_batches(args, folder):
    """Prints how long the sampler stands still; runs in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--inside", str(folder), "--images", str(args.images)],
        check=True,
        capture_output=True,
        text=True,
    )
    print(done.stdout.splitlines()[-1], flush=True)


def measure_inside(folder, images):
    import cfg_sample
    import diffusion
    from runner.exit import script

    sample, at_work = diffusion.sample, []

    def timed(*arguments, **options):
        start = time.perf_counter()
        result = sample(*arguments, **options)
        at_work.append((start, time.perf_counter()))
        return result

    diffusion.sample = timed
    sys.argv = ["cfg_sample.py", PROMPT, "--model", "emoji", "-n", str(images), "-bs", "8"]
    sys.argv += ["-o", f"{folder}/between_{{seed}}.png"]
    script(cfg_sample.main)
    whole = at_work[-1][1] - at_work[0][0]
    still = whole - sum(end - start for start, end in at_work)
    share, batches = still / whole, len(at_work)
    print(f"Between {batches} batches the network stood still for {share:.1%} of {whole:.1f} s.")


class Sleeper:
    """A network that draws nothing and takes its time."""

    def __init__(self, seconds):
        self.seconds = seconds

    def register_forward_hook(self, hook):
        """It frees no memory that could be kept."""

    def __call__(self, x, t, *_):
        time.sleep(self.seconds / STEPS)
        return x


def work_asleep(folder, slow):
    """cfg_sample.py as torchrun starts it, with a Sleeper, from when all are ready."""
    import cfg_sample
    import models
    from runner import workers
    from runner.exit import script

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    models.load = lambda *_: Sleeper(BATCH_SECONDS * (4 if slow and rank == size - 1 else 1))
    start = workers.Worker.start

    def start_together(self, refuse):
        start(self, refuse)
        self.store.add("ready", 1)
        while self.store.add("ready", 0) < size:
            time.sleep(0.01)
        Path(folder, f"began_{rank}").write_text(str(time.time()))

    workers.Worker.start = start_together
    script(cfg_sample.main)
    Path(folder, f"ended_{rank}").write_text(str(time.time()))


def scaling(args, folder, processes, slow):
    """The share of linear that several processes reach."""
    batches = args.batches * processes
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", __file__, "--asleep", folder, *["--slow"] * slow]
    command += ["--", "--model", "emoji", "-n", batches, "--size", 16, 16, "--steps", STEPS]
    command += ["--method", "ddim", "--dtype", "float32", "--threads", 1]
    command += ["-o", folder / "{index}.png"]
    run(*command, stderr=subprocess.DEVNULL)
    began = min(float(path.read_text()) for path in folder.glob("began_*"))
    last = max(path.stat().st_mtime for path in folder.glob("*.png"))
    speed = processes - (0.75 if slow else 0)
    return batches * BATCH_SECONDS / speed / (last - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--loop", type=int, default=64, help="runs of the loop")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--batches", type=int, default=100, help="for each process")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--asleep", help=argparse.SUPPRESS)
    parser.add_argument("--slow", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return measure_inside(args.inside, args.images)
    if args.asleep:
        sys.argv = ["cfg_sample.py", *args.rest]
        return work_asleep(args.asleep, args.slow)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        against_a_loop(args, Path(folder))
        between_batches(args, Path(folder))
    print()
    head("processes", "of linear", "one of them four times slower")
    for processes in args.processes:
        shares = []
        for slow in (False, True) if processes > 1 else (False,):
            with tempfile.TemporaryDirectory() as folder:
                shares.append(f"{scaling(args, Path(folder), processes, slow):.1%}")
        row(processes, *shares)


if __name__ == "__main__":
    main()
