import dataclasses
import json
import random

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import diffusion
import models
from media.tensors import to_tensor
from models.zoo import NETWORKS
from train import drawing, evaluate, judge, measures, pictures, render
from train.first import CORE, FIRST_GROUNDS
from train.vocabulary import GROUNDS

NAMES = [*CORE, "tiger", "key", "lock"]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A network of few channels with random weights in place of the bundled one: its file."""
    row = NETWORKS["emoji"]
    architecture = dataclasses.replace(
        row.architecture,
        channels=(16, 32),
        attention_from=1,
        head_channels=16,
        features=32,
        patch=4,
    )
    monkeypatch.setitem(NETWORKS, "emoji", dataclasses.replace(row, architecture=architecture))
    torch.manual_seed(0)
    weights = {k: v.contiguous() for k, v in models.build("emoji").state_dict().items()}
    save_file(weights, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.fixture
def quick(tiny, tmp_path, monkeypatch):
    """Runs a quick evaluation with a judge that has learnt nothing: the folder it writes."""
    monkeypatch.setattr(evaluate, "MIXES", (("a cat:2", "a fox:1"), ("face:3", "smile:-1")))
    output = tmp_path / "evaluation"
    torch.manual_seed(0)
    judge.save(judge.build(len(NAMES)), NAMES, output / "judge.safetensors")

    def call(*argv):
        evaluate.main(["--quick", "--checkpoint", str(tiny), "--output", str(output), *argv])
        return output

    return call


def test_quick_evaluation_writes_its_figures_and_pictures(quick, capsys):
    folder = quick("--core")
    summary = json.loads((folder / "evaluation.json").read_text())
    for name in ("prompts", "held_out"):
        assert summary[name]["top1"]["of"] == 6
        assert summary[name]["top1"]["share"] <= summary[name]["top5"]["share"]
    for kind in ("small", "two"):
        assert summary[kind]["top1"]["of"] == 6
        if render.FONT.exists():
            assert summary[kind]["sized"]["of"] == 6
    assert [part["weight"] for part in summary["guidance"]] == [0, 1, 3, 6]
    for name in ("prompts", "held_out", "small", "two", "guidance", "mixing"):
        with Image.open(folder / f"{name}.png") as image:
            assert np.ptp(np.asarray(image)) > 100
    out = capsys.readouterr().out
    assert "prompts top1: " in out
    assert f"judge.safetensors does not know {328 - len(NAMES)} of the things" in out


def test_student_is_compared_with_its_teacher(tiny, quick, monkeypatch, tmp_path, capsys):
    arch = dataclasses.replace(NETWORKS["emoji"].architecture, takes_weight=True)
    row = dataclasses.replace(NETWORKS["emoji_4"], architecture=arch)
    monkeypatch.setitem(NETWORKS, "emoji_4", row)
    student = {k: v.contiguous() for k, v in models.build("emoji_4").state_dict().items()}
    student.update(load_file(tiny))  # at weight 1 it does as its teacher
    save_file(student, tmp_path / "student.safetensors")
    monkeypatch.setattr(evaluate, "WEIGHT", 1.0)
    of_student = ["--model", "emoji_4", "--checkpoint", str(tmp_path / "student.safetensors")]
    folder = quick(*of_student, "--teacher-checkpoint", str(tiny), "--device", "cpu")
    summary = json.loads((folder / "evaluation.json").read_text())
    beside = summary["teacher"]
    assert beside["rms_grey_levels"] == beside["rms_of_teacher_in_few_steps"] > 0
    assert beside["student"] == beside["teacher_in_few_steps"]
    assert [part["weight"] for part in summary["guidance"]] == [1, 3, 6]
    assert not (folder / "mixing.png").exists()
    assert "from the teacher's drawings: " in capsys.readouterr().out


def test_teacher_of_no_student_is_refused(capsys):
    with pytest.raises(SystemExit):
        evaluate.arguments(["--teacher-checkpoint", "net.safetensors"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("emoji is no student")


def test_finished_parts_are_kept_and_those_of_other_settings_are_not(quick, monkeypatch, capsys):
    folder, whole = quick(), evaluate.guidance_part
    before = (folder / "prompts.json").read_text()
    (folder / "guidance_6.json").unlink()
    weights = []
    monkeypatch.setattr(
        evaluate, "guidance_part", lambda *args: weights.append(args[-1]) or whole(*args)
    )
    quick()
    assert weights == [6]
    assert (folder / "prompts.json").read_text() == before
    quick("--seed", "1")
    assert weights == [6, 0, 1, 3, 6]


def test_broken_judge_is_one_line(quick, tmp_path):
    (tmp_path / "evaluation" / "judge.safetensors").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match=r"is no judge: delete it, and it is trained again$"):
        quick()


@pytest.mark.parametrize("method", ["ddim", "ab2"])
def test_image_of_a_batch_is_that_of_its_prompt_alone(tiny, method):
    net = models.load("emoji", tiny)
    args = evaluate.arguments(["--steps", "6", "--method", method, "--batch-size", "2"])
    embeds = torch.randn(3, 256, generator=torch.Generator().manual_seed(0))
    for weight in (0.0, 1.0, 3.0):
        images = drawing.draw(args, net, embeds, weight, [4, 5, 6], "test")
        for i in range(3):
            model = diffusion.guided(net, embeds[i : i + 1], [weight])
            alone = drawing.sampled(args, model, [4 + i], "cpu")
            assert (images[i] - alone[0]).abs().max() < 3 / 127.5


def test_prompts_ask_for_each_thing_alike_and_never_for_what_was_held_out():
    things, not_seen, held_out = evaluate.vocabulary(NAMES, core=False)
    assert things == NAMES
    assert set(held_out) < set(not_seen)
    asked = evaluate.draw_prompts(140, things, set(not_seen), None, seed=0)
    assert asked == evaluate.draw_prompts(140, things, set(not_seen), None, seed=0)
    assert asked != evaluate.draw_prompts(140, things, set(not_seen), None, seed=1)
    assert {sum(name == n for _, n, _ in asked) for name in NAMES} == {4}
    assert not {(name, ground) for _, name, ground in asked} & set(not_seen)
    assert sum(ground is None for _, _, ground in asked) == 35
    for prompt, name, ground in asked:
        assert name in prompt
        assert (f" {ground} background" in prompt) == (ground is not None)
    only = evaluate.draw_prompts(50, things, set(not_seen), held_out, seed=0)
    assert {(name, ground) for _, name, ground in only} == set(held_out)


def test_prompts_of_small_things_and_of_two_ask_for_the_same_things():
    def asked(kind):
        return evaluate.draw_prompts(12, ["cat", "key", "slice of cake"], set(), None, 0, kind)

    plain = asked("plain")
    for kind, words in (
        ("small", ["a small cat", "a small key"]),
        ("two", ["two cats", "two keys"]),
    ):
        assert [rest for _, *rest in asked(kind)] == [rest for _, *rest in plain]
        prompts = [prompt for prompt, *_ in asked(kind)]
        assert all(any(prompt.startswith(word) for prompt in prompts) for word in words)
    assert any("two slices of cake on a" in prompt for prompt, *_ in asked("two"))


@pytest.mark.skipif(not render.FONT.exists(), reason="without the font")
@pytest.mark.parametrize("kind", ["small", "two"])
def test_renders_of_a_kind_have_its_size_and_those_of_another_have_not(monkeypatch, tmp_path, kind):
    args = evaluate.arguments(["--kind-prompts", "20", "--output", str(tmp_path)])

    class Reader:
        def encode_text(self, prompts):
            return torch.zeros(len(prompts), 256)

    def sized(shown):
        things, not_seen, _ = evaluate.vocabulary(NAMES, False)
        asked = evaluate.draw_prompts(20, things, set(not_seen), None, 0, kind)
        emoji = dict(zip(evaluate.NAMES, evaluate.THINGS, strict=True))
        images = [
            render.compose(
                render.sprite(emoji[thing]), GROUNDS[ground or "white"], 64, shown, random.Random(i)
            )
            for i, (_, thing, ground) in enumerate(asked)
        ]
        monkeypatch.setattr(
            evaluate, "draw", lambda *_: torch.stack([to_tensor(image) for image in images])
        )
        critic = judge.build(len(NAMES)).eval(), NAMES
        return evaluate.kind_part(args, torch.nn.Linear(1, 1), Reader(), critic, kind)["sized"]

    assert sized(kind)["share"] >= 0.9
    assert sized("plain")["share"] <= 0.1


def test_new_is_a_pair_that_was_held_out_of_both_trainings():
    things, of_core, new_core = evaluate.vocabulary(NAMES, core=True)
    assert things == list(CORE)
    _, of_all, new = evaluate.vocabulary(NAMES, core=False)
    assert set(new_core) == {pair for pair in new if pair[0] in CORE}
    assert {p for p in new_core if p[1] in FIRST_GROUNDS} == set(of_core) & set(of_all)
    in_core = {pair for pair in of_all if pair[0] in CORE and pair[1] in FIRST_GROUNDS}
    assert {pair for pair in of_all if pair not in in_core} <= set(new)
    assert {ground for _, ground in new} - set(FIRST_GROUNDS)


def test_interval_is_the_one_of_wilson():
    # Worked by hand: centre (0.9 + 1.9208 / 10) / 1.38416, half width 0.2973.
    found = measures.interval(9, 10)
    assert (found["share"], found["of"]) == (0.9, 10)
    assert (found["low"], found["high"]) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert measures.interval(0, 5)["low"] == 0
    assert measures.interval(0, 0) is None


def test_ground_is_the_colour_around_whatever_is_drawn():
    images = torch.zeros(len(GROUNDS), 3, 64, 64)
    for image, colour in zip(images, GROUNDS.values(), strict=True):
        image[:] = torch.tensor(colour)[:, None, None] / 127.5 - 1
        image[:, 2:-2, 2:-2] = torch.rand(3, 60, 60) * 2 - 1
        image[:, :20] = 1  # less than half of the border
    noisy = (images + 0.05 * torch.randn(images.shape)).clamp(-1, 1)
    assert measures.grounds_of(images) == measures.grounds_of(noisy) == list(GROUNDS)


def test_judged_counts_right_things_among_one_and_five_and_right_grounds(monkeypatch):
    orders = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 0, 5], [1, 2, 3, 4, 5, 0]])
    monkeypatch.setattr(judge, "ranking", lambda net, images: orders)
    images = torch.ones(3, 3, 64, 64)
    asked = [("p", "a", "white"), ("q", "a", "black"), ("r", "a", None)]
    found = measures.judged(images, asked, (None, list("abcdef")))
    assert [found[key]["share"] for key in ("top1", "top5", "ground")] == [0.3333, 0.6667, 0.5]
    assert found["ground"]["of"] == 2
    assert found["wrong"] == ["q: b", "r: b"]


def test_diversity_is_the_mean_distance_of_pairs_of_one_prompt():
    triangle = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert measures.diversity(torch.stack([triangle, triangle + 100])) == pytest.approx(4)
    assert measures.diversity(torch.ones(2, 4, 8)) == 0


def test_sheet_shows_labels_prompts_and_images_in_their_rows(tmp_path):
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    rows = [("a prompt:3", [], [red, blue]), ("(image):3", [blue], [red])]
    pictures.sheet(rows, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        levels = np.asarray(image.convert("RGB"))
    is_red = (levels == (255, 0, 0)).all(axis=2)
    is_blue = (levels == (0, 0, 255)).all(axis=2)
    middle = levels.shape[0] // 2
    assert (is_red[:middle].sum(), is_blue[:middle].sum()) == (64 * 64, 64 * 64)
    assert (is_red[middle:].sum(), is_blue[middle:].sum()) == (64 * 64, 64 * 64)
    assert levels[:, :140].min() < 100  # the labels


@pytest.mark.parametrize(
    "argv", [["--prompts", "0"], ["--guidance-seeds", "1"], ["--steps", "-3"], ["--method", "x"]]
)
def test_wrong_flag_is_refused(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.arguments(argv)
    assert stop.value.code == 2
    assert argv[0] in capsys.readouterr().err
