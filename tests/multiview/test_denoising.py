"""The steps that inference and training share, against hand-made values and against diffusers."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler, LatentConsistencyModelPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.errors import InvalidRequestError
from tetraview.engine.multiview.conditions import TextCondition, guidance_embedding
from tetraview.engine.multiview.configs import consistency_scheduler, starter_scheduler
from tetraview.engine.multiview.denoising import predicted_latents, set_timesteps, unet_input
from tetraview.engine.multiview.pipeline import FourViewPipeline

from .conftest import seeded


def test_unet_input_is_noisy_mask_masked_and_hides_what_is_to_paint() -> None:
    noisy, latents = torch.randn(3, 4, 6, 6), torch.randn(3, 4, 6, 6)
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., :3] = 1
    x = unet_input(noisy, mask, latents)
    assert x.shape == (3, 9, 6, 6)
    assert torch.equal(x[:, :4], noisy)
    assert torch.equal(x[:, 4:5], mask.expand(3, 1, 6, 6))
    assert (x[:, 5:, :, :3] == 0).all() and torch.equal(x[:, 5:, :, 3:], latents[..., 3:])


@given(steps=st.integers(1, 40), strength=st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_steps_asked_for_are_steps_run_from_the_strength_on(steps: int, strength: float) -> None:
    scheduler = starter_scheduler()
    timesteps = set_timesteps(scheduler, steps, strength, "cpu")
    assert len(timesteps) == steps
    assert (timesteps[1:] < timesteps[:-1]).all()
    first = float(timesteps[0] + 1) / 1000
    assert first <= strength + 0.002
    assert first == pytest.approx(steps / math.ceil(steps / strength - 1e-6), abs=0.02)
    assert timesteps[-1] >= 0


@pytest.mark.parametrize("steps", [1, 2, 4, 6, 8, 20])
def test_below_full_strength_the_start_always_counts(steps: int) -> None:
    """However few the steps: the noisiest step of this schedule is noise alone."""
    scheduler = starter_scheduler()
    first = set_timesteps(scheduler, steps, 0.9, "cpu")[0]
    assert scheduler.alphas_cumprod[int(first)] > 0.0005


@given(steps=st.integers(1, 60), strength=st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_distilled_schedules_are_met_or_refused_in_a_sentence(steps: int, strength: float) -> None:
    scheduler = consistency_scheduler(starter_scheduler().config)
    if steps > int(50 * strength):
        with pytest.raises(InvalidRequestError, match="use at most"):
            set_timesteps(scheduler, steps, strength, "cpu")
    else:
        timesteps = set_timesteps(scheduler, steps, strength, "cpu")
        assert len(timesteps) == steps
        assert int(timesteps[0]) + 1 == int(50 * strength) * 20


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
def test_predicted_latents_are_the_clean_ones(kind: str) -> None:
    scheduler = DDIMScheduler(prediction_type=kind)
    clean, noise = torch.randn(2, 4, 3, 3, generator=seeded()), torch.randn(2, 4, 3, 3, generator=seeded(1))
    timestep = torch.tensor(700)
    noisy = scheduler.add_noise(clean, noise, timestep[None])
    prediction = {"v_prediction": scheduler.get_velocity(clean, noise, timestep[None]), "epsilon": noise, "sample": clean}[kind]
    torch.testing.assert_close(predicted_latents(scheduler, noisy, prediction, timestep), clean, rtol=1e-3, atol=1e-3)


def test_noisiest_step_of_the_starter_is_noise_alone() -> None:
    scheduler = starter_scheduler()
    first = set_timesteps(scheduler, 8, 1.0, "cpu")[:1]
    noise = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(scheduler.add_noise(torch.full_like(noise, 50.0), noise, first), noise)


def test_guidance_embedding_is_that_of_diffusers() -> None:
    scale = torch.tensor([1.0, 4.0, 8.5])
    expected = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, scale - 1, embedding_dim=32)
    torch.testing.assert_close(guidance_embedding(scale, 32), expected)
    assert guidance_embedding(scale, 33).shape == (3, 33)


def test_a_prompt_encodes_the_same_alone_and_in_a_batch(pipeline: FourViewPipeline) -> None:
    with torch.no_grad():
        alone, batch = pipeline.encode_prompt(["chair"]), pipeline.encode_prompt(["", "chair", "red car"])
    assert len(batch) == 3
    torch.testing.assert_close(alone.embeds[0], batch.embeds[1])
    assert torch.isfinite(batch.embeds).all()
    assert not torch.allclose(batch.embeds[1], batch.embeds[2])
    if batch.mask is not None:
        assert batch.mask.sum(1).tolist() == [1, 6, 7]  # [CLS] and letters: an empty prompt is never nothing


def test_padding_has_no_say(starter: FourViewPipeline) -> None:
    with torch.no_grad():
        condition = starter.encode_prompt(["chair"])
        assert condition.mask is not None
        x, timestep = torch.randn(1, 9, 8, 8, generator=seeded()), torch.tensor(500)
        before = starter.unet(x, timestep, **condition.unet_arguments(32)).sample
        filled = TextCondition(torch.where(condition.mask[..., None], condition.embeds, torch.tensor(7.0)), condition.mask)
        after = starter.unet(x, timestep, **filled.unet_arguments(32)).sample
    torch.testing.assert_close(before, after)


def test_sdxl_is_told_sizes_and_an_empty_prompt_is_zeros(sdxl: FourViewPipeline) -> None:
    with torch.no_grad():
        condition = sdxl.encode_prompt(["", "chair"])
    assert condition.pooled is not None and condition.mask is None
    assert condition.embeds.shape == (2, 16, 48) and condition.pooled.shape == (2, 16)
    assert not condition.embeds[0].any() and not condition.pooled[0].any()
    assert condition.embeds[1].any() and condition.pooled[1].any()
    added = condition.unet_arguments(sdxl.grid_px)["added_cond_kwargs"]
    assert added["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]] * 2
    both = condition.followed_by(condition)
    assert len(both) == 4 and both.pooled is not None and both.pooled.shape == (4, 16)


def test_latents_are_scaled_as_the_autoencoder_says(starter: FourViewPipeline) -> None:
    image = torch.rand(1, 4, 32, 32, generator=seeded()) * 2 - 1
    with torch.no_grad():
        plain = starter.encode_image(image)
        decoded = starter.decode_latents(plain)
        starter.vae.register_to_config(scaling_factor=2.0, shift_factor=0.5)
        torch.testing.assert_close(starter.encode_image(image), (plain - 0.5) * 2)
        torch.testing.assert_close(starter.decode_latents((plain - 0.5) * 2), decoded)
