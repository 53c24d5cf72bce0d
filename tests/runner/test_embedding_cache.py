"""Embeddings of prompts that are kept on disk, and what may be wrong with them there."""

import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from models import clip
from models.checkpoints import CHECKPOINTS
from runner import embedding_cache
from runner.embedding_cache import embed_texts

ROOT = Path(__file__).parents[2]
FAST = ("--model", "emoji", "--steps", "2", "--dtype", "float32")
SCRIPTS = ("cfg_sample.py", "clip_sample.py", "reverse_sample.py", "cfg_modify_image.py")


@pytest.fixture(scope="module")
def reader():
    return clip.load("emoji")


@pytest.fixture
def place(monkeypatch, tmp_path):
    """The folder of an empty cache."""
    monkeypatch.setenv("V_DIFFUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"


@pytest.fixture
def embed(reader, place):
    """A function: texts -> (embeddings, how many texts CLIP had to read)."""

    class Counting:
        read = 0

        def encode_text(self, texts):
            self.read += len(texts)
            return reader.encode_text(texts)

        def unread(self, text):
            return reader.unread(text)

    def call(*texts, checkpoint=None, dim=reader.dim, enabled=True):
        counting = Counting()
        with torch.inference_mode():
            embeds = embed_texts(texts, "emoji", checkpoint, dim, lambda: counting, enabled)
        return embeds, counting.read

    return call


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def entries(place):
    return sorted(place.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def test_embedding_from_the_cache_is_the_computed_one_to_the_bit(embed, reader):
    first, read = embed("a cat", "", "ein Haus \N{PILE OF POO}")
    assert read == 3
    again, read = embed("ein Haus \N{PILE OF POO}", "a cat", "")
    assert read == 0
    assert same_bits(first[[2, 0, 1]], again)
    assert same_bits(first[:1], reader.encode_text(["a cat"]))
    assert same_bits(first, embed("a cat", "", "ein Haus \N{PILE OF POO}", enabled=False)[0])


def test_only_what_is_missing_is_read(embed):
    cat, _ = embed("a cat")
    both, read = embed("a cat", "a dog")
    assert read == 1
    assert same_bits(both[:1], cat)
    assert not torch.equal(both[0], both[1])
    assert embed("a dog", "a cat")[1] == 0


def test_no_texts_are_no_embeddings_and_load_no_clip(embed, place):
    embeds, read = embed()
    assert (embeds.shape, read, place.exists()) == ((0, 256), 0, False)


def test_other_weights_or_another_clip_or_another_text_miss(embed, tmp_path):
    assert [embed("a cat")[1], embed("a cat ")[1], embed("A cat")[1]] == [1, 1, 1]
    path = tmp_path / "other.safetensors"
    path.write_bytes((CHECKPOINTS / "emoji_clip.safetensors").read_bytes())
    assert embed("a cat", checkpoint=path)[1] == 0  # the same file elsewhere
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x3d")
    assert embed("a cat", checkpoint=path)[1] == 1
    assert embed("a cat", checkpoint=path)[1] == 0
    known = [embedding_cache.circumstances_of(n, None, "cpu") for n in ("emoji", "ViT-B-16")]
    known += [embedding_cache.circumstances_of(f"ViT-L-14:{w}", None, "cpu") for w in ("a", "b")]
    assert len({embedding_cache.key_of(facts, "a cat") for facts in known}) == 4


def test_number_of_threads_is_part_of_the_key_as_it_rounds_otherwise(embed, monkeypatch):
    embed("a cat")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert embed("a cat")[1] == 1


def test_cache_keeps_what_was_used_last_and_stays_small(embed, place, monkeypatch):
    monkeypatch.setattr(embedding_cache, "MAX_ENTRIES", 4)
    for age, text in enumerate("abcd"):
        embed(text)
        os.utime(entries(place)[-1], (age, age))
    theirs = place / "holiday.jpg"
    theirs.write_bytes(b"not ours")
    left = place / ".0123456789abcdef.part"  # by a process that was killed
    left.write_bytes(b"half")
    os.utime(left, (0.5, 0.5))
    assert embed("a")[1] == 0
    embed("e", "f")
    assert not left.exists()
    assert theirs.read_bytes() == b"not ours"
    assert len(entries(place)) == 4 + 1
    assert [embed(text)[1] for text in "aefd"] == [0, 0, 0, 0]
    assert embed("b")[1] == 1
    size = sum(path.stat().st_size for path in entries(place) if path != theirs)
    assert size < 4 * 2000


def _flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _replace(path, **changes):
    save_file({**load_file(path), **changes}, path)


def _fill(path, value, dim=256):
    """With a check that is right: anybody can compute it."""
    entry = embedding_cache.Entry(torch.full((dim,), value))
    embedding_cache.write(path.parent, path.stem, entry)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "another format": lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n."),
    "a bit of a number": lambda path: _flip(path, -200),
    "a bit of the header": lambda path: _flip(path, 20),
    "huge header": lambda path: path.write_bytes(b"\xff" * 8 + b"{}"),
    "huge file": lambda path: path.write_bytes(path.read_bytes() + bytes(2**17)),
    "sparse terabyte": lambda path: os.truncate(path, 2**40),
    "another shape": lambda path: _fill(path, 1.0, dim=8),
    "a matrix": lambda path: _replace(path, embedding=load_file(path)["embedding"][None]),
    "nan": lambda path: _fill(path, torch.nan),
    "another type": lambda path: _replace(path, embedding=torch.ones(256, dtype=torch.float16)),
    "no check": lambda path: save_file({"embedding": load_file(path)["embedding"]}, path),
    "a check of floats": lambda path: _replace(path, sha256=torch.zeros(32)),
    "other numbers": lambda path: _replace(path, embedding=torch.ones(256)),
    "unreadable": lambda path: os.chmod(path, 0),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_entry_is_as_none_and_is_mended(embed, place, damage, capsys):
    first, _ = embed("a cat")
    if damage == "unreadable" and hasattr(os, "geteuid") and os.geteuid() == 0:
        pytest.skip("root reads everything")
    DAMAGE[damage](entries(place)[0])
    with warnings.catch_warnings(action="error"):
        again, read = embed("a cat")
    assert read == 1
    assert same_bits(first, again)
    assert embed("a cat")[1] == 0
    assert capsys.readouterr().err == ""


def test_entry_of_another_text_under_this_ones_name_is_not_believed(embed, place):
    embed("a cat")
    cat = entries(place)[0]
    embed("a dog")
    dog = next(path for path in entries(place) if path != cat)
    dog.write_bytes(cat.read_bytes())
    assert embed("a dog")[1] == 1


def test_embedding_of_an_unexpected_size_is_not_taken_from_the_cache(embed):
    embed("a cat")
    assert embed("a cat", dim=512)[1] == 1


def test_place_that_cannot_be_written_to_costs_one_line(embed, place, capsys):
    place.parent.mkdir()
    place.write_text("a file where the folder belongs")
    embeds, read = embed("a cat", "a dog")
    assert (len(embeds), read) == (2, 2)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "note: embeddings are not kept" in err


def test_folder_where_an_entry_belongs_costs_one_line(embed, place, capsys):
    first, _ = embed("a cat")
    path = entries(place)[0]
    path.unlink()
    path.mkdir()
    again, read = embed("a cat")
    assert (read, capsys.readouterr().err.count("\n")) == (1, 1)
    assert same_bits(first, again)
    assert entries(place) == [path]


def test_folder_that_is_only_read_still_serves(embed, place, capsys, monkeypatch):
    first, _ = embed("a cat")
    mode = place.stat().st_mode

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    if hasattr(os, "geteuid") and os.geteuid() == 0:  # whom no mode stops
        monkeypatch.setattr(Path, "write_bytes", refuse)
        monkeypatch.setattr(os, "utime", refuse)
    place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        again, read = embed("a cat")
        assert (read, capsys.readouterr().err) == (0, "")
        assert same_bits(first, again)
        _, read = embed("a dog", "a fox")
        err = capsys.readouterr().err
        assert (read, err.count("\n")) == (2, 1)
        assert "Permission denied" in err
    finally:
        place.chmod(mode)
    assert len(entries(place)) == 1


def test_where_there_is_no_place_for_a_cache_texts_are_read_anew(embed, monkeypatch, capsys):
    monkeypatch.setattr(embedding_cache, "cache_folder", lambda kind: None)
    assert [embed("a cat")[1], embed("a cat")[1]] == [1, 1]
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_two_processes_at_once_both_get_their_embeddings(place):
    program = """
import hashlib, sys, torch
from runner import embedding_cache
from models import clip
embedding_cache.MAX_ENTRIES = 3  # so that each removes what the other needs
reader = clip.load("emoji")
digest = hashlib.sha256()
print("ready", flush=True)
sys.stdin.readline()
with torch.inference_mode():
    for i in range(15):
        texts = [f"a cat {i % 4}", f"a dog {i % 3}"]
        embeds = embedding_cache.embed_texts(texts, "emoji", None, 256, lambda: reader)
        assert torch.equal(embeds, torch.cat([reader.encode_text([text]) for text in texts]))
        digest.update(embeds.numpy().tobytes())
print(digest.hexdigest())
"""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    (out, err), (other_out, other_err) = (process.communicate(timeout=1000) for process in both)
    assert (err, other_err) == ("", "")
    assert len(out) == 65
    assert out == other_out
    assert len(entries(place)) <= 4  # one may have been added since the last look
    assert not list(place.glob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flags"), [("cfg_sample", ()), ("clip_sample", ("-cs", "0"))])
def test_second_run_of_a_prompt_imports_no_open_clip(script, name, flags, place):
    """And draws the same image; the first one is drawn here, the second in a process of its own."""
    run, common = script(name), ("a red apple", *FAST, *flags)
    assert run(*common, "-o", "first.png")[0] == 0
    assert run(*common, "-o", "fresh.png", "--no-embedding-cache")[0] == 0
    program = """
import runpy, sys
script, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as stop:
    assert not stop.code
print([name for name in ("open_clip", "torchvision") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, ROOT / f"{name}.py", *common, "-o", "second.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["second.png", "[]"]
    assert "a red apple" in done.stderr
    pixels = [np.asarray(Image.open(f"{n}.png")) for n in ("first", "fresh", "second")]
    assert np.array_equal(pixels[0], pixels[1])
    assert np.array_equal(pixels[0], pixels[2])


def test_flag_leaves_the_cache_alone(cfg_sample, place):
    assert cfg_sample(*FAST, "a cat", "--no-embedding-cache")[0] == 0
    assert not place.exists()
    assert cfg_sample(*FAST, "a cat")[0] == 0
    assert len(entries(place)) == 1


def test_edits_and_inversions_use_the_cache_too(
    reverse_sample, cfg_modify_image, place, monkeypatch
):
    Image.new("RGB", (64, 64), (40, 200, 90)).save("green.png")
    texts = ("green.png", "a blue heart")
    reverse = (*texts, *FAST, "-o", "x.safetensors", "--overwrite")
    modify = (*texts, "--source", "a red heart", *FAST, "-o", "x.png", "--overwrite")
    assert reverse_sample(*reverse)[0] == 0
    assert cfg_modify_image(*modify)[0] == 0
    assert len(entries(place)) == 2  # they share that of the blue heart
    monkeypatch.setattr(clip, "load", lambda *_: pytest.fail("a CLIP was loaded"))
    assert reverse_sample(*reverse)[0] == 0
    assert cfg_modify_image(*modify)[0] == 0


def test_damaged_clip_is_told_and_not_hidden_by_the_cache(cfg_sample, place, tmp_path):
    assert cfg_sample(*FAST, "a cat")[0] == 0
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    status, _, err = cfg_sample(*FAST, "a cat", "--clip-checkpoint", "broken.safetensors")
    assert status == 2
    assert "broken.safetensors" in err.splitlines()[-1]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_that_takes_prompts_has_the_flag(script):
    done = subprocess.run(
        [sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True
    )
    assert "--no-embedding-cache" in done.stdout
