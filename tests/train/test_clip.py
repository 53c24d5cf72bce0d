import json
import math

import pytest
import torch
from torch.nn.functional import normalize

from models import clip
from tests.train.squares import COLOURS
from train import clip as trainer


def train(folder, path, steps, every=4, more=()):
    """A run of the trainer in `path`: (the weights it wrote, what it logged)."""
    output = path / "clip.safetensors"
    argv = ["--data", folder, "--output", output, "--run", path, "--device", "cpu"]
    argv += ["--batch-size", 8, "--steps", steps, "--every", every, "--dtype", "float32", *more]
    trainer.main([str(value) for value in argv])
    log = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return output, log


@pytest.fixture(scope="module")
def trained(squares, tmp_path_factory):
    """A CLIP of 24 steps: (its weights, what was logged)."""
    return train(squares, tmp_path_factory.mktemp("clip"), 24)


def test_a_few_steps_on_any_folder_lower_the_loss_and_give_a_clip_that_knows_it(trained):
    output, log = trained
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    ours = clip.load("emoji", output)
    images = torch.stack(
        [torch.tensor(c)[:, None, None].expand(3, 64, 64) for c in COLOURS.values()]
    )
    with torch.inference_mode():
        texts = normalize(ours.encode_text([f"a {name} square" for name in COLOURS]))
        cosines = ours.encode_image(images / 127.5 - 1) @ texts.T
    assert cosines.argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_killed_run_ends_as_the_unbroken_one(squares, tmp_path, monkeypatch):
    whole, _ = train(squares, tmp_path / "whole", 4, every=2)

    calls, loss = [], trainer.contrastive_loss

    def killed(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "contrastive_loss", killed)
        with pytest.raises(KeyboardInterrupt):
            train(squares, tmp_path / "broken", 4, every=2)
    assert not (tmp_path / "broken" / "clip.safetensors").exists()
    resumed, log = train(squares, tmp_path / "broken", 4, every=2)
    assert [entry["step"] for entry in log] == [2, 4]
    assert resumed.read_bytes() == whole.read_bytes()


def test_begun_from_another_clip_it_knows_what_that_one_knew(trained, squares, tmp_path):
    first, log = trained
    _, later = train(squares, tmp_path, 4, more=["--init", first])
    assert later[0]["loss"] < 0.8 * log[0]["loss"]


def test_tokens_keep_the_embeddings_of_what_they_spell(trained):
    config = clip.CLIPS["emoji"].config
    known, _ = trained
    old = clip.load("emoji", known)
    merges = trainer.merges_for(["an extraordinarily green tarantula"])
    tokenizer = clip.tokenizer_of(merges, config["text_cfg"]["context_length"])
    model = clip.build(config, tokenizer.vocab_size)
    trainer.begin_from(known, model, tokenizer, config["text_cfg"]["context_length"])
    for word in ("green</w>", "a</w>"):
        then = old.model.token_embedding.weight[old.tokenizer.encoder[word]]
        now = model.token_embedding.weight[tokenizer.encoder[word]]
        assert torch.equal(now, then)
    assert torch.equal(model.visual.proj, old.visual.proj)


def test_loss_is_that_of_guessing_for_equal_embeddings_and_nothing_for_perfect_ones():
    same, eye = torch.ones(4, 8) / math.sqrt(8), torch.eye(4, 8)
    distinct = torch.arange(4)
    assert trainer.contrastive_loss(same, same, 10.0, distinct).item() == pytest.approx(math.log(4))
    assert trainer.contrastive_loss(eye, eye, 100.0, distinct).item() < 1e-6


def test_pairs_with_the_same_text_are_no_counter_examples_of_each_other():
    embeds = torch.eye(4)[[0, 0, 1, 2]]
    loss = trainer.contrastive_loss
    assert loss(embeds, embeds, 100.0, torch.tensor([0, 0, 1, 2])).item() < 1e-6
    assert loss(embeds, embeds, 100.0, torch.arange(4)).item() > 0.3


def test_merges_keep_the_words_of_the_captions_whole():
    tokenizer = clip.tokenizer_of(trainer.merges_for(["a four leaf clover"]), 24)
    theirs = trainer.SimpleTokenizer(context_length=24)
    for text in ("a four leaf clover", "clover leaf"):
        assert (tokenizer([text]) > 0).sum() == (theirs([text]) > 0).sum()
    assert tokenizer.vocab_size < 3000 < theirs.vocab_size
