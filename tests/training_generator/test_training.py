"""Each stage on tiny real models: the loss falls, resuming gives the same next step, what is saved paints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.multiview.configs import consistency_scheduler, starter_scheduler
from tetraview.engine.multiview.pipeline import FourViewPipeline
from tetraview.engine.training.average import Average
from tetraview.engine.training.generator.autoencoder import AutoencoderConfig, AutoencoderTask, moment_loss, sobel
from tetraview.engine.training.generator.batches import BatchConfig, draw_batch
from tetraview.engine.training.generator.consistency import ConsistencyConfig, ConsistencyTask, boundary
from tetraview.engine.training.generator.denoiser import (
    DenoiserConfig,
    DenoiserTask,
    NoiseSchedule,
    painted_mean,
    spread_timesteps,
)
from tetraview.engine.training.generator.export import export_pipeline
from tetraview.engine.training.generator.grid_cache import GridCache
from tetraview.engine.training.generator.latents import LatentCache, build_latents
from tetraview.engine.training.generator.selection import Judge
from tetraview.engine.training.generator.trainer import GeneratorTask, TrainingData, make_accelerator
from tetraview.engine.training.loop import Clock, LoopConfig, Task, TrainingLoop

from ..tiny_generators import tiny_sdxl_components
from ..training.resuming import EXACT, check_resuming_is_exact
from .conftest import tiny_pipeline

CPU = torch.device("cpu")
RUN = {"minutes": 10.0, "warmup_steps": 5, "bf16": False, "sheet_every": 10_000}
SMALL = {**RUN, "sheet_jobs": 2, "sheet_steps": 2, "batch": BatchConfig(size=4)}
SCHEDULERS = {"velocity": starter_scheduler(), "noise": EulerDiscreteScheduler(beta_schedule="scaled_linear")}


def denoiser_task(data: TrainingData, **changes: object) -> DenoiserTask:
    config = dataclasses.replace(DenoiserConfig(**SMALL), **changes)
    return DenoiserTask(tiny_pipeline(), config, data, CPU)


def consistency_task(data: TrainingData, **changes: object) -> ConsistencyTask:
    config = dataclasses.replace(ConsistencyConfig(**SMALL), **changes)
    return ConsistencyTask(tiny_pipeline(), config, data, CPU)


def autoencoder_task(grids: GridCache, **changes: object) -> AutoencoderTask:
    config = dataclasses.replace(AutoencoderConfig(**RUN, batch=4, crop_px=16), **changes)
    return AutoencoderTask(tiny_pipeline().vae, config, grids, grids, CPU)


def accelerated(task: Task, out: Path) -> TrainingLoop:
    """The loop as the command builds it for the denoiser."""
    return TrainingLoop(task, out, make_accelerator("cpu", False))


def test_the_autoencoder_learns_and_its_weights_are_saved(grids: GridCache, tmp_path: Path) -> None:
    task = autoencoder_task(grids, max_steps=60)
    terms = list(TrainingLoop(task, tmp_path).run())
    assert len(terms) == 60 and {"colour", "alpha", "gradient", "mse", "moments"} < set(terms[0])
    for name in ("loss", "moments"):
        assert np.mean([t[name] for t in terms[-5:]]) < 0.7 * np.mean([t[name] for t in terms[:5]]), name
    saved = type(task.network).from_pretrained(tmp_path / "vae")
    assert 0.1 < saved.config["scaling_factor"] < 100
    trained = [sum(p.numel() for p in vae.parameters() if p.requires_grad) for vae in (saved, task.network)]
    assert trained[0] == trained[1] > 0  # training that starts from them learns as much
    assert list(tmp_path.glob("samples_*.png")) and (tmp_path / "validation.csv").read_text().startswith("step,seconds,psnr")


def test_gradients_and_moments() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    assert torch.equal(sobel(ramp)[0, 0], torch.ones(3, 3)) and torch.equal(sobel(ramp)[0, 1], torch.zeros(3, 3))
    noise = torch.randn(64, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    assert moment_loss(noise) < 1e-3 < 0.1 < min(moment_loss(noise + 0.5), moment_loss(noise * 2))


@pytest.mark.parametrize("kind", ["velocity", "noise"])
@given(seed=st.integers(0, 1000), step=st.integers(1, 998))
@settings(max_examples=25, deadline=None)
def test_prediction_targets_can_be_inverted(kind: str, seed: int, step: int) -> None:
    scheduler = SCHEDULERS[kind]
    schedule = NoiseSchedule(scheduler, CPU)
    latents, noise = torch.randn(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    timesteps = torch.tensor([step])
    noisy = schedule.add_noise(latents, noise, timesteps)
    target = schedule.target(latents, noise, timesteps)
    clean, found = schedule.clean_and_noise(noisy, target, timesteps)
    assert torch.allclose(clean, latents, atol=2e-2) and torch.allclose(found, noise, atol=2e-3)
    if kind == "velocity":
        assert torch.allclose(target, scheduler.get_velocity(latents, noise, timesteps), atol=1e-5)
        assert torch.allclose(noisy, scheduler.add_noise(latents, noise, timesteps), atol=1e-5)


def test_the_noisiest_step_counts_in_full_and_clean_ones_little() -> None:
    schedule = NoiseSchedule(starter_scheduler(), CPU)
    weights = schedule.loss_weights(torch.arange(1000), 5.0)
    assert weights[-1] == 1 and weights[0] < 0.02 and bool((weights.diff() >= -1e-6).all())
    snr = (schedule.signal / schedule.noise).square()
    assert torch.allclose((weights * (snr + 1))[:-1], (snr[:-1] + 1).clamp(max=5), rtol=1e-3)  # in units of clean latents


def test_timesteps_are_spread() -> None:
    steps = spread_timesteps(8, 1000, np.random.default_rng(0))
    assert sorted(int(s) * 8 // 1000 for s in steps) == list(range(8)) and steps.dtype == torch.int64
    error, mask = torch.ones(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    error[..., 2:, :] = 100
    assert painted_mean(error, mask).tolist() == [1]


def test_the_denoiser_learns(data: TrainingData, tmp_path: Path) -> None:
    task = denoiser_task(data, max_steps=60, learning_rate=3e-3, batch=BatchConfig(size=8))
    word = task.pipeline.text_encoder.state_dict()
    before = {name: value.clone() for name, value in word.items()}
    loop = accelerated(task, tmp_path)
    terms = list(loop.run())
    errors = [t["error"] for t in terms]
    assert np.mean(errors[-8:]) < 0.8 * np.mean(errors[:8])
    after = task.pipeline.text_encoder.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)  # it is trained along
    for folder in ("pipeline", "best"):
        loaded = FourViewPipeline.from_pretrained(tmp_path / folder)
        for part in ("unet", "text_encoder"):
            saved = list(getattr(loaded, part).parameters())
            with loop.average.in_use():
                own = [p.detach().clone() for p in getattr(task.pipeline, part).parameters()]
            assert all(torch.equal(a, b) for a, b in zip(saved, own, strict=True))
    header = (tmp_path / "validation.csv").read_text().splitlines()[0]
    assert header == "step,seconds,known_psnr,objective" and list(tmp_path.glob("samples_*.png"))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stage", ["generator", "distill", "autoencoder"])
def test_resuming_gives_the_same_next_step(
    stage: str, accumulate: int, data: TrainingData, grids: GridCache, tmp_path: Path
) -> None:
    changes = {**EXACT, "accumulate": accumulate}
    if stage == "autoencoder":
        check_resuming_is_exact(lambda: autoencoder_task(grids, **changes), tmp_path)
        return
    new_task = denoiser_task if stage == "generator" else consistency_task
    check_resuming_is_exact(lambda: new_task(data, **changes), tmp_path, accelerator=make_accelerator("cpu", False))


def test_the_clock_stops_at_the_budget(grids: GridCache, tmp_path: Path) -> None:
    clock = Clock(LoopConfig(minutes=1, learning_rate=1.0, warmup_steps=10, final_rate=0.1))
    assert clock.rate == pytest.approx(0.1)
    clock.step, clock.seconds = 20, 0.0
    assert clock.rate == pytest.approx(1.0)
    clock.seconds = 60.0
    assert clock.progress == 1 and clock.rate == pytest.approx(0.1)
    assert Clock(LoopConfig(minutes=1, max_steps=4)).progress == 0
    loop = TrainingLoop(autoencoder_task(grids), tmp_path)
    first, again, other = (loop.draw(step)[0] for step in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_averages_come_and_go() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    average = Average([parameter], 0.9)
    with torch.no_grad():
        parameter.fill_(1.0)
    average.update(1000)
    assert torch.allclose(average.values[0], torch.tensor(0.1))
    with average.in_use():
        assert torch.allclose(parameter, torch.tensor(0.1))
    assert torch.equal(parameter, torch.ones(3)) and torch.allclose(average.values[0], torch.tensor(0.1))


def test_checkpointing_and_accumulation_give_the_same_gradients(data: TrainingData, tmp_path: Path) -> None:
    plain, frugal = (accelerated(denoiser_task(data, checkpointing=on), tmp_path) for on in (False, True))
    batches = plain.draw(0)
    expected = plain.step(batches)
    assert expected == pytest.approx(frugal.step(batches), rel=1e-4)
    twice = accelerated(denoiser_task(data, accumulate=2), tmp_path)
    drawn = twice.draw(0)
    assert len(drawn) == 2 and torch.equal(drawn[0].latents, batches[0].latents)
    assert not torch.equal(drawn[0].latents, drawn[1].latents)
    single = accelerated(denoiser_task(data), tmp_path).step(drawn[1:])
    both = twice.step(drawn)
    assert min(expected["loss"], single["loss"]) * 0.5 < both["loss"] < max(expected["loss"], single["loss"]) * 1.5


@pytest.mark.parametrize("stage", ["generator", "distill"])
def test_lora_on_sdxl_trains_additions_only(stage: str, grids: GridCache, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipeline = FourViewPipeline(**{**tiny_sdxl_components(), "scheduler": starter_scheduler()})
    pipeline.unet.register_to_config(sample_size=16)  # views of 16 px
    list(build_latents(pipeline.vae, grids, tmp_path / "latents", CPU))
    data = TrainingData(LatentCache(tmp_path / "latents", grids), grids, Judge())
    before = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    task: GeneratorTask
    if stage == "generator":
        task = DenoiserTask(pipeline, DenoiserConfig(**SMALL, lora_rank=2, max_steps=3), data, CPU)
    else:
        task = ConsistencyTask(pipeline, ConsistencyConfig(**SMALL, lora_rank=2, max_steps=3), data, CPU)
    loop = accelerated(task, tmp_path)
    assert 0 < sum(p.numel() for p in loop.parameters) < 0.05 * sum(v.numel() for v in before.values())
    list(loop.run())
    after = {name.replace(".base_layer", ""): value for name, value in task.pipeline.unet.state_dict().items()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    additions = torch.cat([v.flatten() for name, v in after.items() if "lora_B" in name])
    assert additions.abs().max() > 0
    assert (tmp_path / "best" / "pytorch_lora_weights.safetensors").stat().st_size < 200_000
    if stage == "generator":
        assert export_pipeline(task.pipeline, tmp_path / "best", tmp_path / "shipped", lora=True) > 0
        shipped = FourViewPipeline.from_pretrained(tmp_path / "shipped")
        changed = [
            n for n, v in shipped.unet.state_dict().items() if not torch.allclose(v.float(), before[n], atol=1e-3, rtol=1e-3)
        ]
        assert not any("lora" in name for name in shipped.unet.state_dict())
        assert all("attn" in name for name in changed)


def test_a_new_student_is_its_teacher(data: TrainingData) -> None:
    task = consistency_task(data)
    x, t = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 900])
    with torch.no_grad():
        words = task.pipeline.encode_prompt(["a box", ""])
        told = torch.randn(2, 256)
        assert torch.allclose(task.network(x, t, told, words), task.teacher(x, t, None, words), atol=1e-5)
    with pytest.raises(ValueError, match="distilled"):
        ConsistencyTask(task.pipeline, task.config, data, CPU)


def test_boundaries_are_the_scheduler_s() -> None:
    scheduler = consistency_scheduler(starter_scheduler().config)
    for step in (0, 19, 500, 999):
        keep, take = boundary(torch.tensor([step]), scheduler.config.timestep_scaling)
        assert (float(keep), float(take)) == pytest.approx(scheduler.get_scalings_for_boundary_condition_discrete(step))


def test_the_student_learns_and_paints_in_few_steps(data: TrainingData, tmp_path: Path) -> None:
    task = consistency_task(data, max_steps=8, learning_rate=1e-3)
    teacher = [p.clone() for p in task.teacher.parameters()]
    loop = accelerated(task, tmp_path)
    terms = list(loop.run())
    assert all(np.isfinite(t["loss"]) for t in terms)
    assert all(torch.equal(a, b) for a, b in zip(teacher, task.teacher.parameters(), strict=True))
    assert task.target is not None
    target = list(task.target.parameters())
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(loop.average.values, target, strict=True))
    loaded = FourViewPipeline.from_pretrained(tmp_path / "best")
    assert loaded.guidance_is_folded and loaded.scheduler.config.original_inference_steps == 50
    loaded.set_progress_bar_config(disable=True)
    front = np.array(data.latents.grids.views(0, 0)[0])
    output = loaded("a red box", known_views={"front": front}, num_inference_steps=4, generator=torch.Generator().manual_seed(0))
    assert output.rgba.shape == (4, 16, 16, 4) and np.array_equal(output.rgba[0], front)
    size = export_pipeline(loaded, tmp_path / "best", tmp_path / "shipped", lora=False)
    assert 0 < size < 0.7 * sum(p.stat().st_size for p in (tmp_path / "best").rglob("*") if p.is_file())
    assert FourViewPipeline.from_pretrained(tmp_path / "shipped").guidance_is_folded


def test_teacher_paths_hold_known_views(data: TrainingData) -> None:
    task = consistency_task(data, batch=BatchConfig(size=4, known=1.0))
    batch = draw_batch(data.latents, task.config.batch, task.weights, task.kinds, np.random.default_rng(0))
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0))
    start, end = torch.full((4,), 699), torch.full((4,), 679)
    both = task.pipeline.encode_prompt([""] * 4).followed_by(task.pipeline.encode_prompt(batch.prompts))
    noisy = task.schedule.add_noise(batch.latents, noise, start)
    point = task.neighbour(noisy, start, end, batch, noise, torch.full((4, 1, 1, 1), 3.0), both)
    true = task.schedule.add_noise(batch.latents, noise, end)
    known = (batch.mask == 0).expand_as(true)
    assert torch.equal(point[known], true[known]) and not torch.allclose(point[~known], true[~known], atol=1e-2)
