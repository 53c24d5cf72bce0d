import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import diffusion
from media.tensors import to_tensor

DOCS = Path(__file__).parents[2] / "docs"
SIZES = [(32, 32), (64, 64), (48, 64), (33, 17)]


@pytest.mark.parametrize("size", SIZES)
def test_statistics_of_noise_have_the_expected_means_and_spreads(size):
    torch.manual_seed(0)
    draws = 400
    reports = [diffusion.noise_report(torch.randn(3, *size)) for _ in range(draws)]
    for i, statistic in enumerate(reports[0].statistics):
        z = torch.tensor([report.statistics[i].z for report in reports])
        assert abs(z.mean()) < 4 / draws**0.5, statistic.name
        # Of the spread of 400 draws, four of its own: 14%, and more where tails are heavier.
        assert abs(z.std() - 1) < 0.2, statistic.name


def test_one_draw_of_noise_in_a_hundred_is_not_taken_for_noise_at_most():
    torch.manual_seed(1)
    wrong = sum(not diffusion.noise_report(torch.randn(3, 64, 64)).is_noise for _ in range(1000))
    assert wrong <= 10


def pictures():
    for path in sorted(DOCS.glob("*.png")):
        image = to_tensor(Image.open(path).convert("RGB"))
        yield path.name, image
        if image.shape[1] >= 104 and image.shape[2] >= 224:
            yield f"middle of {path.name}", image[:, 40:104, 160:224]
    ramp = torch.linspace(-1, 1, 64).expand(3, 64, 64)
    yield "ramp", ramp
    yield "ramp with the mean and spread of noise", (ramp - ramp.mean()) / ramp.std()
    yield "black", -torch.ones(3, 64, 64)
    yield "grey", torch.zeros(3, 64, 64)
    yield "stripes", torch.ones(3, 64, 64) * (-1) ** torch.arange(64)
    torch.manual_seed(2)
    yield "image of noise", torch.rand(3, 64, 64) * 2 - 1
    for share in (0.3, 0.5):
        noise = torch.randn(3, 64, 64)
        yield f"noise with {share} of a ramp", (1 - share**2) ** 0.5 * noise + share * ramp * 1.7


@pytest.mark.parametrize(("name", "image"), [pytest.param(*p, id=p[0]) for p in pictures()])
def test_an_image_is_never_taken_for_noise(name, image):
    report = diffusion.noise_report(image)
    assert not report.is_noise
    assert report.verdict.startswith("not noise: ")
    assert "\n" not in report.verdict


def test_correlation_is_that_of_a_moving_average():
    torch.manual_seed(3)
    noise = torch.randn(3, 257, 256)
    moved = (noise[:, 1:] + noise[:, :-1]) / 2**0.5  # neighbours above each other share a half
    report = diffusion.noise_report(moved)
    found = {s.name: s.value for s in report.statistics}
    assert found["correlation of neighbours"] == pytest.approx(0.25, abs=0.01)
    assert not report.is_noise


def test_kurtosis_is_that_of_a_uniform_distribution():
    torch.manual_seed(4)
    report = diffusion.noise_report((torch.rand(3, 256, 256) * 2 - 1) * 3**0.5)
    found = {s.name: s.value for s in report.statistics}
    assert found["excess kurtosis"] == pytest.approx(-1.2, abs=0.01)
    assert "excess kurtosis" in report.verdict


def test_report_goes_into_json():
    report = json.loads(json.dumps(diffusion.noise_report(torch.zeros(3, 8, 8)).as_dict()))
    assert report["is_noise"] is False
    assert set(report["statistics"]["mean"]) == {"value", "expected", "spread", "z"}


def test_normalised_latents_have_the_spread_of_noise():
    latents = torch.randn(2, 3, 64, 64) * torch.tensor([0.5, 3.0])[:, None, None, None] + 0.2
    normal = diffusion.normalise(latents)
    assert torch.allclose(normal.std(dim=(1, 2, 3)), torch.ones(2), atol=1e-5)
    assert torch.allclose(normal.mean(dim=(1, 2, 3)), latents.mean(dim=(1, 2, 3)), atol=1e-5)
    with pytest.raises(ValueError, match="same everywhere"):
        diffusion.normalise(torch.ones(1, 3, 8, 8))


def test_fresh_noise_keeps_the_variance():
    latents, fresh = torch.randn(2, 3, 128, 128), torch.randn(2, 3, 128, 128)
    for amount in (0.0, 0.3, 1.0):
        mixed = diffusion.mix_noise(latents, fresh, amount)
        assert mixed.std() == pytest.approx(1, abs=0.02)
    assert torch.equal(diffusion.mix_noise(latents, fresh, 0.0), latents)
    assert torch.equal(diffusion.mix_noise(latents, fresh, 1.0), fresh)
    with pytest.raises(ValueError, match="between 0 and 1"):
        diffusion.mix_noise(latents, fresh, 1.5)


@pytest.mark.parametrize("bad", [torch.zeros(3, 4, 8), torch.zeros(1, 3, 8, 8)])
def test_what_is_no_latent_is_refused(bad):
    with pytest.raises(ValueError, match="a latent is"):
        diffusion.noise_report(bad)
    with pytest.raises(ValueError, match="not finite"):
        diffusion.noise_report(torch.full((3, 8, 8), torch.nan))
