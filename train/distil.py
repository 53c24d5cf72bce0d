"""Trains a student that draws in a few evaluations what its teacher draws in many with guidance:
`python -m train.distil`.

The teacher is a network of the zoo that draws with and without prompts; the student is a copy of it
that takes the weight of guidance as an input. In the first stage it learns what guidance makes of
the teacher's two evaluations (Meng et al., 2022, arXiv 2210.03142). Then, stage after stage, it
learns to take two steps of DDIM in one (Salimans and Ho, 2022, arXiv 2202.00512). A student of
earlier weights does without these stages (`--init`). A killed run goes on from its last checkpoint
when the same command is given again.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torchvision.utils import save_image

import diffusion
import models.clip
from diffusion.methods import DEFAULT
from diffusion.training import (
    drop_conditions,
    grid_timesteps,
    one_step_to,
    stratified_timesteps,
    two_steps_in_one,
)
from models.unet import UNet
from models.zoo import NETWORKS
from runner.memory import keep_freed_memory
from train.batches import batch, kept_embeddings
from train.data import read_folder, replace_file
from train.learning import Learner, Losses, lr_factor, save_weights
from train.precision import computes_in, computing, fastest_dtype

STUDENT_OF = {row.teacher: name for name, row in NETWORKS.items() if row.teacher}
PREVIEWS = 12  # captions that both are asked to draw after each stage
USUAL_WEIGHT = 3.0  # of the prompts of cfg_sample.py
REFERENCE = ("spliced", 50, "plms")  # how the teacher draws what students are compared with


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the training.

    Args:
        name: of its files and in its log.
        updates: how many steps of gradient descent it takes.
        lr: its highest learning rate.
        evaluations: in which its student draws; None: in any number, this is the first stage.
        steps: of the first teacher, by the default method, that one of the student is to replace;
            None: two of the last stage's student, by DDIM.
    """

    name: str
    updates: int
    lr: float
    evaluations: int | None = None
    steps: int | None = None


def arguments(argv=None):
    p = argparse.ArgumentParser(usage="python -m train.distil [flags]", description=__doc__)
    p.add_argument("--teacher", default="emoji", choices=STUDENT_OF)
    p.add_argument("--checkpoint", type=Path, help="the teacher's weights, if not the zoo's")
    p.add_argument("--data", type=Path, default=Path("data/emoji"), help="captioned images")
    p.add_argument("--clip-checkpoint", type=Path, help="weights of the teacher's CLIP")
    p.add_argument("--output", type=Path, help="default: student.safetensors in the run's folder")
    p.add_argument("--run", type=Path, default=Path("runs/distil"), help="state, log, samples")
    p.add_argument("--evaluations", type=int, default=4, help="of the student, in the end")
    p.add_argument(
        "--halvings", type=int, default=4, help="the first joins evaluations x 2^N steps in pairs"
    )
    p.add_argument(
        "--init",
        type=Path,
        help="weights of a student to begin from: it learns at once what its teacher's 2^N steps "
        "come to, in --halving-steps, without the stages between",
    )
    p.add_argument("--weights", type=float, nargs=2, metavar=("LOW", "HIGH"))
    p.add_argument("--steps", type=int, help="of the first stage (6000)")
    p.add_argument("--halving-steps", type=int, default=3000, help="of each later one")
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--lr", type=float, help="of the first stage (2e-4)")
    p.add_argument("--halving-lr", type=float, default=1e-4, help="of each later one")
    p.add_argument("--optimizer", default="muon", choices=["muon", "adamw"])
    p.add_argument("--decay", type=float, default=1.0, help="share of a stage that lowers the lr")
    p.add_argument("--drop", type=float, default=0.1, help="share of zero embeddings")
    p.add_argument("--image-share", type=float, default=0.25, help="conditions that are images")
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = p.parse_args(argv)
    if args.init and not args.init.is_file():
        p.error(f"--init {args.init}: no such file")
    if args.init and (args.steps is not None or args.lr is not None):
        p.error("--steps and --lr are of the first stage, which --init leaves out: --halving-steps")
    args.steps = 6000 if args.steps is None else args.steps
    args.lr = 2e-4 if args.lr is None else args.lr
    args.weights = args.weights or NETWORKS[STUDENT_OF[args.teacher]].weights
    low, high = args.weights
    if not 0 <= low < high:
        p.error(f"--weights {low:g} {high:g}: two numbers from 0 up, the first below the second")
    if args.evaluations < 1 or args.halvings < 0:
        p.error("--evaluations is 1 or more, --halvings 0 or more")
    return args


def stages(args):
    """The stages of a run, a list."""
    if args.init:
        steps = 2**args.halvings
        return [Stage("at_once", args.halving_steps, args.halving_lr, args.evaluations, steps)]
    first = Stage("guided", args.steps, args.lr)
    counts = [args.evaluations * 2**i for i in reversed(range(args.halvings))]
    rest = [Stage(f"steps_{n}", args.halving_steps, args.halving_lr, n) for n in counts]
    return [first, *rest]


def student_of(teacher):
    """A network that does what its teacher does, at any weight that it is given, until it learns.

    Args:
        teacher: a `models.unet.UNet` that takes no weight.
    """
    arch = dataclasses.replace(teacher.arch, takes_weight=True)
    student = UNet(arch).to(next(teacher.parameters()).device, memory_format=torch.channels_last)
    student.load_state_dict(student.state_dict() | teacher.state_dict())
    return student


@torch.no_grad()
def target(stage, teacher, x, t, embeds, weights):
    """What a student is to answer, v [N, 3, H, W].

    Args:
        stage: the Stage.
        teacher: of this stage: the first teacher in the first and in one of its own steps, the last
            stage's student in others.
        x: noised images [N, 3, H, W].
        t: their timesteps [N].
        embeds: their conditions [N, D].
        weights: of the conditions [N].
    """
    asked = list(embeds[:, None]), [[w] for w in weights.tolist()]
    if stage.evaluations is None:
        return diffusion.guided(teacher, *asked)(x, t)
    if stage.steps:
        return many_steps_in_one(teacher, x, t, embeds, weights, stage)
    return two_steps_in_one(diffusion.distilled(teacher, *asked), x, t, 1 / stage.evaluations)


def many_steps_in_one(teacher, x, t, embeds, weights, stage):
    """The v with which one DDIM step goes where several of the guided teacher's go."""
    wanted, length = torch.empty_like(x), 1 / stage.evaluations
    for start in t.unique().tolist():
        (here,) = torch.where(t == start)
        asked = list(embeds[here][:, None]), [[w] for w in weights[here].tolist()]
        timesteps = torch.linspace(start, start - length, stage.steps + 1, dtype=torch.float64)
        model = diffusion.guided(teacher, *asked)
        end = diffusion.sample(model, x[here], timesteps.clamp_min(0), DEFAULT)
        wanted[here] = one_step_to(x[here], end, length)
    return wanted


class Data:
    """The batches of a run, each from its number alone.

    Args:
        args: those of the command line.
        row: the teacher's row of the zoo.
    """

    def __init__(self, args, row):
        self.args, self.device = args, torch.device(args.device)
        self.images, self.captions = read_folder(args.data, row.shape[:0:-1])
        clip = models.clip.load(row.clip, args.clip_checkpoint)
        kept = args.run / "embeddings.pt"
        self.embeddings = kept_embeddings(kept, clip, self.images, self.captions)
        count = min(PREVIEWS, len(self.captions))
        asked = [self.captions[i * len(self.captions) // count][0] for i in range(count)]
        self.previews = clip.encode_text(asked).to(self.device)

    def batch(self, stage, number):
        """(x [N, 3, H, W], t [N], embeddings [N, D], weights [N]) of a step, on the device."""
        args, generator = self.args, torch.Generator().manual_seed(number)
        n, (low, high) = args.batch_size, args.weights
        images, embeds = batch(self.images, *self.embeddings, n, args.image_share, generator)
        embeds = drop_conditions(embeds, args.drop, generator)
        if stage.evaluations is None:
            t = stratified_timesteps(n, generator)
        else:
            t = grid_timesteps(n, stage.evaluations, generator)
        weights = low + (high - low) * torch.rand(n, generator=generator)
        x, _ = diffusion.to_x_v(images, torch.randn(images.shape, generator=generator), t)
        return [value.to(self.device) for value in (x, t, embeds, weights)]


def losses_of(stage, student, teacher, drawn, dtype):
    """The mean squared error of v of each image of a batch [N]."""
    x, t, embeds, weights = drawn
    with computing(x.device, dtype):
        wanted = target(stage, teacher, x, t, embeds, weights)
        return (student(x, t, embeds, weights) - wanted).square().mean(dim=(1, 2, 3))


def learn(args, stage, index, student, teacher, data, dtype):
    """Takes a student through a stage, from where a killed run was.

    Args:
        student: as the stage begins; trained in place.
        teacher: of the stage.
        index: the number of the stage; no two stages see the same batches.
    Returns:
        The moving average of its weights, a network.
    """
    learner, first = Learner(student, args.ema, args.optimizer == "muon"), 0
    state_file = args.run / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location=args.device, weights_only=True)
        if state["stage"] == stage.name:
            if ("muon" in state) != (args.optimizer == "muon"):
                sys.exit(f"{args.run} is a run of the other --optimizer: name another --run")
            learner.restore(state)
            first = state["step"]
            print(f"{stage.name}: goes on from step {first}", flush=True)
    told = Losses()
    for step in range(first, stage.updates):
        drawn = data.batch(stage, (args.seed * 1009 + index) * 1_000_003 + step)
        losses = losses_of(stage, student, teacher, drawn, dtype)
        lr = stage.lr * lr_factor(step, step / stage.updates, args.decay)
        learner.learn(losses, step, lr)
        told.add(drawn[1], losses)
        if (step + 1) % args.every == 0 or step + 1 == stage.updates:
            entry = {"stage": stage.name, "step": step + 1, **told.entry(), "lr": round(lr, 8)}
            write_log(args.run, entry)
            state = learner.state() | {"stage": stage.name, "step": step + 1}
            replace_file(state_file, lambda path, state=state: torch.save(state, path))
            told = Losses()
    return learner.ema


def write_log(run, entry):
    print(json.dumps(entry), flush=True)
    with open(run / "log.jsonl", "a") as log:
        log.write(json.dumps(entry) + "\n")


@torch.inference_mode()
def compare(args, stage, student, teacher, embeds, shape):
    """Draws the same noise with a student and with its first teacher, and logs how far they are.

    The teacher takes the steps of REFERENCE, guided, and beside them as many of ddim as the
    student. The sheet has a row of drawings for each, in the order: teacher, student, the teacher
    in few steps.
    """
    low, high = args.weights
    weight, n = min(max(low, USUAL_WEIGHT), high), len(embeds)
    x, asked = diffusion.noise(range(n), shape).to(embeds), (list(embeds[:, None]), [[weight]] * n)
    guided = diffusion.guided(teacher, *asked, chunk=args.batch_size)
    student = diffusion.distilled(student, *asked, chunk=args.batch_size)
    evaluations = stage.evaluations or args.evaluations * 2**args.halvings
    ours = diffusion.sample(student, x, diffusion.schedule("linear", evaluations), "ddim")
    few = diffusion.sample(guided, x, diffusion.schedule("linear", evaluations), "ddim")
    *schedule, method = REFERENCE
    theirs = diffusion.sample(guided, x, diffusion.schedule(*schedule), method)
    pictures = [image.clamp(-1, 1) for image in (theirs, ours, few)]
    rms = [127.5 * float((p - pictures[0]).square().mean().sqrt()) for p in pictures[1:]]
    entry = {
        "stage": stage.name,
        "weight": weight,
        "evaluations": evaluations,
        "student_rms_grey_levels": round(rms[0], 2),
        "teacher_in_as_many_steps": round(rms[1], 2),
    }
    write_log(args.run, entry)
    sheet = args.run / f"samples_{stage.name}.png"
    save_image(torch.cat(pictures), sheet, nrow=n, normalize=True, value_range=(-1, 1))


def main(argv=None):
    args = arguments(argv)
    keep_freed_memory()
    row, device = NETWORKS[args.teacher], torch.device(args.device)
    args.run.mkdir(parents=True, exist_ok=True)
    first_teacher = models.load(args.teacher, args.checkpoint, device)
    first_teacher = first_teacher.to(memory_format=torch.channels_last)
    data = Data(args, row)
    torch.manual_seed(args.seed)
    student, teacher = student_of(first_teacher), first_teacher
    if args.init:
        weights = load_file(args.init, device=str(device))
        own = student.state_dict()
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in own.items()}:
            sys.exit(f"{args.init} is no student of {args.teacher}: its weights are others")
        student.load_state_dict(weights)
    dtype = chosen_dtype(args, stages(args)[0], student, teacher, data)
    print(computes_in(data.device, dtype), flush=True)

    for index, stage in enumerate(stages(args)):
        weights = args.run / f"{stage.name}.safetensors"
        if not weights.exists():
            learnt = learn(args, stage, index, student, teacher, data, dtype)
            compare(args, stage, learnt, first_teacher, data.previews, row.shape)
            state = {key: value.contiguous() for key, value in learnt.state_dict().items()}
            replace_file(weights, lambda path, state=state: save_file(state, path))
        # The student of a stage is the teacher of the next, and where its student begins.
        student.load_state_dict(load_file(weights, device=str(device)))
        teacher = student_of(first_teacher).eval().requires_grad_(False)
        teacher.load_state_dict(student.state_dict())

    output = args.output or args.run / "student.safetensors"
    own = NETWORKS[STUDENT_OF[args.teacher]]
    save_weights(student, output, own.name)
    steps = "" if args.evaluations == own.evaluations else f" --steps {args.evaluations}"
    print(f"to draw with it: --model {own.name} --checkpoint {output}{steps}", flush=True)


def chosen_dtype(args, stage, student, teacher, data):
    """What to compute in: what a killed run computed in, what is asked for, or the fastest."""
    kept = args.run / "dtype.json"
    if kept.exists():
        return getattr(torch, json.loads(kept.read_text()))
    if args.dtype != "auto":
        dtype = getattr(torch, args.dtype)
    else:
        drawn = data.batch(stage, 0)

        def trial(dtype):
            losses_of(stage, student, teacher, drawn, dtype).mean().backward()
            student.zero_grad()

        dtype = fastest_dtype(data.device, trial)
    name = str(dtype).removeprefix("torch.")
    replace_file(kept, lambda path: path.write_text(json.dumps(name)))
    return dtype


if __name__ == "__main__":
    main()
