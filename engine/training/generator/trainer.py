"""What training the denoiser and distilling it share: accelerate, latents, averages, sample sheets, the best checkpoint."""

from __future__ import annotations

import contextlib
import csv
import datetime
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import broadcast
from torch import Tensor, nn

from ...multiview.pipeline import FourViewPipeline
from ..curves import CurveLog
from .batches import BatchConfig, GeneratorBatch, draw_batch, kind_probabilities, object_weights
from .grid_cache import GridCache
from .latents import LatentCache
from .run import Average, Clock, RunConfig, autocast_dtype, load_trainable, trainable, trainable_state
from .samples import paint_sheet, sample_jobs
from .selection import Judge

log = logging.getLogger(__name__)

BUILD_HOURS = 12  # processes wait so long for the one that renders and encodes


@dataclass(frozen=True)
class GeneratorConfig(RunConfig):
    """Settings that both stages share.

    Attributes:
        accumulate: Batches a step, one after another.
        checkpointing: Keep few activations and compute them again in the backward pass: slower, less memory.
        lora_rank: Train low-rank additions to the denoiser's attention of this rank instead of all weights; 0: all weights.
        sheet_jobs, sheet_steps, sheet_guidance: Rows, sampler steps and guidance of a sample sheet.
        batch: How a batch is drawn.
    """

    accumulate: int = 1
    checkpointing: bool = False
    lora_rank: int = 0
    sheet_jobs: int = 16
    sheet_steps: int = 12
    sheet_guidance: float = 4.0
    batch: BatchConfig = field(default_factory=BatchConfig)


@dataclass(frozen=True)
class TrainingData:
    """latents to train on; unseen grids to look at, or None; who judges."""

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
    """Run a compiled module as it is written: other shapes would be compiled anew, for minutes."""
    kept, module._compiled_call_impl = module._compiled_call_impl, None
    try:
        yield
    finally:
        module._compiled_call_impl = kept


def noise_like(latents: Tensor, rng: np.random.Generator) -> Tensor:
    """Unit noise of the shape and device of `latents`, the same on every device."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return torch.randn(latents.shape, generator=generator).to(latents.device)


class GeneratorTrainer(ABC):
    """Holds what a checkpoint holds: network, its moving average, optimiser, steps and seconds.

    Args:
        network: What is trained; called only through `self.network`, which accelerate has wrapped.
        pipeline: Paints the sheets with the network's weights, and is saved.
        config: Settings.
        data: What to train on.
        out: Where the pipeline (`OUT/pipeline`, the best one in `OUT/best`) and sheets go.
        accelerator: Of this process.
    """

    def __init__(
        self,
        network: nn.Module,
        pipeline: FourViewPipeline,
        config: GeneratorConfig,
        data: TrainingData,
        out: Path,
        accelerator: Accelerator,
    ) -> None:
        self.pipeline, self.config, self.data, self.out, self.accelerator = pipeline, config, data, out, accelerator
        self.device = accelerator.device
        self.clock = Clock(config)
        self.is_main = bool(accelerator.is_main_process)
        self.plain_network = network.to(self.device)
        pipeline.to(self.device)
        pipeline.set_progress_bar_config(disable=True)
        self.parameters = trainable(network)
        self.average = Average(self.parameters, config.ema_decay)
        optimiser = torch.optim.AdamW(self.parameters, config.learning_rate, weight_decay=config.weight_decay)
        self.network, self.optimiser = accelerator.prepare(network, optimiser)
        self.weights = object_weights(data.latents, config.batch)
        self.kinds = kind_probabilities(data.latents, config.batch)

    @abstractmethod
    def loss(self, batch: GeneratorBatch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch on the device, and its terms."""

    def train_step(self) -> dict[str, float]:
        config, rng = self.config, self.clock.rng(self.accelerator.process_index)
        for group in self.optimiser.param_groups:
            group["lr"] = self.clock.rate
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        total, sums = 0.0, {}  # type: float, dict[str, float]
        for _ in range(config.accumulate):
            batch = draw_batch(self.data.latents, config.batch, self.weights, self.kinds, rng).to(self.device)
            loss, terms = self.loss(batch, rng)
            self.accelerator.backward(loss / config.accumulate)
            total += float(loss.detach()) / config.accumulate
            sums = {key: sums.get(key, 0.0) + value / config.accumulate for key, value in terms.items()}
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.average.update(self.clock.step)
        return {"loss": total, **sums, "norm": float(norm)}

    def agree(self, seconds: float) -> float:
        if self.accelerator.num_processes == 1:
            return seconds
        return float(broadcast(torch.tensor([seconds], dtype=torch.float64, device=self.device))[0])

    def look(self, curves: CurveLog) -> None:
        """Sample sheet, scores, `OUT/pipeline`, and `OUT/best` if no earlier checkpoint was as good."""
        if not self.is_main:
            return
        jobs = sample_jobs(self.data.validation, self.config.sheet_jobs)
        self.plain_network.eval()
        with self.average.in_use(), not_compiled(self.pipeline.unet), torch.no_grad():
            with autocast_dtype(self.device, self.config.bf16):
                sheet = paint_sheet(
                    self.pipeline,
                    jobs,
                    self.data.judge,
                    steps=self.config.sheet_steps,
                    guidance_scale=self.config.sheet_guidance,
                )
            self.save_weights(self.out / "pipeline")
        log.info("step %d, %.0f s: %s", self.clock.step, self.clock.seconds, sheet.scores)
        more = {"objective": sheet.objective, **{k: v for k, v in sheet.scores.items() if k != curves.score}}
        earlier = [float(row["objective"]) for row in read_rows(self.out / "validation.csv")]
        if all(sheet.objective <= value for value in earlier):
            shutil.rmtree(self.out / "best", ignore_errors=True)
            shutil.copytree(self.out / "pipeline", self.out / "best")
        score = sheet.scores.get(curves.score, float("nan"))
        curves.add_validation(self.clock.step, self.clock.seconds, score, sheet.image / 255, more)

    def save_weights(self, folder: Path) -> None:
        """The whole pipeline; with LoRA only the additions (`pytorch_lora_weights.safetensors`)."""
        if self.config.lora_rank:
            self.pipeline.unet.save_lora_adapter(folder)
        else:
            self.pipeline.save_pretrained(folder)

    def state(self) -> dict[str, Any]:
        return {
            "model": trainable_state(self.plain_network),
            "average": self.average.values,
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        load_trainable(self.plain_network, state["model"])
        self.average.load(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
