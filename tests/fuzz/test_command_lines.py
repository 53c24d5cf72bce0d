"""Command lines: flags in any order, with whatever a keyboard or a shell makes of them."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffusion
from models import NETWORKS
from tests.fuzz import corpus, mutate, tensor_corpus
from tests.fuzz.command_line import SCRIPTS, answer, flags

VALUES = (
    "", " ", "-", "--", "0", "-0", "1", "2", "-1", "0.5", "7.5", "1e999", "1e-999", "nan", "inf",
    "0x10", "1_0", "１", "9" * 25, "9" * 5000, "100000", "64", "256", "1-5", "5-1", "1,5-9",
    "0-9223372036854775807", "9223372036854775807", "9223372036854775808", "16384", "cpu",
    "cuda:1", "a.png", "b.png", "x.safetensors", "weights.pth", "folder",
    ".", "..", "/", "/dev/null", "missing.png", "a.png:2", "http://host:80/a.png", "http://[",
    "file:///etc/passwd", "out_{index}.png", "{prompt}.png", "{seed:09}.png", "{index",
    "folder/{photo}.safetensors", "../{model}.png", "a.png/x.png", "y" * 242 + ".safetensors",
    "a cat", "a cat:2", "a dog:-1", "a cat:1e308", "a\\:2", ":3", "ViT-B/16", "RN50:openai",
    "float32", "auto", *diffusion.METHODS, *diffusion.SCHEDULES, *NETWORKS,
)  # fmt: skip
FITTING = {  # what people give with a flag, so that flags meet each other, too
    "--model": tuple(NETWORKS),
    "--method": tuple(diffusion.METHODS),
    "--schedule": tuple(diffusion.SCHEDULES),
    "--size": ("64 64", "256 128", "63 64"),
    "--guidance-interval": ("0 1", "0.2 0.9", "0.9 0.2"),
    "--images": ("a.png", "a.png:2 b.png:-1"),
    "--source": ("a cat", "cat:2 dog:-2"),
    "--latent": ("x.safetensors",),
    "--from-png": ("a.png", "b.png"),
    "--checkpoint": ("weights.pth",),
    "--clip-checkpoint": ("weights.pth",),
    "--init": ("b.png", "missing.png"),
    "--mask": ("b.png",),
    "--output": ("{prompt}.png", "{seed}.png", "folder/{index}.png", "{photo}.safetensors"),
    "--seeds": ("1,5-9", "0-3"),
    "--eta": ("0", "0.5", "1"),
    "--tolerance": ("0.01",),
    "--clip-model": ("emoji", "ViT-B-16", "RN50:openai"),
    "--device": ("cpu",),
    "--dtype": ("float32", "bfloat16"),
    "--mirror": ("http://host/",),
    "--clip-guidance-scale": ("0", "500"),
    "--task": ("inpaint", "outpaint", "upscale", "colourise", "deblur", "denoise"),
    "--pad": ("8 8 8 8", "0 0 0 0", "0 0 60 60"),
    "--factor": ("2", "3", "4"),
    "--by": ("ddnm", "mmps"),
}
PHOTOS = ("reverse_sample", "cfg_modify_image", "restore_sample")
NUMBERS = ("1", "2", "0.5")
# No program can be given a NUL in its arguments, or what is not in the encoding of file names.
typed = mutate.texts().filter(lambda text: not re.search("[\0\ud800-\udc7f\udd00-\udfff]", text))
values = st.sampled_from(VALUES) | typed


@st.composite
def command_lines(draw, script):
    """Prompts and a few flags, mostly each with a value; or words in any order."""
    flag = st.sampled_from(flags(script))
    if draw(st.integers(0, 3)) == 0:
        return draw(st.lists(flag | values, max_size=7))
    photo = ["a.png"] if script in PHOTOS else []
    words = list(photo)
    for name in draw(st.lists(flag, max_size=4)):
        fitting = st.sampled_from(FITTING.get(name, NUMBERS)).map(str.split)
        odd = st.lists(values, max_size=2)
        words += [name, *draw(fitting | fitting | fitting | odd)]
    return [*words, *draw(st.lists(values, max_size=1))]


def answers(script, argv):
    Path("folder").mkdir()
    Path("a.png").write_bytes(corpus.recipe_pngs()["ours"])
    Path("b.png").write_bytes(corpus.pngs()["RGBA"])
    Path("x.safetensors").write_bytes(tensor_corpus.latents()["plain"])
    Path("weights.pth").write_bytes(b"PK")
    return answer(script, argv)


@given(command_lines("cfg_sample"))
def test_cfg_sample_takes_or_refuses_any_arguments(argv):
    answers("cfg_sample", argv)


@given(command_lines("clip_sample"))
def test_clip_sample_takes_or_refuses_any_arguments(argv):
    answers("clip_sample", argv)


@given(command_lines("reverse_sample"))
def test_reverse_sample_takes_or_refuses_any_arguments(argv):
    answers("reverse_sample", argv)


@given(command_lines("cfg_modify_image"))
def test_cfg_modify_image_takes_or_refuses_any_arguments(argv):
    answers("cfg_modify_image", argv)


@given(command_lines("restore_sample"))
def test_restore_sample_takes_or_refuses_any_arguments(argv):
    answers("restore_sample", argv)


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_are_found(script):
    assert {"--model", "-bs", "--steps", "--output", "--images", "-h"} <= set(flags(script))
