import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mosaic.sampling import add_noise, euler, sample_sigma, schedule, shift_of

FLUX_DEV = {  # scheduler/scheduler_config.json of FLUX.1-dev
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}


def their_scheduler(steps, tokens):
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = FlowMatchEulerDiscreteScheduler(**FLUX_DEV)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=calculate_shift(tokens))
    return scheduler


@pytest.mark.parametrize("tokens, mu", [(1024, 0.63), (2304, 0.8467), (4096, 1.15), (256, 0.5)])
def test_shift_is_the_released(tokens, mu):
    assert shift_of(tokens) == pytest.approx(mu, abs=5e-5)


def test_a_number_is_the_shift_itself():
    assert shift_of(64, 1.5) == 1.5 and schedule(3, 64, 0.0) == schedule(3, 64, "none")
    levels = [sample_sigma(2000, 64, torch.Generator().manual_seed(0), shift) for shift in (0.0, 1.5)]
    assert torch.allclose(levels[1].logit(), levels[0].logit() + 1.5, atol=1e-4)
    with pytest.raises(ValueError, match='"none" or a number'):
        shift_of(64, "more")


@pytest.mark.parametrize("steps", [1, 2, 28, 50])
@pytest.mark.parametrize("tokens", [64, 256, 1024, 4096, 5000])
def test_schedule_is_diffusers(steps, tokens):
    theirs = their_scheduler(steps, tokens).sigmas
    assert np.abs(np.array(schedule(steps, tokens)) - theirs.numpy()).max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_euler_is_diffusers(dtype):
    scheduler, sigmas = their_scheduler(7, 1024), schedule(7, 1024)
    start = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).to(dtype)

    def velocity(latents, sigma):
        return torch.sin(latents * (1 + sigma))

    theirs = start
    for step, t in enumerate(scheduler.timesteps):
        theirs = scheduler.step(velocity(theirs, sigmas[step]), t, theirs, return_dict=False)[0]
    ours = euler(velocity, start, sigmas)
    assert ours.dtype == dtype and (ours - theirs).abs().max() < (1e-5 if dtype == torch.float32 else 2e-2)


@given(st.integers(1, 100), st.integers(1, 5000), st.sampled_from(["flux", "none"]))
def test_schedules_fall_from_one_to_zero(steps, tokens, shift):
    sigmas = schedule(steps, tokens, shift)
    assert len(sigmas) == steps + 1 and sigmas[0] == 1 and sigmas[-1] == 0
    assert all(a > b for a, b in pairwise(sigmas))


def test_the_shift_can_be_off():
    assert schedule(4, 1024, "none") == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    with pytest.raises(ValueError, match="shift"):
        schedule(4, 1024, "sd3")
    with pytest.raises(ValueError, match="at least one step"):
        schedule(0, 1024)


def test_the_true_velocity_leads_from_noise_to_the_picture():
    clean, noise = torch.randn(2, 3, 5, 4)
    assert torch.allclose(euler(lambda x, sigma: noise - clean, noise, schedule(9, 64)), clean, atol=1e-5)


def test_a_callback_sees_each_step_and_can_stop():
    seen = []

    def callback(step, latents, sigma):
        seen.append((step, latents.mean().item(), sigma))
        return False if step == 1 else None

    result = euler(lambda x, sigma: torch.ones_like(x), torch.zeros(1, 2), schedule(4, 64, "none"), callback)
    assert seen == [(0, -0.25, 0.75), (1, -0.5, 0.5)] and (result == -0.5).all()


def test_training_levels_follow_the_released_formula():
    tokens, count = 1024, 20_000
    sigmas = sample_sigma(count, tokens, torch.Generator().manual_seed(0))
    s = torch.sigmoid(torch.randn(count, generator=torch.Generator().manual_seed(0)))
    expected = math.exp(0.63) / (math.exp(0.63) + 1 / s - 1)
    assert sigmas.dtype == torch.float32 and torch.allclose(sigmas, expected, atol=1e-6)
    assert sigmas.median().item() == pytest.approx(1 / (1 + math.exp(-0.63)), abs=0.01)
    unshifted = sample_sigma(count, tokens, torch.Generator().manual_seed(0), shift="none")
    assert torch.allclose(unshifted, s)


def test_noise_is_added_a_level_a_sample():
    clean, noise = torch.randn(2, 3, 5, 4)
    noisy = add_noise(clean, noise, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(noisy[0], clean[0]) and torch.equal(noisy[2], noise[2])
    assert torch.allclose(noisy[1], 0.75 * clean[1] + 0.25 * noise[1])
