"""The pipeline end to end on tiny real components: what is painted, what is kept, and what decides it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, LCMScheduler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tetraview.engine.errors import InvalidRequestError, WeightsError
from tetraview.engine.multiview.configs import starter_autoencoder, starter_components, starter_unet
from tetraview.engine.multiview.denoising import set_timesteps
from tetraview.engine.multiview.grid import grid_to_views
from tetraview.engine.multiview.known_views import KEPT_ALPHA, KEPT_COLOUR, keep_detail
from tetraview.engine.multiview.pipeline import FourViewPipeline
from tetraview.engine.types import VIEW_NAMES

from ..tiny_generators import random_text_encoder, spelling_tokenizer, tiny_components
from .conftest import random_view, seeded


class Cancelled(Exception):
    pass


def paint(pipeline: FourViewPipeline, prompt: str = "a red chair", seed: int = 0, **options) -> np.ndarray:
    return pipeline(prompt, generator=seeded(seed), num_inference_steps=options.pop("steps", 2), **options).rgba


def test_the_starter_is_as_large_as_it_says() -> None:
    with torch.device("meta"):
        vae, unet = starter_autoencoder(), starter_unet()
    assert 8e6 < sum(p.numel() for p in unet.parameters()) < 12e6
    latents = vae.encode(torch.zeros(1, 4, 256, 256, device="meta")).latents
    assert latents.shape == (1, 8, 32, 32)
    text, x = torch.zeros(1, 24, 192, device="meta"), torch.zeros(1, 17, 32, 32, device="meta")
    assert unet(x, torch.tensor(1, device="meta"), text).sample.shape == latents.shape


def test_starter_components_fit_together() -> None:
    tokenizer = spelling_tokenizer()
    pipeline = FourViewPipeline(**starter_components(tokenizer, random_text_encoder(len(tokenizer))))
    assert (pipeline.grid_px, pipeline.view_px, pipeline.image_channels) == (256, 128, 4)


def test_components_that_do_not_fit_are_refused() -> None:
    parts = tiny_components()
    parts["vae"] = starter_autoencoder()
    with pytest.raises(WeightsError, match="reads 9 channels and this autoencoder needs 17"):
        FourViewPipeline(**parts)


def test_every_layout_paints_four_rgba_views(pipeline: FourViewPipeline) -> None:
    result = pipeline("a red chair", generator=seeded(), num_inference_steps=2)
    px = pipeline.view_px
    assert result.rgba.shape == (4, px, px, 4) and result.rgba.dtype == np.uint8
    assert result.known == (True,) * 4
    assert len({view.tobytes() for view in result.rgba}) == 4


def test_the_generator_decides_and_nothing_else(pipeline: FourViewPipeline) -> None:
    first = paint(pipeline)
    torch.manual_seed(123)
    np.random.seed(4)
    assert np.array_equal(paint(pipeline), first)
    assert not np.array_equal(paint(pipeline, seed=1), first)


def test_known_views_come_out_byte_for_byte(pipeline: FourViewPipeline) -> None:
    known = {"right": random_view(pipeline.view_px, 1), "left": random_view(pipeline.view_px, 2)}
    result = pipeline("a chair", known_views=known, generator=seeded(), num_inference_steps=2)
    assert np.array_equal(result.rgba[1], known["right"]) and np.array_equal(result.rgba[3], known["left"])


def test_known_views_condition_the_others(starter: FourViewPipeline) -> None:
    black, white = (np.full((starter.view_px, starter.view_px, 4), value, np.uint8) for value in ((0, 0, 0, 255), (255,) * 4))
    one = paint(starter, known_views={"front": black})
    other = paint(starter, known_views={"front": white})
    assert not np.array_equal(one[1:], other[1:])


@given(known=st.sets(st.sampled_from(VIEW_NAMES), max_size=3))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_mask_and_masked_latents_show_exactly_the_known_cells(starter: FourViewPipeline, known: set[str]) -> None:
    prepared = starter.prepare_known({name: random_view(starter.view_px, 3) for name in known})
    assert prepared.is_empty == (not known)
    for name, mask, latents in zip(VIEW_NAMES, grid_to_views(prepared.mask[0]), grid_to_views(prepared.latents[0]), strict=True):
        assert (mask == (0 if name in known else 1)).all()
        assert bool((latents != 0).any()) == (name in known)


def test_rerolling_one_tile_leaves_the_other_three(pipeline: FourViewPipeline) -> None:
    first = paint(pipeline)
    others = {name: view for name, view in zip(VIEW_NAMES, first, strict=True) if name != "back"}
    again = pipeline("a red chair", known_views=others, generator=seeded(7), num_inference_steps=2).rgba
    assert all(np.array_equal(again[index], first[index]) for index in (0, 1, 3))
    assert not np.array_equal(again[2], first[2])


def test_known_latents_are_held_at_every_step(starter: FourViewPipeline) -> None:
    known = starter.prepare_known({"front": random_view(starter.view_px)})
    noise, start = starter.prepare_noise(seeded()), starter.prepare_start_latents(0.5)
    seen: list[torch.Tensor] = []
    hook = starter.unet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].clone()))
    timesteps = set_timesteps(starter.scheduler, 3, 1.0, "cpu")
    with torch.no_grad():
        latents = starter.denoise(start, noise, known, timesteps, starter.prepare_guidance("a chair", "", 1.0))
    hook.remove()
    assert len(seen) == 3
    for x, timestep in zip(seen, timesteps, strict=True):
        held = starter.scheduler.add_noise(known.latents, noise, timestep[None])
        torch.testing.assert_close(x[:, :4, :4, :4], held[..., :4, :4])
        assert (x[:, 4, :4, :4] == 0).all() and (x[:, 4, 4:] == 1).all()
        torch.testing.assert_close(x[:, 5:, :4, :4], known.latents[..., :4, :4])
        assert (x[:, 5:, 4:] == 0).all()
    assert torch.equal(latents[..., :4, :4], known.latents[..., :4, :4])


@pytest.mark.parametrize("cls", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, LCMScheduler])
def test_every_kind_of_scheduler_paints(starter: FourViewPipeline, cls: type) -> None:
    config = dict(starter.scheduler.config)
    config.pop("clip_sample", None)
    starter.scheduler = cls.from_config(config)
    known = {"front": random_view(starter.view_px)}
    steps: list[int] = []

    def note(pipeline, step, timestep, tensors):
        assert torch.isfinite(tensors["latents"]).all() and torch.isfinite(tensors["predicted_latents"]).all()
        steps.append(int(timestep))

    views = paint(starter, steps=4, strength=0.8, known_views=known, callback_on_step_end=note)
    assert np.array_equal(views[0], known["front"])
    assert len(steps) == 4 and steps == sorted(steps, reverse=True)
    assert 700 <= steps[0] <= 810


def test_prompt_negative_prompt_and_guidance_each_matter(starter: FourViewPipeline) -> None:
    base = paint(starter)
    assert not np.array_equal(paint(starter, prompt="blue car"), base)
    assert not np.array_equal(paint(starter, negative_prompt="wood"), base)
    assert not np.array_equal(paint(starter, guidance_scale=9.0), base)
    runs: list[int] = []
    hook = starter.unet.register_forward_pre_hook(lambda module, arguments: runs.append(arguments[0].shape[0]))
    paint(starter, guidance_scale=1.0)
    paint(starter, guidance_scale=4.0)
    hook.remove()
    assert runs == [1, 1, 2, 2]


def test_folded_guidance_runs_once_and_is_told_the_scale(distilled: FourViewPipeline) -> None:
    assert distilled.guidance_is_folded
    runs: list[int] = []
    hook = distilled.unet.register_forward_pre_hook(lambda module, arguments: runs.append(arguments[0].shape[0]))
    base = paint(distilled, guidance_scale=4.0)
    hook.remove()
    assert runs == [1, 1]
    with torch.no_grad():
        torch.nn.init.normal_(distilled.unet.time_embedding.cond_proj.weight)
    assert not np.array_equal(paint(distilled, guidance_scale=4.0), paint(distilled, guidance_scale=8.0))
    assert np.array_equal(paint(distilled, negative_prompt="wood"), paint(distilled))
    assert base.shape[0] == 4


def test_object_size_and_start_views_matter_below_full_strength(starter: FourViewPipeline) -> None:
    small, large = (paint(starter, object_size=size, strength=0.5) for size in (0.2, 0.9))
    assert not np.array_equal(small, large)
    views = np.stack([random_view(starter.view_px, seed) for seed in range(4)])
    assert not np.array_equal(paint(starter, start_views=views, strength=0.5), small)
    # the starter's noisiest step is noise alone: nothing of the start image is left in it
    assert np.array_equal(paint(starter, object_size=0.2), paint(starter, object_size=0.9))


def test_the_start_keeps_its_detail_where_painting_changes_little(starter: FourViewPipeline) -> None:
    """An untrained autoencoder loses all detail: only what is asked to be kept is still there."""
    views = np.stack([random_view(starter.view_px, seed) for seed in range(4)])
    views[..., 3] = 255

    def away(**options) -> float:
        painted = paint(starter, start_views=views, strength=0.02, **options)
        return float(np.abs(painted.astype(float) - views)[..., :3].mean())

    assert away(keep_start_detail=True) < 0.5 * away()
    assert np.array_equal(paint(starter, keep_start_detail=True), paint(starter))  # blobs are not kept


def test_small_changes_are_noise_and_large_ones_are_painting() -> None:
    start, through = torch.full((1, 4, 2, 2), 0.5), torch.full((1, 4, 2, 2), 0.1)
    painted = through.clone()
    painted[..., 0, 0] += KEPT_COLOUR / 2
    painted[..., 0, 1] += 1.0
    painted[..., 1, 0] -= 1.0
    kept = keep_detail(start, through, painted)
    assert torch.equal(kept[..., 0, 0], start[..., 0, 0]) and torch.equal(kept[..., 1, 1], start[..., 1, 1])
    assert torch.allclose(kept[0, :, 0, 1], torch.tensor([1.5 - KEPT_COLOUR] * 3 + [1.5 - KEPT_ALPHA]))
    assert torch.allclose(kept[0, :, 1, 0], torch.tensor([-0.5 + KEPT_COLOUR] * 3 + [-0.5 + KEPT_ALPHA]))


def test_little_strength_stays_near_the_start(starter: FourViewPipeline) -> None:
    views = np.stack([random_view(starter.view_px, seed) for seed in range(4)])
    with torch.no_grad():
        start = starter.prepare_start_latents(0.5, views)
    noise = starter.prepare_noise(seeded())
    distances = []
    for strength in (0.1, 0.9):
        timesteps = set_timesteps(starter.scheduler, 2, strength, "cpu")
        noisy = starter.scheduler.add_noise(start, noise, timesteps[:1])
        distances.append(float((noisy - start).square().mean()))
    assert distances[0] < 0.2 * distances[1]


def test_callback_sees_previews_may_change_latents_and_may_cancel(pipeline: FourViewPipeline) -> None:
    seen: list[tuple[int, np.ndarray]] = []

    def preview(pipe, step, timestep, tensors):
        seen.append((step, pipe.decode_views(tensors["predicted_latents"])))
        return {"latents": torch.zeros_like(tensors["latents"])}

    changed = paint(pipeline, steps=3, callback_on_step_end=preview)
    assert [step for step, _ in seen] == [0, 1, 2]
    assert seen[0][1].shape == changed.shape
    assert np.array_equal(changed, pipeline.decode_views(torch.zeros_like(pipeline.prepare_noise(None))))

    def cancel(pipe, step, timestep, tensors):
        if step == 1:
            raise Cancelled
        seen.clear()

    with pytest.raises(Cancelled):
        paint(pipeline, steps=3, callback_on_step_end=cancel)
    assert not seen
    first = paint(pipeline)
    assert np.array_equal(paint(pipeline), first)  # a cancelled run leaves nothing behind


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prompt": None}, "prompt must be a single text"),
        ({"num_inference_steps": 0}, "0 is not a valid number of steps"),
        ({"num_inference_steps": 2.5}, "2.5 is not a valid number of steps"),
        ({"num_inference_steps": 1001}, "1001 steps at strength 1 are too many for this model: use at most 1000"),
        ({"guidance_scale": float("nan")}, "A guidance of nan is out of range"),
        ({"guidance_scale": -1}, "A guidance of -1 is out of range"),
        ({"object_size": 0.0}, "An object size of 0 is out of range"),
        ({"strength": 1.5}, "A strength of 1.5 is out of range"),
        ({"strength": 0.0}, "A strength of 0 is out of range"),
        ({"known_views": {"up": np.zeros((16, 16, 4), np.uint8)}}, "Unknown view 'up'"),
        ({"start_views": np.zeros((4, 8, 8, 4), np.uint8)}, "four RGBA images of 16 x 16 px"),
    ],
)
def test_bad_input_is_one_sentence(starter: FourViewPipeline, options: dict, sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence) as caught:
        starter(**{"prompt": "a chair", **options})
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_distilled_models_say_how_many_steps_they_have(distilled: FourViewPipeline) -> None:
    with pytest.raises(InvalidRequestError, match=r"30 steps at strength 0\.5 are too many for this model: use at most 25"):
        distilled("a chair", num_inference_steps=30, strength=0.5)
