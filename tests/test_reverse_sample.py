"""reverse_sample.py from its command line to its files, and back through cfg_sample.py."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

import diffusion
from models.zoo import NETWORKS
from recipes import latents

ROOT = Path(__file__).parent.parent
FAST = ("--model", "emoji", "--steps", "5", "--dtype", "float32", "--size", "32", "32")
REVERSE = [name for name, row in diffusion.METHODS.items() if row.eta != 1]


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.fixture
def photo(tmp_path):
    """A picture with edges, a slope and some noise, of no model's making."""
    rng = np.random.default_rng(0)
    levels = np.linspace(40, 200, 100)[None, :, None] + rng.normal(0, 12, (80, 100, 3))
    image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(image).ellipse((30, 20, 70, 60), fill=(220, 60, 30))
    image.save(tmp_path / "photo.png")
    return "photo.png"


def round_trip(run, *argv):
    status, out, err = run(*argv, "--round-trip", "--json")
    assert status == 0, err
    return json.loads(out[0])["round_trip"]


def psnr(trip):
    return float("inf") if trip["psnr"] is None else trip["psnr"]


@pytest.mark.parametrize("prompts", [(), ("a cat:1",), ("a cat:5", "a dog:-1")])
@pytest.mark.parametrize("steps", [5, 25])
def test_exact_round_trip_is_exact(reverse_sample, photo, prompts, steps):
    trip = round_trip(reverse_sample, photo, *prompts, *FAST, "--steps", steps)
    assert psnr(trip) > 120
    assert trip["largest_error"] < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in REVERSE if m != "exact"])
def test_other_round_trips_get_better_with_steps(reverse_sample, photo, method):
    trips = [
        psnr(round_trip(reverse_sample, photo, *FAST, "--method", method, "--steps", n))
        for n in (4, 64)
    ]
    assert trips[0] + 3 < trips[1] < 80


@pytest.mark.slow
@pytest.mark.parametrize("method", REVERSE)
def test_cfg_sample_goes_back_the_way_the_latent_came(reverse_sample, cfg_sample, photo, method):
    common = (photo, "a cat:2", *FAST, "--method", method, "-mt", 0.8)
    assert reverse_sample(*common, "-o", "x.safetensors", "--round-trip")[0] == 0
    status, out, err = cfg_sample("--latent", "x.safetensors", "-o", "back.png")
    assert (status, out) == (0, ["back.png"]), err
    assert "2  a cat" in err
    assert np.array_equal(pixels("x.round_trip.png")[:, 32:], pixels("back.png"))


def test_another_prompt_draws_another_image_from_it(reverse_sample, cfg_sample, photo):
    reverse_sample(photo, *FAST, "-o", "x.safetensors")
    cfg_sample("--latent", "x.safetensors", "-o", "same.png")
    status, _, err = cfg_sample("--latent", "x.safetensors", "a red heart:4", "-o", "new.png")
    assert status == 0, err
    assert abs(pixels("same.png") - pixels("new.png")).mean() > 10
    status, out, err = cfg_sample("--from-png", "new.png", "-o", "again.png")
    assert (status, out) == (0, ["again.png"]), err
    assert np.array_equal(pixels("new.png"), pixels("again.png"))


def test_other_steps_leave_the_way_that_the_latent_came(reverse_sample, cfg_sample, photo):
    reverse_sample(photo, *FAST, "-o", "x.safetensors")
    assert cfg_sample("--latent", "x.safetensors", "--steps", 7, "-o", "a.png")[0] == 0
    assert cfg_sample("--latent", "x.safetensors", "--method", "plms2", "-o", "b.png")[0] == 0
    assert not np.array_equal(pixels("a.png"), pixels("b.png"))


def test_several_photos_go_each_to_its_own_file(reverse_sample, photo):
    Image.new("RGB", (50, 50), (10, 200, 90)).save("green.jpg")
    status, out, err = reverse_sample(
        photo, "green.jpg", "a cat:1", *FAST, "-bs", 2, "-o", "{photo}.safetensors", "--preview"
    )
    assert (status, out) == (0, ["photo.safetensors", "green.safetensors"]), err
    assert "green.jpg: not noise" in err
    assert Path("green.preview.png").is_file()
    together = load_file("green.safetensors")["latents"]
    reverse_sample("green.jpg", "a cat:1", *FAST, "-o", "alone.safetensors")
    assert torch.allclose(load_file("alone.safetensors")["latents"], together, atol=1e-4)
    assert reverse_sample(photo, *FAST)[1] == ["latent_00000.safetensors"]
    assert reverse_sample(photo, *FAST)[1] == ["latent_00001.safetensors"]


def test_latents_of_noise_drawn_forward_are_found_to_be_noise(reverse_sample, cfg_sample):
    fine = ("--model", "emoji", "--dtype", "float32", "--method", "plms2", "--steps", 60)
    cfg_sample(*fine, "-o", "drawn.png")
    # From its 8 bits alone, a drawn image comes from something much nearer to noise than itself.
    _, out, _ = reverse_sample("drawn.png", *fine, "--json")
    found = json.loads(out[0])["noise"]["statistics"]
    assert abs(found["standard deviation"]["value"] - 1) < 0.3
    assert abs(found["correlation of neighbours"]["value"]) < 0.3
    assert json.loads(out[0])["noise"]["is_noise"] is False


def test_normalised_and_mixed_latents_are_nearer_to_noise(reverse_sample, photo):
    stds = []
    for i, flags in enumerate([(), ("--normalise-latent",), ("--noise-mix", "1")]):
        status, out, err = reverse_sample(photo, *FAST, *flags, "--json", "-o", f"{i}.safetensors")
        assert status == 0, err
        noise = json.loads(out[0])["noise"]
        stds.append(noise["statistics"]["standard deviation"]["value"])
    assert stds[0] != pytest.approx(1, abs=0.01)
    assert stds[1] == pytest.approx(1, abs=1e-4)
    assert noise["is_noise"] is True  # nothing but fresh noise is left
    fresh = load_file("2.safetensors")["latents"]
    assert torch.allclose(fresh, diffusion.noise([0], (3, 32, 32)), atol=1e-6)


def test_advice_is_for_the_latent_that_was_saved(reverse_sample, photo):
    said = [
        reverse_sample(photo, *FAST, *flags, "-o", f"{len(flags)}.safetensors")[2]
        for flags in ((), ("--normalise-latent",))
    ]
    assert ["the way back is as good" in err for err in said] == [True, False]
    assert ["another image" in err for err in said] == [False, True]


def test_model_of_a_limited_range_goes_between_its_ends(reverse_sample, cfg_sample, tiny, photo):
    common = ("--model", "tiny", "--checkpoint", tiny)
    for method in REVERSE:
        flags = (*common, "--steps", 4, "--method", method, "--overwrite", "-o", "x.safetensors")
        status, _, err = reverse_sample(photo, *flags)
        assert status == 0, err
        found = latents.head("x.safetensors")
        row = NETWORKS["tiny"]
        assert found.timesteps[0] == row.min_t
        assert found.timestep == row.max_t
        status, _, err = cfg_sample("--latent", "x.safetensors", *common)
        assert status == 0, err


def test_existing_files_are_not_replaced_unasked(reverse_sample, photo):
    Path("x.safetensors").write_bytes(b"mine")
    status, _, err = reverse_sample(photo, *FAST, "-o", "x.safetensors")
    assert (status, Path("x.safetensors").read_bytes()) == (2, b"mine")
    Path("y.preview.png").write_bytes(b"mine")
    status, _, err = reverse_sample(photo, *FAST, "-o", "y.safetensors", "--preview")
    assert (status, err.count("\n")) == (2, 1)
    assert not Path("y.safetensors").exists()
    assert reverse_sample(photo, *FAST, "-o", "x.safetensors", "--overwrite")[0] == 0


MISTAKES = {
    ("no.png",): "no such file",
    ("a cat",): "the first is a photo",
    ("text.txt",): "not a PNG",
    ("photo.png", "--method", "ddpm"): "no method",
    ("photo.png", "-mt", "0"): "above 0",
    ("photo.png", "--noise-mix", "2"): "from 0 to 1",
    ("photo.png", "-o", "x.png"): "must end in a name with .safetensors",
    ("photo.png", "-o", "{seed}.safetensors"): "unknown field",
    ("photo.png", "photo.png", "-o", "x.safetensors"): "two images would be saved",
    ("photo.png", "--round-trip", "--normalise-latent"): "leave out --normalise-latent",
    ("photo.png", "a cat:nan"): "not finite",
    ("huge.png",): "million pixels",
    ("photo.png", "--round-trip", "-o", "y" * 242 + ".safetensors"): "too long",
}


@pytest.mark.parametrize("argv", MISTAKES)
def test_mistake_is_one_line_and_writes_nothing(reverse_sample, photo, argv):
    Path("text.txt").write_text("no image")
    Image.new("1", (12_000, 12_000)).save("huge.png")
    before = set(Path().iterdir())
    status, out, err = reverse_sample(*argv, *FAST)
    assert (status, out, err.count("\n")) == (2, [], 1)
    assert MISTAKES[argv] in err
    assert set(Path().iterdir()) == before


def test_image_of_one_pixel_is_as_good_as_any(reverse_sample):
    Image.new("RGB", (1, 1), (10, 200, 90)).save("one.png")
    assert reverse_sample("one.png", *FAST)[0] == 0


def padded(data, size):
    """A .safetensors file with so long a header."""
    end = 8 + int.from_bytes(data[:8], "little")
    return size.to_bytes(8, "little") + data[8:end].ljust(size) + data[end:]


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "no tensors": lambda data: b"{}",
    "all header": lambda data: padded(data, 2**23 + 1),
    "other timesteps": lambda data: data.replace(b'"timestep\\": 1.0', b'"timestep\\": 0.5'),
    "other method": lambda data: data.replace(b'"exact\\"', b'"xxact\\"'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_latent_is_one_line(reverse_sample, cfg_sample, photo, damage):
    reverse_sample(photo, *FAST, "-o", "x.safetensors")
    data = Path("x.safetensors").read_bytes()
    assert DAMAGE[damage](data) != data
    Path("x.safetensors").write_bytes(DAMAGE[damage](data))
    status, out, err = cfg_sample("--latent", "x.safetensors")
    assert (status, out, err.count("\n")) == (2, [], 1)
    assert "x.safetensors" in err


@pytest.mark.parametrize("key", ["latents", "previous"])
def test_latent_that_is_not_finite_is_one_line(reverse_sample, cfg_sample, photo, key):
    reverse_sample(photo, *FAST, "-o", "x.safetensors")
    found, tensors = latents.head("x.safetensors"), load_file("x.safetensors")
    facts = {**found.recipe, "timestep": found.timestep, "timesteps": found.timesteps}
    tensors[key][0, 0, 0, 0] = torch.nan
    save_file(
        tensors, "x.safetensors", {latents.KEY: json.dumps({"version": latents.VERSION, **facts})}
    )
    status, _, err = cfg_sample("--latent", "x.safetensors")
    assert status == 2
    assert "not finite" in err.splitlines()[-1]


def test_help_comes_without_torch():
    program = (
        "import sys, reverse_sample; sys.argv[1:] = ['--help']\n"
        "try: reverse_sample.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for word in (*REVERSE, "--round-trip", "examples:"):
        assert word in done.stdout
