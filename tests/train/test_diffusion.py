import dataclasses
import itertools
import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import models
from models.clip import load
from models.unet import UNet
from models.zoo import NETWORKS
from train import batches, learning, precision
from train import diffusion as trainer
from train.data import read_folder


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The bundled network with few channels, so that a step takes milliseconds."""
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


def train(folder, path, steps, every, more=()):
    """A run of the trainer in `path`: (the weights it wrote, what it logged)."""
    output = path / "net.safetensors"
    argv = ["--data", folder, "--output", output, "--run", path, "--device", "cpu"]
    argv += ["--batch-size", 8, "--steps", steps, "--every", every, "--lr", 3e-3]
    argv += ["--dtype", "float32", *more]
    trainer.main([str(value) for value in argv])
    log = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return output, log


def test_a_few_steps_on_any_folder_lower_the_loss_and_give_a_network(squares, tmp_path):
    output, log = train(squares, tmp_path, 60, every=30)
    assert [entry["step"] for entry in log] == [30, 60]
    assert log[-1]["loss"] < 0.75 * log[0]["loss"]
    net = models.load("emoji", output)
    x, t, embed = torch.randn(2, 3, 64, 64), torch.tensor([0.3, 1.0]), torch.randn(2, 256)
    with torch.inference_mode():
        assert torch.isfinite(net(x, t, embed)).all()
    with Image.open(tmp_path / "samples_000060.png") as samples:
        assert samples.size[0] > 6 * 64


@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_killed_run_ends_as_the_unbroken_one(squares, tmp_path, monkeypatch, optimiser):
    monkeypatch.setattr(trainer, "draw", lambda *args: torch.zeros(36, 3, 64, 64))  # is slow
    more = ["--optimizer", optimiser]
    whole, _ = train(squares, tmp_path / "whole", 6, every=3, more=more)

    calls, loss = [], trainer.v_loss

    def killed(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "v_loss", killed)
        with pytest.raises(KeyboardInterrupt):
            train(squares, tmp_path / "broken", 6, every=3, more=more)
    assert not (tmp_path / "broken" / "net.safetensors").exists()
    resumed, log = train(squares, tmp_path / "broken", 6, every=3, more=more)
    assert [entry["step"] for entry in log] == [3, 6]
    assert resumed.read_bytes() == whole.read_bytes()
    (other,) = {"muon", "adamw"} - {optimiser}
    with pytest.raises(SystemExit, match="is a run of the other --optimizer: name another --run"):
        train(squares, tmp_path / "broken", 9, every=3, more=["--optimizer", other])


def test_muon_steps_as_far_in_every_direction_of_a_gradient_and_adamw_in_every_number():
    net, lr = UNet(NETWORKS["emoji"].architecture), 1e-3
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    learner = learning.Learner(net, 0.9, muon=True)
    x, t, embeds = torch.randn(4, 3, 16, 16), torch.rand(4), torch.randn(4, 256)
    # So small that gradients are not clipped.
    learner.learn(1e-3 * net(x, t, embeds).square().mean(dim=(1, 2, 3)), 0, lr)
    of_muon = {id(parameter) for parameter in learning.inner_matrices(net)}
    learns = {name: value for name, value in net.named_parameters() if value.requires_grad}
    others = [name for name, value in learns.items() if id(value) not in of_muon]
    assert {name for name in others if before[name].ndim > 1} == {
        "mapping_timestep_embed.weight",
        "timestep_embed.weight",
        "net.0.main.0.weight",
        "net.2.main.4.weight",
    }
    for name, value in learns.items():
        # Without what weight decay takes.
        step = value.detach() - (1 - 0.01 * lr) * before[name]
        if name in others:
            there = value.grad.abs() > 1e-6  # AdamW's eps is 1e-8
            assert (step + lr * value.grad.sign())[there].abs().max() < 0.02 * lr
            continue
        step, grad = step.flatten(1), value.grad.flatten(1)
        u, sizes, vh = torch.linalg.svd(grad, full_matrices=False)
        along = -(u.T @ step @ vh.T).diagonal() / (0.2 * lr * max(step.shape) ** 0.5)
        assert (along[sizes > 0.05 * sizes.norm()] > 0.4).all()
        assert along.max() < 1.4


def test_other_sizes_come_at_the_end_and_cost_as_much(squares, tmp_path, no_samples, monkeypatch):
    large = tmp_path / "large"
    large.mkdir()
    for i in range(4):
        Image.new("RGB", (96, 128), (i * 60, 90, 30)).save(large / f"{i}.png")
        (large / f"{i}.txt").write_text("a square\n")
    more = ["--other-sizes", large, "--other-share", 0.5, "--samples-every", 99]
    _, log = train(squares, tmp_path / "run", 8, every=1, more=more)
    seen = [b["samples"] - a["samples"] for a, b in itertools.pairwise(log)]
    # An image of 96 x 128 has as many pixels as three of 64 x 64.
    assert [log[0]["samples"], *seen] == [8, 8, 8, 8, 8, 3, 8, 3]
    Image.new("RGB", (42, 64)).save(large / "0.png")
    monkeypatch.setattr(trainer, "kept_embeddings", lambda *_: pytest.fail("slow work was begun"))
    with pytest.raises(SystemExit, match=r"large has images of 42 x 64 pixels: .* multiples of"):
        train(squares, tmp_path / "wrong", 1, every=1, more=more)
    for flags in (("--other-share", 0.5), (*more[:2], "--other-share", 20)):
        with pytest.raises(SystemExit, match="2"):
            train(squares, tmp_path / "wrong", 1, every=1, more=flags)


def test_clip_sees_the_square_in_the_middle_of_an_image(squares):
    clip, (images, captions) = load("emoji"), read_folder(squares, (64, 64))
    wide = torch.zeros(len(images), 3, 64, 96, dtype=torch.uint8)
    wide[..., 16:80] = images
    found, expected = (batches.embed(clip, of, captions)[0] for of in (wide, images))
    assert torch.equal(found, expected)


def test_embeddings_are_kept_until_what_they_are_made_of_changes(squares, tmp_path, monkeypatch):
    clip, (images, captions) = load("emoji"), read_folder(squares, (64, 64))
    first = batches.kept_embeddings(tmp_path / "kept.pt", clip, images, captions)
    with monkeypatch.context() as patch:
        patch.setattr(batches, "embed", None)
        again = batches.kept_embeddings(tmp_path / "kept.pt", clip, images, captions)
    assert all(torch.equal(a, b) for a, b in zip(first[:2], again[:2], strict=True))
    assert first[2] == again[2]
    changed = [*captions[1:], ["a circle"]]
    assert batches.kept_embeddings(tmp_path / "kept.pt", clip, images, changed)[2] != first[2]


def test_conditions_are_those_of_the_image_or_of_one_of_its_captions():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 2, 2) * 50
    by_image, by_text = torch.arange(5.0)[:, None], 10 + torch.arange(10.0)[:, None]
    rows = [[2 * i, 2 * i + 1] for i in range(5)]  # image i has the texts 2 i and 2 i + 1
    generator = torch.Generator().manual_seed(0)
    x, cond = batches.batch(images, by_image, by_text, rows, 2000, 0.25, generator)
    which = ((x[:, 0, 0, 0] + 1) * 127.5 / 50).round()
    of_image = cond[:, 0] < 10
    assert of_image.float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert (cond[of_image, 0] == which[of_image]).all()
    text = cond[~of_image, 0] - 10
    assert ((text // 2) == which[~of_image]).all()
    assert (text % 2).mean().item() == pytest.approx(0.5, abs=0.05)


def test_learning_rate_rises_then_rests_then_falls_to_nothing():
    factors = [learning.lr_factor(step, step / 1000, 0.4) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert set(factors[99:600]) == {1}
    assert all(a > b for a, b in itertools.pairwise(factors[600:]))
    assert 0 < factors[-1] < 0.01


@pytest.fixture
def no_samples(monkeypatch):
    monkeypatch.setattr(trainer, "draw", lambda *args: torch.zeros(36, 3, 64, 64))  # is slow


def test_loss_is_told_for_each_range_of_timesteps(squares, tmp_path, no_samples):
    _, (entry,) = train(squares, tmp_path, 4, every=4)
    assert entry["samples"] == 4 * 8
    # Eight timesteps a step, one in each eighth: as many in every quarter.
    assert entry["loss"] == pytest.approx(sum(entry["loss_by_t"]) / 4, abs=1e-4)
    assert len(entry["loss_by_t"]) == learning.T_RANGES == 4


def test_batch_grows_by_doubling_late_in_the_run():
    sizes = [trainer.batch_size_at(i / 100, 32, 128) for i in range(101)]
    assert sizes[:66] == [32] * 66
    assert sorted(sizes) == sizes
    assert set(sizes) == {32, 64, 128}
    assert {trainer.batch_size_at(i / 10, 16, 16) for i in range(11)} == {16}


def test_run_by_the_clock_ends_when_its_time_is_spent(squares, tmp_path, no_samples, monkeypatch):
    seconds = iter(range(10**6))
    monkeypatch.setattr(trainer.time, "time", lambda: next(seconds))
    _, log = train(squares, tmp_path, 10**6, every=1, more=["--hours", "0.02"])
    shares = [entry["share"] for entry in log]
    assert shares == sorted(shares)
    assert 1 <= shares[-1] < 1.2
    assert log[-1]["lr"] < 0.3 * log[0]["lr"] * 100  # the first step is one of warming up
    assert len(log) < 72


def test_state_before_the_learning_rate_falls_can_go_on_to_a_longer_run(
    squares, tmp_path, no_samples
):
    train(squares, tmp_path, 10, every=5, more=["--decay", "0.4"])
    kept = torch.load(tmp_path / "state_before_decay.pt", weights_only=True)
    assert kept["step"] == 6
    longer = tmp_path / "longer"
    longer.mkdir()
    (tmp_path / "state_before_decay.pt").rename(longer / "state.pt")
    _, log = train(squares, longer, 20, every=7, more=["--decay", "0.4"])
    assert [entry["step"] for entry in log] == [7, 14, 20]


def test_network_takes_over_a_shallower_one_as_its_inside():
    arch = dataclasses.replace(NETWORKS["cc12m_1"].architecture, blocks=1, features=32, clip_dim=8)
    arch = dataclasses.replace(arch, head_channels=16)
    inner = UNet(dataclasses.replace(arch, channels=(32, 48), attention_from=1, patch=4))
    outer = UNet(dataclasses.replace(arch, channels=(8, 16, 32, 48), attention_from=3))
    weights = inner.state_dict()
    taken, count = trainer.take_over(weights, outer)
    own = outer.state_dict()
    same = "net.1.main.2.main.2.main.1.main.0.weight", "net.1.main.1.main.0.weight"
    assert torch.equal(own[same[0]], weights[same[1]])
    assert torch.equal(own["mapping.0.main.0.weight"], weights["mapping.0.main.0.weight"])
    assert 0.7 * sum(v.numel() for v in weights.values()) < taken < count
    again = UNet(outer.arch)
    assert trainer.take_over(own, again) == (count, count)
    assert all(torch.equal(again.state_dict()[key], own[key]) for key in own)


def test_flags_give_the_network_another_shape(squares, tmp_path, no_samples):
    first, _ = train(squares, tmp_path / "first", 2, every=2)
    shape = ["--channels", 8, 16, 16, 32, "--attention-from", 3, "--patch", 1]
    wider, _ = train(squares, tmp_path / "wider", 2, every=2, more=["--init", first, *shape])
    arch = dataclasses.replace(
        NETWORKS["emoji"].architecture, channels=(8, 16, 16, 32), attention_from=3, patch=1
    )
    UNet(arch).load_state_dict(load_file(wider))


def test_octaves_are_part_of_the_loss(squares, tmp_path, no_samples, capsys):
    _, (plain,) = train(squares, tmp_path / "plain", 1, every=1)
    _, (octaves,) = train(squares, tmp_path / "octaves", 1, every=1, more=["--octaves", 6])
    # The first step is the same one: its error is even over most of a plain square.
    assert octaves["loss"] > 1.5 * plain["loss"]
    little = ["--octaves", 6, "--octave-weight", 1e-4]
    _, (little,) = train(squares, tmp_path / "little", 1, every=1, more=little)
    assert little["loss"] == pytest.approx(plain["loss"], rel=0.01)
    with pytest.raises(SystemExit, match="2"):
        train(squares, tmp_path / "more", 1, every=1, more=["--octaves", 7])
    assert "--octaves 7: images have 64 pixels a side, so take 0 to 6" in capsys.readouterr().err


def test_power_of_the_timesteps_gives_more_of_them_noise(
    squares, tmp_path, no_samples, monkeypatch
):
    seen, loss = [], trainer.v_loss

    def watched(model, x, t, *args):
        seen.append(t)
        return loss(model, x, t, *args)

    monkeypatch.setattr(trainer, "v_loss", watched)
    for power in (1, 0.5):
        train(squares, tmp_path / str(power), 1, every=1, more=["--t-power", power])
    assert torch.allclose(seen[1], seen[0].sqrt())
    for flag, value in (("--t-power", 0), ("--octave-weight", -1), ("--t-power", "nan")):
        with pytest.raises(SystemExit, match="2"):
            train(squares, tmp_path / "none", 1, every=1, more=[flag, value])


def test_fastest_dtype_is_the_one_whose_best_pass_is_the_shortest(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    cost, clock = {torch.float32: [9, 2, 7], torch.bfloat16: [1, 3, 3]}, [0]
    passes = {dtype: iter(seconds) for dtype, seconds in cost.items()}

    def compute(dtype):
        clock[0] += next(passes[dtype])

    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    cpu = torch.device("cpu")
    assert precision.fastest_dtype(cpu, compute) == torch.float32
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert precision.fastest_dtype(cpu, None) == torch.float32  # nothing to choose from


def test_a_dtype_that_the_cpu_can_only_imitate_is_not_computed_in_and_that_is_said(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for has, said in ((True, "bfloat16"), (False, "float32: this CPU can only imitate bfloat16")):
        monkeypatch.setattr(precision, "has_bfloat16", lambda has=has: has)
        assert precision.computes_in(cpu, torch.bfloat16) == f"computes in {said}"
        assert precision.computes_in(cpu, torch.float32) == "computes in float32"
        assert precision.computes_in(gpu, torch.bfloat16) == "computes in bfloat16"
        with precision.mixed_precision(cpu, torch.bfloat16):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if has else torch.float32)


def test_samples_are_drawn_as_guidance_draws_them(squares):
    import diffusion

    clip, torch_net = load("emoji"), models.build("emoji").eval()
    with torch.inference_mode():
        ours = trainer.draw(torch_net, clip, ["red"], (3, 64, 64), "cpu", weight=3.0, seed=7)
        model = diffusion.guided(torch_net, clip.encode_text(["red"]), [3.0])
        x = diffusion.noise([7], (3, 64, 64))
        theirs = diffusion.sample(model, x, diffusion.schedule("spliced", 20), method="plms2")
    assert torch.allclose(ours, theirs, atol=1e-4)
