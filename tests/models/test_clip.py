import functools

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file
from torch.nn.functional import normalize

from models import clip, zoo
from models.checkpoints import CheckpointError
from models.zoo import clip_row


@pytest.fixture(scope="module")
def emoji():
    return clip.load("emoji")


TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 77, "width": 16, "heads": 2, "layers": 1, "vocab_size": 49408},
}


@pytest.fixture(autouse=True)
def small_ones(monkeypatch):
    """Two architectures of open_clip in small, and a third that it does not know."""
    for name in ("ViT-B-16", "ViT-B-16-quickgelu", "tiny"):
        quick = {"quick_gelu": True} if name == "ViT-B-16-quickgelu" else {}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, TINY | quick)
    tag = open_clip.pretrained._pcfg
    tags = {"quick": tag(quick_gelu=True), "plain": tag(), "colours": tag(mean=(0.5,) * 3)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", tags)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small open_clip model with QuickGELU and random weights, and a file of its weights."""
    torch.manual_seed(0)
    model = open_clip.CLIP(**TINY, quick_gelu=True).eval()
    path = tmp_path_factory.mktemp("clip") / "vit.pt"
    torch.save(model.state_dict(), path)
    return model, path


def test_wordings_of_one_thing_are_near_each_other_and_far_from_others(emoji):
    cat, face, kitty, dog, apple = normalize(
        emoji.encode_text(["a cat", "cat face", "kitty", "a dog", "red apple"])
    )
    assert min(cat @ face, cat @ kitty) > 0.8
    assert max(cat @ dog, cat @ apple) < 0.6


def test_any_text_has_an_embedding_of_its_own(emoji):
    texts = ["", "zzyzx", "ünïcödé 猫", "🦊", "word " * 500]
    embeds = emoji.encode_text(texts)
    assert embeds.shape == (5, emoji.dim)
    assert torch.isfinite(embeds).all()
    assert len({tuple(e) for e in embeds.tolist()}) == 5
    assert emoji.encode_text([]).shape == (0, emoji.dim)


def test_image_embeddings_have_unit_length_and_gradients_flow_through_them(emoji):
    images = torch.zeros(2, 3, emoji.image_size, emoji.image_size, requires_grad=True)
    embeds = emoji.encode_image(images)
    assert torch.allclose(embeds.norm(dim=1), torch.ones(2), atol=1e-6)
    embeds[:, 0].sum().backward()
    assert images.grad.abs().sum() > 0


def test_image_half_alone_reads_the_same():
    whole, half = clip.load("emoji"), clip.load("emoji")
    half.read_images_in(torch.float32)
    assert half.model is None
    assert not half.visual.transformer.batch_first
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, half.image_size, half.image_size, generator=generator) * 2 - 1
    grads = []
    for reader in (whole, half):
        images = images.detach().requires_grad_()
        embeds = reader.encode_image(images)
        grads.append(torch.autograd.grad(embeds[:, 0].sum(), images)[0])
        assert torch.allclose(embeds, whole.encode_image(images), atol=1e-6)
    # Rounding alone comes to 1.5e-6 of the greatest.
    assert (grads[0] - grads[1]).abs().max() <= 3e-6 * grads[0].abs().max()


def test_embeddings_are_those_of_open_clip_with_quick_gelu(published):
    model, path = published
    ours = clip.load("ViT-B-16", path)
    images = torch.rand(1, 3, 8, 8)
    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    tokens = open_clip.get_tokenizer("ViT-B-16")(["a cat"])
    with torch.inference_mode():
        by_hand = normalize(model.encode_image((images - mean) / std))
        text = model.encode_text(tokens)
        assert torch.allclose(ours.encode_image(images * 2 - 1), by_hand, atol=1e-5)
        assert torch.allclose(ours.encode_text(["a cat"]), text, atol=1e-5)
    gelu = open_clip.create_model("ViT-B-16", load_weights=False).eval()
    gelu.load_state_dict(model.state_dict())
    with torch.inference_mode():  # the wrong activation does show
        assert not torch.allclose(gelu.encode_text(tokens), text, atol=1e-4)


def activation(reader):
    return type(reader.visual.transformer.resblocks[0].mlp.gelu).__name__


@pytest.mark.parametrize(("name", "wanted"), [("tiny:quick", "QuickGELU"), ("tiny:plain", "GELU")])
def test_activation_is_that_of_the_weights_which_the_name_says(
    published, monkeypatch, name, wanted
):
    _, path = published
    assert activation(clip.load(name, path)) == wanted
    weights = str(path)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: weights)
    assert activation(clip.load(name)) == wanted


@pytest.mark.parametrize("name", ["tiny", "tiny:quik"])
def test_file_whose_activation_is_not_known_is_refused(published, name):
    with pytest.raises(CheckpointError, match=r"tiny:WEIGHTS \(there are quick, plain, .*differ"):
        clip.load(name, published[1])


def test_file_of_an_architecture_whose_weights_are_alike_needs_no_name_of_them(
    published, monkeypatch
):
    tags = {"one": open_clip.pretrained._pcfg(quick_gelu=True)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", tags)
    assert activation(clip.load("tiny", published[1])) == "QuickGELU"
    monkeypatch.delitem(open_clip.pretrained._PRETRAINED, "tiny")
    assert activation(clip.load("tiny", published[1])) == "GELU"


def test_no_weights_of_open_clip_get_another_activation_than_they_were_trained_with():
    for architecture, tag in open_clip.list_pretrained():
        wanted = open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu")
        config = open_clip.get_model_config(architecture)
        if wanted and config and not config.get("quick_gelu"):
            row = clip_row(f"{architecture}:{tag}")
            assert clip.trained_with(row)["force_quick_gelu"], row


def test_colours_are_those_that_the_weights_were_trained_with(published):
    assert clip.load("tiny:colours", published[1]).visual.image_mean == (0.5,) * 3
    # All weights of the architecture have these, so a file needs no more than its name.
    how = clip.trained_with(clip_row("ViT-B-16-SigLIP"))
    assert how["force_preprocess_cfg"] == {"mean": (0.5,) * 3, "std": (0.5,) * 3}


def test_file_of_another_clip_is_refused_in_one_line(published):
    _, path = published
    with pytest.raises(CheckpointError, match="not the bundled CLIP") as error:
        clip.load("emoji", path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", clip.CLIPS)
def test_tensors_that_are_no_clip_are_refused_in_one_line(tmp_path, name):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"merges": '"a b"'})
    with pytest.raises(CheckpointError, match=r"another CLIP: missing .* unexpected") as error:
        clip.load(name, tmp_path / "x.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "merges", ['"a b\\na b"', '"\\ud800"', "[" * 100_000, '"a b', "7", "9" * 9999, "null"]
)
def test_checkpoint_without_a_tokenizer_that_can_be_used_is_refused(tmp_path, merges):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"merges": merges})
    with pytest.raises(CheckpointError, match="not the bundled CLIP"):
        clip.load("emoji", tmp_path / "x.safetensors")


def test_keys_of_a_file_cannot_drive_the_terminal(tmp_path):
    save_file({"\x1b[2J\n": torch.zeros(1)}, tmp_path / "x.safetensors", {"merges": '"a b"'})
    with pytest.raises(CheckpointError, match=r"unexpected '\\x1b\[2J\\n'") as error:
        clip.load("emoji", tmp_path / "x.safetensors")
    assert str(error.value).isprintable()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_is_refused_in_one_line(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "program.pt")
    with pytest.raises(CheckpointError, match=r"TorchScript archive, .*\.state_dict\(\)") as error:
        clip.load("ViT-B-16", tmp_path / "program.pt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prefix", [False, True])
def test_a_converted_file_of_openai_is_read(published, tmp_path, prefix):
    model, _ = published
    sizes = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    tensors = {key: torch.tensor(value) for key, value in sizes.items()}
    half = {key: value.half() for key, value in model.state_dict().items()}
    half = {f"module.{key}": value for key, value in half.items()} if prefix else half
    torch.save(half | tensors, tmp_path / "converted.pt")
    ours = clip.load("ViT-B-16", tmp_path / "converted.pt")
    assert torch.equal(ours.model.text_projection, model.text_projection.half().float())


def test_a_download_that_fails_says_how_to_give_a_file(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host\nand more lines")

    monkeypatch.setattr(open_clip, "create_model", offline)
    wanted = r"OSError: no route to host.*--clip-checkpoint"
    with pytest.raises(CheckpointError, match=wanted) as error:
        clip.load("ViT-B-16")
    assert "\n" not in str(error.value)


def test_a_tokenizer_that_is_not_here_is_one_line(monkeypatch):
    def missing(*_):
        raise ImportError("transformers\nis not installed")

    monkeypatch.setattr(open_clip, "get_tokenizer", missing)
    with pytest.raises(CheckpointError, match=r"tokenizer .*\(ImportError: transformers\)"):
        clip.load("tiny:plain")


def test_tokenizer_needs_no_temporary_folder(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert clip.tokenizer_for("emoji")(["a cat"]).shape == (1, 24)


def test_fault_of_the_environment_is_not_told_as_one_of_the_file(monkeypatch):
    def full(*_):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(clip, "safe_open", full)
    with pytest.raises(CheckpointError, match="cannot be read: Cannot allocate memory"):
        clip.load("emoji")


LONG = "a red apple beside a green pear on a light blue ground, in the style of van gogh,"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("a red apple", ""),
        (LONG, ""),
        (f"{LONG} a cat", "a cat"),
        (f"{LONG} a cat. " + "word " * 500, "a cat . " + "word " * 499 + "word"),
    ],
)
def test_what_is_not_read_is_told_without_weights(emoji, monkeypatch, text, rest):
    assert emoji.unread(text) == rest
    monkeypatch.setattr(clip, "read", lambda *_: pytest.fail("weights were read"))
    assert clip.unread(clip.tokenizer_for("emoji"), text) == rest


def test_what_is_not_read_changes_nothing_and_what_is_read_does(emoji):
    one, other, third = emoji.encode_text([f"{LONG} a cat", f"{LONG} dog", f"{LONG[:-1]} a cat"])
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


@settings(deadline=None)
@given(st.text() | st.text("İȺŉ\U0001d160\u0958ﬃ&; aé", max_size=30))
def test_only_a_text_that_may_be_cut_is_cut(text):
    for name in ("emoji", "ViT-B-16", "tiny:plain"):
        if not zoo.may_be_cut(name, text):
            assert clip.unread(tokenizers(name), text) == ""


@functools.cache
def tokenizers(name):
    return clip.tokenizer_for(name, None if name == "emoji" else "any file")


def test_limits_of_the_table_are_those_of_open_clip():
    lengths = [
        open_clip.get_model_config(name)["text_cfg"].get("context_length", 77)
        for name in open_clip.list_models()
    ]
    assert min(lengths) == zoo.LEAST_TOKENS
    assert zoo.CLIPS["ViT-B-16"].tokens == tokenizers("ViT-B-16").context_length
    assert zoo.may_be_cut("emoji", LONG)
    assert not zoo.may_be_cut("ViT-B-16", LONG)


def test_a_str_is_one_text(emoji):
    assert torch.equal(emoji.encode_text("a cat"), emoji.encode_text(["a cat"]))


def test_tokens_follow_the_merges_they_are_given():
    tokenizer = clip.tokenizer_of("c a\nca t</w>", context_length=6)
    whole, letters = tokenizer(["cat", "act"])
    assert (whole > 0).sum() == 3  # start, "cat", end
    assert (letters > 0).sum() == 5


def test_what_is_no_weight_is_drawn_as_ever():
    with clip.without_random_weights():
        noise = torch.nn.init.trunc_normal_(torch.full((1000,), 1e30))
    assert noise.abs().max() <= 2
    assert noise.std() > 0.5


@pytest.mark.parametrize(
    "build",
    [
        lambda: torch.nn.Linear(64, 64),
        lambda: torch.nn.Conv2d(3, 8, 3),
        lambda: torch.nn.Embedding(8, 8),
        lambda: torch.nn.MultiheadAttention(64, 4),
    ],
)
def test_no_random_weights_are_drawn_for_layers_that_a_file_fills(build):
    before = torch.random.get_rng_state()
    with clip.without_random_weights():
        build()
    assert torch.equal(torch.random.get_rng_state(), before)
    build()
    assert not torch.equal(torch.random.get_rng_state(), before)


def test_loading_leaves_no_trace_on_the_terminal(emoji, capfd):
    clip.load("emoji")
    assert capfd.readouterr() == ("", "")
