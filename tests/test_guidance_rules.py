"""`--guidance` and `--guide` from the command line to the recipe and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import diffusion
import models
from models import checkpoints, clip
from models.zoo import NETWORKS
from recipes import latents
from recipes import recipe as recipes

FAST = ("--model", "emoji", "--steps", "4", "--dtype", "float32", "--size", "16", "16")
RULED = [name for name, row in diffusion.RULES.items() if row.function]


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.fixture
def weak(tmp_path):
    """A checkpoint of emoji that knows a little less."""
    weights = load_file(checkpoints.present(NETWORKS["emoji"]))
    generator = torch.Generator().manual_seed(0)
    for key, weight in weights.items():
        if weight.dim() == 4:
            weights[key] = weight + 0.1 * weight.std() * torch.randn(
                weight.shape, generator=generator
            )
    save_file(weights, tmp_path / "weak.safetensors")
    return "weak.safetensors"


@pytest.fixture
def photo(tmp_path):
    levels = np.linspace(40, 200, 16)[None, :, None] + np.zeros((16, 16, 3))
    Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "photo.png")
    return "photo.png"


def told(run, *argv):
    """The one line of a refusal."""
    status, out, err = run(*argv)
    assert (status, out) == (2, [])
    (line,) = err.splitlines()
    return line


def test_plain_is_what_is_drawn_without_the_flag_and_leaves_no_trace(cfg_sample):
    cfg_sample(*FAST, "a cat:8", "-o", "usual.png")
    cfg_sample(*FAST, "a cat:8", "--guidance", "plain", "-o", "plain.png")
    assert Path("usual.png").read_bytes() == Path("plain.png").read_bytes()
    assert not {"guidance", "guide", "guide_sha256"} & set(recipes.read("plain.png"))


@pytest.mark.parametrize("rule", RULED)
def test_image_of_a_rule_is_drawn_again_to_the_bit(cfg_sample, png_info, rule):
    flags = (*FAST, "a cat:6", "a dog:2", "--guidance", rule, "-n", "3", "-bs", "3")
    status, files, err = cfg_sample(*flags)
    assert (status, "nothing to do" in err) == (0, False)
    written = recipes.read(files[1])["guidance"]
    assert written.split(":")[0] == rule
    assert cfg_sample("--from-png", files[1], "-o", "again.png")[0] == 0
    assert np.array_equal(pixels("again.png"), pixels(files[1]))
    _, (command,), _ = png_info("--command", files[1])
    assert (f"--guidance {written} " if ":" in written else f"--guidance {rule} ") in command
    cfg_sample(*FAST, "a cat:6", "a dog:2", "--seed", "1", "-o", "plain.png")
    assert abs(pixels("plain.png") - pixels(files[1])).max() > 3


def test_rule_draws_what_the_library_draws(cfg_sample):
    flags = ("a cat:8", "--guidance", "apg:0.1:0.3:0.2", "--schedule", "linear")
    assert cfg_sample(*FAST, *flags, "--guidance-interval", "0.3", "1", "-o", "a.png")[0] == 0
    embeds = clip.load("emoji").encode_text(["a cat"])
    how = {"interval": (0.3, 1), "rule": "apg:0.1:0.3:0.2"}
    with torch.inference_mode():
        model = diffusion.guided(models.load("emoji"), embeds, [8.0], **how)
        x = diffusion.noise([0], (3, 16, 16))
        x = diffusion.sample(model, x, diffusion.schedule("linear", 4))[0]
    by_hand = ((x.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    assert abs(pixels("a.png") - by_hand).max() < 1


def test_rules_are_swept_and_written_in_job_files(cfg_sample, tmp_path):
    sweep = ("--sweep", "guidance=plain,rescale,rescale:0.3", "-bs", "3", "-o", "{index}.png")
    assert cfg_sample(*FAST, "a cat:8", *sweep)[0] == 0
    found = [recipes.read(f"{i}.png").get("guidance") for i in range(3)]
    assert found == [None, "rescale:0.7", "rescale:0.3"]
    (tmp_path / "jobs.txt").write_text(
        "'a cat:8' --guidance rescale:0.3\n" + json.dumps({"prompt": "a cat:8", "guidance": "apg"})
    )
    assert cfg_sample(*FAST, "--from-file", "jobs.txt", "-bs", "2", "-o", "j{line}.png")[0] == 0
    assert np.array_equal(pixels("j1.png"), pixels("2.png"))
    assert recipes.read("j2.png")["guidance"] == "apg:0.06:-0.5:0"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--guidance", "rescal"), 'no rule of guidance "rescal": did you mean rescale?'),
        (("--guidance", "rescale:2"), 'rescale takes a phi from 0 to 1, not "2"'),
        (("--guidance", "7.5"), 'write the weight of a prompt behind it, "a cat:7.5"'),
        (("--guidance", "apg", "--method", "adaptive"), "give it momentum 0"),
        (
            ("--guidance", "rescale", "--model", "wikiart_128", "--size", "32", "32"),
            "takes no prompts",
        ),
        (("--guide", "nothing.pth"), "no such file"),
    ],
)
def test_mistakes_are_told_in_a_line(cfg_sample, flags, message):
    usual = [] if "--model" in flags else [*FAST, "a cat:8"]
    assert message in told(cfg_sample, *usual, *flags)


def test_rule_with_nothing_to_do_says_so(cfg_sample, weak):
    _, _, err = cfg_sample(*FAST, "a cat:1", "--guidance", "rescale", "--guide", weak, "--dry-run")
    told = "note: --guidance rescale:0.7 and --guide: nothing to do where weights add up to 1"
    assert told in err.splitlines()
    for flags in (("a cat:1", "--guidance", "threshold"), ("a cat:8", "--guidance", "rescale")):
        assert "nothing to do" not in cfg_sample(*FAST, *flags, "--dry-run")[2]


# A weaker network.


def test_guide_is_in_the_recipe_and_found_beside_it(cfg_sample, png_info, weak, tmp_path):
    flags = (*FAST, "a cat:8", "a dog:-2", "--guide", weak, "-n", "2", "-bs", "2")
    status, files, err = cfg_sample(*flags)
    assert status == 0
    assert err.splitlines()[1:4] == ["   8  a cat", "  -2  a dog", "  -5  (guide)"]
    recipe = recipes.read(files[0])
    assert recipe["guide"] == weak
    assert recipe["guide_sha256"] == checkpoints.sha256(tmp_path / weak)
    cfg_sample("--from-png", files[0], "-o", "again.png")
    assert np.array_equal(pixels("again.png"), pixels(files[0]))
    assert f"--guide {weak}" in png_info("--command", files[0])[1][0]
    cfg_sample(*FAST, "a cat:8", "a dog:-2", "-o", "plain.png")
    assert abs(pixels("plain.png") - pixels(files[0])).max() > 3

    embeds = clip.load("emoji").encode_text(["a cat", "a dog"])
    (cat, dog), (strong, pale) = embeds, (models.load("emoji"), models.load("emoji", weak))

    def formula(x, t):
        v = [net(x, t, e[None]) for net in (strong, pale) for e in (cat, dog)]
        return 8 * v[0] - 2 * v[1] - 5 * (8 * v[2] - 2 * v[3]) / 6

    with torch.inference_mode():
        x = diffusion.noise([0], (3, 16, 16))
        x = diffusion.sample(formula, x, diffusion.schedule("fitted", 4))[0]
    by_hand = ((x.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    assert abs(pixels(files[0]) - by_hand).max() < 1

    weights = load_file(weak)
    save_file({key: weight * 1.01 for key, weight in weights.items()}, weak)
    _, _, err = cfg_sample("--from-png", files[0], "-o", "other.png")
    assert "note: the guide's weights are not those of the recipe" in err
    Path(weak).unlink()
    line = told(cfg_sample, "--from-png", files[0], "-o", "none.png")
    assert line.endswith('it needs "weak.safetensors", which is not here: give --guide')


def test_guide_of_another_network_is_refused(cfg_sample):
    other = checkpoints.clip_file("emoji")
    status, out, err = cfg_sample(*FAST, "a cat:8", "--guide", other)
    assert (status, out) == (2, [])
    assert "is of another network" in err.splitlines()[-1]


# From photos to noise.


@pytest.mark.parametrize("rule", ["threshold", "apg"])
def test_rules_without_a_way_back_are_refused_for_photos(
    reverse_sample, cfg_modify_image, photo, rule
):
    for script in (reverse_sample, cfg_modify_image):
        line = told(script, photo, "a cat:8", *FAST, "--guidance", rule)
        assert "goes from photos to noise" in line
        assert line.split(": take ")[1].startswith("plain, rescale, cfg_zero, cfg_pp")


@pytest.mark.parametrize("rule", ["rescale", "apg:0.06:0", "cfg_zero", "cfg_pp"])
def test_latents_under_a_rule_lead_back_to_the_photo(reverse_sample, cfg_sample, photo, rule):
    flags = (*FAST, "--guidance", rule, "-o", "a.safetensors", "--round-trip", "--overwrite")
    assert reverse_sample(photo, "a cat:3", *flags)[0] == 0
    assert abs(pixels("a.round_trip.png")[:, 16:] - pixels(photo)).max() <= 1
    assert latents.head("a.safetensors").recipe["guidance"].startswith(rule)
    assert cfg_sample("--latent", "a.safetensors", "-o", "b.png")[0] == 0  # by the same rule
    assert abs(pixels("b.png") - pixels(photo)).max() <= 1
    assert recipes.read("b.png")["guidance"].startswith(rule)


def test_latents_found_with_a_guide_name_it(reverse_sample, cfg_sample, photo, weak, tmp_path):
    flags = (*FAST, "--guide", tmp_path / weak, "-o", "a.safetensors")
    assert reverse_sample(photo, "a cat:3", *flags)[0] == 0
    assert latents.head("a.safetensors").recipe["guide"] == weak
    assert cfg_sample("--latent", "a.safetensors", "-o", "b.png")[0] == 0
    assert abs(pixels("b.png") - pixels(photo)).max() <= 1


def test_edits_are_guided_by_rules_and_guides(cfg_modify_image, photo, weak):
    flags = (photo, "a cat:8", "--source", "a dog", *FAST)
    drawn = []
    for i, more in enumerate([(), ("--guidance", "rescale"), ("--guide", weak), ("--direct",)]):
        status, _, err = cfg_modify_image(*flags, *more, "-o", f"{i}.png")
        assert status == 0, err
        drawn.append(pixels(f"{i}.png"))
    assert all(abs(drawn[0] - other).max() > 2 for other in drawn[1:])
    cfg_modify_image("--from-png", "1.png", photo, "-o", "again.png")
    assert np.array_equal(pixels("again.png"), drawn[1])
