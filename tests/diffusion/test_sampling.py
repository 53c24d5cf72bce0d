import pytest
import torch

import diffusion
from diffusion import METHODS, SCHEDULES
from tests.diffusion.mixture import gaussian, gaussian_flow

SHAPE = (3, 4, 4)
DETERMINISTIC = [name for name, row in METHODS.items() if row.eta_range[0] == 0]


def draw(seeds, method="plms", n=10, eta=None, model=gaussian):
    sources = diffusion.generators(seeds)
    x = diffusion.noise(sources, SHAPE)
    timesteps = diffusion.schedule("spliced", n)
    return diffusion.sample(
        model, x, timesteps, method, eta, noise=lambda: diffusion.noise(sources, SHAPE)
    )


@pytest.mark.parametrize("method", METHODS)
def test_image_does_not_depend_on_batch_size(method):
    together = draw(range(5), method)
    for i in range(5):
        assert torch.equal(draw([i], method)[0], together[i])
    assert torch.equal(draw([3, 1], method), together[[3, 1]])


def test_fresh_noise_of_a_step_is_not_that_of_the_start_nor_of_other_steps():
    source = diffusion.generators([0])
    draws = torch.stack([diffusion.noise(source, SHAPE) for _ in range(4)]).flatten(1)
    assert torch.equal(draws[0], diffusion.noise([0], SHAPE).flatten())
    assert torch.unique(draws).numel() == draws.numel()


def test_noise_is_standard_normal():
    eps = diffusion.noise(range(100), (3, 64, 64))
    assert abs(eps.mean()) < 0.005
    assert abs(eps.std() - 1) < 0.005
    assert abs((eps[:-1] * eps[1:]).mean()) < 0.005  # neighbouring seeds know nothing of each other


def test_high_bits_of_a_seed_count():
    seeds = [0, 1, 2**32, 2**32 + 1, 2**33, 2**62, 2**63 - 1, 2**63, 2**63 + 2**40 + 7]
    draws = diffusion.noise(seeds, SHAPE).flatten(1)
    assert len({tuple(row) for row in draws.tolist()}) == len(seeds)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        diffusion.noise([seed], SHAPE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_few_steps_from_any_start_give_an_image(method, schedule):
    for steps in (1, 2, 3, 4):
        whole = diffusion.schedule(schedule, steps)
        begun = [diffusion.timesteps(schedule, steps, start) for start in (1.0, 0.9, 0.5, 0.01)]
        for timesteps in (whole, *begun):
            sources = diffusion.generators([0, 1])
            x = diffusion.noise(sources, SHAPE).double()
            x = diffusion.add_noise(torch.full(SHAPE, 0.3).double(), x, float(timesteps[0]))
            x = diffusion.sample(
                gaussian, x, timesteps, method, noise=lambda s=sources: diffusion.noise(s, SHAPE)
            )
            assert x.abs().max() < 20  # finite, and no blend that ran away


@pytest.mark.parametrize("method", DETERMINISTIC)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_run_up_to_pure_noise_and_back_is_finite(method, n):
    up = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    x = torch.rand(2, *SHAPE, dtype=torch.float64)
    latent = diffusion.sample(gaussian, x, up, method)
    assert latent.abs().max() < 10
    assert diffusion.sample(gaussian, latent, up.flip(0), method).abs().max() < 10


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_model_is_never_asked_outside_its_range(method, schedule):
    low, high = 0.05, 0.8
    seen = []

    def model(x, t):
        seen.extend(t.tolist())
        return gaussian(x, t)

    limited = diffusion.clamp_t(model, low, high)
    x = diffusion.noise([0], SHAPE).double()
    x = diffusion.sample(
        limited, x, diffusion.schedule(schedule, 6), method, noise=lambda: torch.zeros(1, *SHAPE)
    )
    assert torch.isfinite(x).all()
    assert low <= min(seen)
    assert max(seen) <= high


def test_model_with_the_whole_range_is_left_alone():
    assert diffusion.clamp_t(gaussian, 0.0, 1.0) is gaussian


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_model_that_is_not_finite_stops_the_run_and_says_where(bad):
    def model(x, t):
        v = gaussian(x, t)
        if t[0] < 0.5:
            v[1, 0, 0, 0] = bad
        return v

    timesteps = [0.9, 0.6, 0.4, 0.2]
    with pytest.raises(diffusion.NonFiniteError, match=r"step 3 of 3, at timestep 0\.4"):
        diffusion.sample(model, diffusion.noise([0, 1], SHAPE).double(), timesteps, "ddim")


@pytest.mark.parametrize("method", METHODS)
def test_callback_gets_one_instant_in_all_its_fields(method):
    seen = []
    timesteps = diffusion.schedule("spliced", 5)
    diffusion.sample(
        gaussian,
        diffusion.noise([0, 1], SHAPE).double(),
        timesteps,
        method,
        noise=lambda: diffusion.noise([0, 1], SHAPE),
        callback=seen.append,
    )
    assert [p.i for p in seen] == list(range(5))
    assert [p.t for p in seen] == timesteps[:-1].tolist()
    for p in seen:
        t = torch.full([2], p.t, dtype=torch.float64)
        assert torch.allclose(p.pred, diffusion.to_pred_eps(p.x, p.v, p.t)[0], atol=1e-12)
        if method != "unipc":  # its x is corrected by the v that it led to
            assert torch.equal(p.v, gaussian(p.x, t))


def test_start_from_an_image_with_noise_follows_the_flow():
    timesteps = diffusion.timesteps("spliced", 200, 0.7)
    x = diffusion.add_noise(torch.full(SHAPE, 0.5), diffusion.noise([0], SHAPE), 0.7).double()
    exact = gaussian_flow(x, 0.7, 0.0)
    assert (diffusion.sample(gaussian, x, timesteps, "plms") - exact).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "euler"}, "plms2"),
        ({"method": "plms", "eta": 0.5}, "plms adds no noise"),
        ({"method": "ddpm", "eta": 0.5}, "ddpm is ddim with eta 1"),
        ({"method": "ddim", "eta": 1.5}, "from 0 to 1"),
        ({"method": "ddim", "eta": float("nan")}, "from 0 to 1"),
        ({"method": "ddpm"}, "pass a function that draws it"),
        ({"timesteps": []}, "at least one"),
        ({"timesteps": 18}, "makes one"),
        ({"timesteps": [1.1, 0.5]}, "from 0 to 1"),
        ({"timesteps": [0.5, float("nan")]}, "from 0 to 1"),
        ({"timesteps": [0.5, 0.5, 0.1]}, "descend"),
        ({"timesteps": [0.5, 0.7, 0.1]}, "descend"),
        ({"timesteps": [0.1, 0.5], "method": "ddpm"}, "cannot run in reverse"),
    ],
)
def test_mistakes_are_named(options, message):
    options = {"timesteps": [0.9, 0.0], **options}
    with pytest.raises(ValueError, match=message):
        diffusion.sample(gaussian, torch.zeros(1, *SHAPE).double(), **options)
