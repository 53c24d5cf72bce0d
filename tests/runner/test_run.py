"""A run's batches: drawn in turn, saved while the next one is drawn, counted on a terminal."""

import io
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

import runner
from cli.scripts import CFG, CLIP
from diffusion.errors import NonFiniteError
from jobs.jobs import Jobs
from runner.exit import PartialFailure
from runner.workers import Alone
from values.errors import UserError

FLAGS = ("--model", "emoji", "--size", "16", "16")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A function that makes a run whose network need not be there: arguments -> the Run.

    What it "saves" of an image is its seed, on stdout.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner.Run, "_publish", tell_seeds)

    def made(*argv):
        return runner.Run(runner.Plan(Jobs(CFG, [*FLAGS, *map(str, argv)])))

    return made


def tell_seeds(run, batch, drawn):
    for i in batch.wanted:
        assert (drawn[i] == batch.items[i].seed).all()
        run.say(batch.items[i].seed)


def grey(batch):
    """What a batch that was drawn looks like: each image of its seed's grey."""
    watch = batch.watch(3)
    x = torch.ones(len(batch.items), 3, 16, 16)
    for i in range(3):
        watch(SimpleNamespace(t=1 - (i + 1) / 3, x=x, pred=x))
    return x * torch.tensor([item.seed for item in batch.items]).reshape(-1, 1, 1, 1)


def draw(run, sample=grey):
    for batch in run.batches():
        with batch:
            run.save(batch, sample(batch))


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"), [(5, 2, [2, 2, 1]), (2, 8, [2]), (1, 1, [1])]
)
def test_images_are_drawn_in_batches_and_saved_in_order(make, n, batch_size, sizes, capsys):
    drawn = []
    draw(
        make("cat", "-n", n, "-bs", batch_size),
        lambda batch: drawn.append(len(batch.items)) or grey(batch),
    )
    assert drawn == sizes
    assert capsys.readouterr().out.split() == [str(i) for i in range(n)]


def test_batch_is_saved_while_the_next_is_drawn(make, monkeypatch):
    next_is_drawn, drawn, saved = threading.Event(), [], []

    def wait(run, batch, images):
        assert batch.items[0].seed or next_is_drawn.wait(60)
        saved.append(batch.items[0].seed)

    def sample(batch):
        drawn.append(batch)
        if len(drawn) == 2:
            next_is_drawn.set()
        return grey(batch)

    monkeypatch.setattr(runner.Run, "_publish", wait)
    draw(make("cat", "-n", 3), sample)
    assert saved == [0, 1, 2]


def test_what_was_drawn_is_saved_when_the_next_batch_fails(make, capsys):
    def sample(batch):
        if batch.items[0].seed == 2:
            raise KeyboardInterrupt
        return grey(batch)

    with pytest.raises(KeyboardInterrupt):
        draw(make("cat", "-n", 3), sample)
    assert capsys.readouterr().out.split() == ["0", "1"]


def test_image_that_cannot_be_saved_stops_the_run(make, monkeypatch):
    drawn = []

    def fail(*_):
        raise UserError("no room")

    monkeypatch.setattr(runner.Run, "_publish", fail)
    with pytest.raises(UserError, match="no room"):
        draw(make("cat", "-n", 9), lambda batch: drawn.append(batch) or grey(batch))
    assert len(drawn) <= 2


def spoilt(batch):
    """Seed 3 spoils the whole of a batch."""
    if any(item.seed == 3 for item in batch.items):
        raise NonFiniteError("the model returned values that are not finite")
    return grey(batch)


def test_images_of_a_batch_that_failed_are_drawn_one_by_one(make, capsys):
    run, sizes = make("cat", "-n", 5, "-bs", 2, "--keep-going"), []
    with pytest.raises(PartialFailure, match="1 image was left out"):
        draw(run, lambda batch: sizes.append(len(batch.items)) or spoilt(batch))
    out, err = capsys.readouterr()
    assert out.split() == ["0", "1", "2", "4"]
    assert sizes == [2, 2, 1, 1, 1]
    assert "left out: seed 3: the model returned" in err


def test_failure_stops_a_run_that_is_not_to_keep_going(make, capsys):
    with pytest.raises(NonFiniteError):
        draw(make("cat", "-n", 5), spoilt)
    assert capsys.readouterr().out.split() == ["0", "1", "2"]


def test_a_bug_stops_a_run_that_keeps_going(make):
    def sample(batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        draw(make("cat", "--keep-going"), sample)


def test_gradients_are_there_where_clip_steers_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argv, inference in ((["cat"], False), (["cat", "-cs", "0"], True), ([], True)):
        run = runner.Run(runner.Plan(Jobs(CLIP, [*FLAGS, *argv])))
        assert run.needs_gradients is not inference
        with next(run.batches()):
            assert torch.is_inference_mode_enabled() is inference
            assert not torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_progress_counts_images_on_a_terminal_and_is_gone_at_the_end(make, monkeypatch):
    run, terminal = make("cat", "-n", 5, "-bs", 2), Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    draw(run)
    shown = terminal.getvalue()
    assert "images 1-2 of 5" in shown
    assert "image 5 of 5" in shown
    assert "emoji: image 5 of 5, step 3 of 3 |" in shown
    assert not shown.splitlines()[-1].strip()


def test_progress_is_that_of_all_processes(make, monkeypatch):
    class Others(Alone):
        def finished(self, own):
            return own + 4

    run, terminal = make("cat", "-n", 9, "-bs", 2), Terminal()
    run.plan.worker = Others()
    monkeypatch.setattr(sys, "stderr", terminal)
    batches = run.batches()
    batch = next(batches)
    with batch:
        run.progress.bar.mininterval = 0
        run.show(1)
        assert run.progress.bar.n == 5
    batches.close()


def test_where_nobody_watches_there_is_no_progress(make, capfd):
    run = make("cat", "-n", 3)
    capfd.readouterr()
    draw(run)
    assert capfd.readouterr().err == ""


def test_a_batch_has_no_option_that_its_images_may_have_otherwise(make):
    for batch in make("a cat", "-n", 2).batches():
        with batch:
            assert (batch.image.size, batch.image.steers) == ([16, 16], False)
            for name in ("seed", "prompts", "init", "n"):
                with pytest.raises(AttributeError, match=f"take item.image.{name} of each item"):
                    getattr(batch.image, name)
            batch.run.save(batch, grey(batch))


def test_evaluations_are_counted_in_rows(make):
    run = make("cat", "-n", 2, "-bs", 2)
    batch = next(run.batches())
    model = run.prepared(lambda x, t: x, batch)
    for _ in range(3):
        model(torch.zeros(2, 3, 16, 16), torch.ones(2))
    assert batch.evaluations == 6


def test_a_save_that_fails_is_told_as_such_and_stops_a_run_that_keeps_going(make):
    run = make("-n", "3", "--keep-going")
    drawn = []

    def fails():
        raise OSError(28, "No space left on device")

    def draw_all():
        for batch in run.batches():
            with batch:
                drawn.append(batch.items[0].seed)
                run.finish(batch, fails)

    with pytest.raises(OSError, match="No space"):
        draw_all()
    assert drawn == [0, 1]  # none is drawn again for another's fault
