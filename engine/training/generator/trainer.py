"""Shared parts of training the denoiser and distilling it: accelerate, latents, sample sheets, the best checkpoint."""

from __future__ import annotations

import contextlib
import csv
import datetime
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor, nn

from ...multiview.pipeline import FourViewPipeline
from ..loop import LoopConfig, Task, Validation, autocast, torch_generator
from .batches import BatchConfig, GeneratorBatch, draw_batch, kind_probabilities, object_weights
from .grid_cache import GridCache
from .latents import LatentCache
from .samples import paint_sheet, sample_jobs
from .selection import Judge

BUILD_HOURS = 12  # processes wait so long for the one that renders and encodes


@dataclass(frozen=True)
class GeneratorConfig(LoopConfig):
    """Settings that both stages share.

    Attributes:
        checkpointing: Keep few activations and compute them again in the backward pass: slower, less memory.
        lora_rank: Train low-rank additions to the denoiser's attention of this rank instead of all weights; 0: all weights.
        sheet_jobs, sheet_steps, sheet_guidance: Rows, sampler steps and guidance of a sample sheet.
        batch: Settings of the batches.
    """

    checkpointing: bool = False
    lora_rank: int = 0
    sheet_jobs: int = 16
    sheet_steps: int = 12
    sheet_guidance: float = 4.0
    batch: BatchConfig = field(default_factory=BatchConfig)


@dataclass(frozen=True)
class TrainingData:
    """Training latents; unseen grids for validation, or None; the judge."""

    latents: LatentCache
    validation: GridCache | None
    judge: Judge


def make_accelerator(device: str, bf16: bool) -> Accelerator:
    """One accelerator a process; on several GPUs under `accelerate launch`."""
    waiting = InitProcessGroupKwargs(timeout=datetime.timedelta(hours=BUILD_HOURS))
    return Accelerator(mixed_precision="bf16" if bf16 else "no", cpu=device == "cpu", kwargs_handlers=[waiting])


def prepare_unet(unet: Any, config: GeneratorConfig) -> None:
    """LoRA, gradient checkpointing, memory layout and fusing as the settings ask for."""
    if config.lora_rank:
        from peft import LoraConfig

        unet.requires_grad_(False)
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        unet.add_adapter(LoraConfig(r=config.lora_rank, lora_alpha=config.lora_rank, target_modules=targets))
    if config.checkpointing:
        unet.enable_gradient_checkpointing()
    unet.to(memory_format=torch.channels_last)
    if config.compile:
        unet.compile()


@contextlib.contextmanager
def not_compiled(module: nn.Module) -> Iterator[None]:
    """Run a compiled module uncompiled: other shapes would trigger minutes of compilation."""
    kept, module._compiled_call_impl = module._compiled_call_impl, None
    try:
        yield
    finally:
        module._compiled_call_impl = kept


def noise_like(latents: Tensor, rng: np.random.Generator) -> Tensor:
    """Unit noise of the shape and device of `latents`, the same on every device."""
    return torch.randn(latents.shape, generator=torch_generator(rng)).to(latents.device)


class GeneratorTask(Task[GeneratorBatch]):
    """Trains a denoiser on latents; its subclasses bring the loss.

    Args:
        network: The network to train.
        pipeline: Paints the sheets with the network's weights, and is saved.
        config: Settings.
        data: The training data.
        device: Device to train on.
    """

    losses = ("loss", "error")

    def __init__(
        self, network: nn.Module, pipeline: FourViewPipeline, config: GeneratorConfig, data: TrainingData, device: torch.device
    ) -> None:
        self.config: GeneratorConfig = config
        self.pipeline, self.data, self.device = pipeline, data, device
        self.network = network.to(device)
        self.score = "known_psnr" if data.judge.reconstructor is None else "stage_two"
        pipeline.to(device)
        pipeline.set_progress_bar_config(disable=True)
        self.weights = object_weights(data.latents, config.batch)
        self.kinds = kind_probabilities(data.latents, config.batch)

    def draw(self, rng: np.random.Generator, progress: float) -> GeneratorBatch:
        return draw_batch(self.data.latents, self.config.batch, self.weights, self.kinds, rng)

    def validate(self) -> Validation:
        """Sample sheet and scores; `objective` is what checkpoints are chosen by (less is better)."""
        config = self.config
        jobs = sample_jobs(self.data.validation, config.sheet_jobs)
        with not_compiled(self.pipeline.unet), autocast(self.device, config.bf16):
            sheet = paint_sheet(
                self.pipeline, jobs, self.data.judge, steps=config.sheet_steps, guidance_scale=config.sheet_guidance
            )
        more = {"objective": sheet.objective, **{k: v for k, v in sheet.scores.items() if k != self.score}}
        return Validation(sheet.scores.get(self.score, float("nan")), sheet.image / 255, more)

    def save_weights(self, out: Path, found: Validation | None) -> None:
        """Write `OUT/pipeline`, and `OUT/best` if no earlier checkpoint was better; with LoRA only the additions."""
        assert found is not None
        if self.config.lora_rank:
            self.pipeline.unet.save_lora_adapter(out / "pipeline")
        else:
            self.pipeline.save_pretrained(out / "pipeline")
        earlier = [float(row["objective"]) for row in read_rows(out / "validation.csv")]
        if all(found.more["objective"] <= value for value in earlier):
            shutil.rmtree(out / "best", ignore_errors=True)
            shutil.copytree(out / "pipeline", out / "best")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
