import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

import diffusion
import models
from models.unet import UNet
from models.zoo import NETWORKS
from train import distil


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path_factory):
    """The bundled network with few channels, and weights of its own that tell prompts apart."""
    row = NETWORKS["emoji"]
    architecture = dataclasses.replace(
        row.architecture,
        channels=(16, 32),
        patch=4,
        attention_from=1,
        head_channels=16,
        features=32,
    )
    for row in (NETWORKS["emoji"], NETWORKS["emoji_4"]):
        arch = dataclasses.replace(architecture, takes_weight=row.takes_weight)
        monkeypatch.setitem(NETWORKS, row.name, dataclasses.replace(row, architecture=arch))
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    weights = models.build("emoji").state_dict()
    for key, value in weights.items():
        if key.startswith("mapping.") or key.endswith((".2.layer.weight", ".6.layer.weight")):
            value *= 2
    save_file(weights, path)
    return path


@pytest.fixture
def teacher(tiny):
    return models.load("emoji", tiny)


def inputs(n=3):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, 64, 64, generator=generator)
    return x, torch.linspace(0.2, 1, n), torch.randn(n, 256, generator=generator)


def train(teacher, folder, path, *more):
    """A run of the trainer in `path`: (the weights that it wrote, what it logged)."""
    argv = ["--checkpoint", teacher, "--data", folder, "--run", path, "--device", "cpu"]
    argv += ["--batch-size", 8, "--dtype", "float32", "--halving-lr", 1e-3]
    argv += [] if "--init" in more else ["--lr", 3e-3]
    distil.main([str(value) for value in (*argv, *more)])
    log = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return path / "student.safetensors", log


@pytest.fixture
def no_samples(monkeypatch):
    monkeypatch.setattr(distil, "compare", lambda *args: None)


def test_student_begins_as_the_teacher_at_any_weight(teacher):
    student = distil.student_of(teacher)
    x, t, embeds = inputs()
    with torch.inference_mode():
        for weight in (0.0, 1.0, 6.0):
            v = student(x, t, embeds, torch.full([len(x)], weight))
            assert torch.allclose(v, teacher(x, t, embeds), atol=1e-5)


def test_student_learns_what_guidance_makes_of_two_evaluations(teacher):
    x, t, embeds = inputs()
    weights = torch.tensor([1.0, 3.0, 6.0])
    stage = distil.Stage("guided", 1, 1e-3)
    wanted = distil.target(stage, teacher, x, t, embeds, weights)
    with torch.inference_mode():
        v0, v1 = teacher(x, t, torch.zeros_like(embeds)), teacher(x, t, embeds)
    assert torch.allclose(wanted, v0 + weights[:, None, None, None] * (v1 - v0), atol=1e-4)
    none = distil.target(stage, teacher, x, t, torch.zeros_like(embeds), weights)
    assert torch.allclose(none, v0, atol=1e-5)


def test_student_of_a_halving_learns_to_go_where_two_steps_of_its_teacher_go(teacher):
    student = distil.student_of(teacher)
    x, _, embeds = inputs()
    weights, t = torch.tensor([1.0, 3.0, 6.0]), torch.full([3], 0.75)
    wanted = distil.target(distil.Stage("", 1, 1, 8), student, x, t, embeds, weights)
    model = diffusion.distilled(student, list(embeds[:, None]), [[w] for w in weights.tolist()])
    with torch.inference_mode():
        two = diffusion.sample(model, x, [0.75, 0.6875, 0.625], "ddim")
        one = diffusion.sample(lambda x, t: wanted, x, [0.75, 0.625], "ddim")
    assert torch.allclose(one, two, atol=1e-4)


def test_student_of_an_earlier_teacher_learns_at_once_where_many_steps_go(
    tiny, teacher, squares, tmp_path, monkeypatch
):
    x, _, embeds = inputs(4)
    weights, t = torch.tensor([1.0, 3.0, 6.0, 2.0]), torch.tensor([1.0, 0.5, 1.0, 0.25])
    wanted = distil.target(distil.Stage("", 1, 1, 4, 3), teacher, x, t, embeds, weights)
    for image, start, embed, weight, v in zip(x, t.tolist(), embeds, weights, wanted, strict=True):
        model = diffusion.guided(teacher, [embed[None]], [[float(weight)]])
        with torch.inference_mode():
            many = diffusion.sample(
                model, image[None], torch.linspace(start, start - 0.25, 4, dtype=torch.float64)
            )
            one = diffusion.sample(
                lambda x, t, v=v: v[None], image[None], [start, start - 0.25], "ddim"
            )
        assert torch.allclose(one, many, atol=1e-4)

    monkeypatch.setattr(distil, "PREVIEWS", 2)
    monkeypatch.setattr(distil, "REFERENCE", ("spliced", 5, "plms2"))
    init = tmp_path / "earlier.safetensors"
    save_file({k: v.contiguous() for k, v in distil.student_of(teacher).state_dict().items()}, init)
    more = ["--init", init, "--halvings", 2, "--halving-steps", 40, "--every", 10]
    output, log = train(tiny, squares, tmp_path, *more)
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert {entry["stage"] for entry in log} == {"at_once"}
    assert losses[-1] < 0.7 * losses[0]
    assert models.load("emoji_4", output).arch.takes_weight
    with pytest.raises(SystemExit, match="is no student of emoji: its weights are others"):
        train(tiny, squares, tmp_path / "teacher", "--init", tiny)
    with pytest.raises(SystemExit, match="2"):
        train(tiny, squares, tmp_path / "none", "--init", tmp_path / "none.safetensors")
    with pytest.raises(SystemExit, match="2"):
        distil.arguments(["--init", str(init), "--steps", "9"])


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_few_steps_lower_the_loss_and_the_student_loads(
    tiny, squares, tmp_path, monkeypatch, capsys, optimizer
):
    monkeypatch.setattr(distil, "PREVIEWS", 2)
    monkeypatch.setattr(distil, "REFERENCE", ("spliced", 5, "plms2"))
    steps = ["--steps", 60, "--every", 20, "--halvings", 1, "--halving-steps", 4]
    steps += ["--optimizer", optimizer]
    output, log = train(tiny, squares, tmp_path, *steps)
    guided = [entry["loss"] for entry in log if entry["stage"] == "guided" and "loss" in entry]
    assert len(guided) == 3
    assert guided[-1] < 0.7 * guided[0]
    told = [entry for entry in log if "evaluations" in entry]
    assert [entry["evaluations"] for entry in told] == [8, 4]
    assert all(entry["student_rms_grey_levels"] > 0 for entry in told)
    assert (tmp_path / "samples_steps_4.png").exists()

    told = capsys.readouterr().out.splitlines()[-1]
    assert told == f"to draw with it: --model emoji_4 --checkpoint {output}"
    net, (x, t, embeds) = models.load("emoji_4", output), inputs()
    with torch.inference_mode():
        weak, strong = (diffusion.distilled(net, embeds[0], w)(x, t) for w in (1.0, 6.0))
    assert torch.isfinite(strong).all()
    assert not torch.allclose(weak, strong, atol=1e-3)


def test_killed_run_ends_as_the_unbroken_one(tiny, squares, tmp_path, no_samples, monkeypatch):
    steps = ["--steps", 4, "--halving-steps", 4, "--every", 2, "--halvings", 2]
    whole, _ = train(tiny, squares, tmp_path / "whole", *steps)

    calls, losses_of = [], distil.losses_of
    for killed_at in (4, 5, 5):  # in the first stage, in the second, in the third
        calls.clear()

        def killed(*args, at=killed_at):
            calls.append(1)
            if len(calls) == at:
                raise KeyboardInterrupt
            return losses_of(*args)

        with monkeypatch.context() as patch:
            patch.setattr(distil, "losses_of", killed)
            with pytest.raises(KeyboardInterrupt):
                train(tiny, squares, tmp_path / "broken", *steps)
        assert not (tmp_path / "broken" / "student.safetensors").exists()
    broken, log = train(tiny, squares, tmp_path / "broken", *steps)
    assert [(entry["stage"], entry["step"]) for entry in log] == [
        (stage, step) for stage in ("guided", "steps_8", "steps_4") for step in (2, 4)
    ]
    assert broken.read_bytes() == whole.read_bytes()


def test_stages_halve_the_steps_until_those_that_are_asked_for():
    args = distil.arguments(["--evaluations", "4", "--halvings", "3"])
    assert [stage.evaluations for stage in distil.stages(args)] == [None, 16, 8, 4]
    args = distil.arguments(["--halvings", "0"])
    assert [stage.evaluations for stage in distil.stages(args)] == [None]


def test_run_of_the_other_optimiser_is_refused(tiny, squares, tmp_path, no_samples):
    steps = ["--steps", 2, "--every", 1, "--halvings", 0]
    train(tiny, squares, tmp_path, *steps)
    (tmp_path / "guided.safetensors").unlink()  # as if it had been killed just before
    with pytest.raises(SystemExit, match="is a run of the other --optimizer: name another --run"):
        train(tiny, squares, tmp_path, *steps, "--optimizer", "adamw")


@pytest.mark.parametrize("flags", [["--weights", "3", "1"], ["--evaluations", "0"]])
def test_flags_that_make_no_sense_are_refused(flags, capsys):
    with pytest.raises(SystemExit) as error:
        distil.arguments(flags)
    assert error.value.code == 2
    assert flags[0] in capsys.readouterr().err.splitlines()[-1]


def test_checkpoint_of_a_student_is_its_teachers_with_two_tensors_more(teacher):
    student = distil.student_of(teacher)
    keys = set(student.state_dict()) - set(teacher.state_dict())
    assert keys == {"mapping_weight_embed.weight", "mapping_weight_embed.fourier.weight"}
    again = UNet(student.arch)
    again.load_state_dict(student.state_dict())
