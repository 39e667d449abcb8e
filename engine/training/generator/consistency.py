"""Few-step distillation: latent consistency, with classifier-free guidance folded in.

The student maps any point of a path from noise to image to its end; along the teacher's guided path neighbouring points must
have one end. The starter's student is a whole U-Net that takes the guidance strength as input; with LoRA (SDXL) it is the
teacher with low-rank additions, at one strength.

Luo et al. 2023, Latent Consistency Models, https://arxiv.org/abs/2310.04378, and LCM-LoRA, https://arxiv.org/abs/2311.05556
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ...multiview.conditions import TextCondition, guidance_embedding
from ...multiview.configs import consistency_scheduler
from ...multiview.pipeline import FourViewPipeline
from ..loop import autocast
from .batches import GeneratorBatch
from .denoiser import NoiseSchedule, painted_mean
from .trainer import GeneratorConfig, GeneratorTask, TrainingData, noise_like, prepare_unet

GUIDANCE_WIDTH = 256
"""`time_cond_proj_dim` of a student that takes the guidance strength as input."""


@dataclass(frozen=True)
class ConsistencyConfig(GeneratorConfig):
    """Settings of this stage.

    Attributes:
        guidance: Range of strengths drawn in training; with LoRA its middle is the only one.
        solver_steps: Points of the teacher's path; the few-step solver picks its steps from them.
        huber: Error at which the loss turns from square to linear.
    """

    learning_rate: float = 2e-4
    warmup_steps: int = 50
    weight_decay: float = 0.0
    ema_decay: float = 0.95
    sheet_steps: int = 4
    guidance: tuple[float, float] = (2.0, 6.0)
    solver_steps: int = 50
    huber: float = 0.001


class Student(nn.Module):
    """The U-Net as accelerate wraps it: takes encoded prompts instead of words."""

    def __init__(self, unet: nn.Module, pipeline: FourViewPipeline) -> None:
        super().__init__()
        self.unet = unet
        self._pipeline = [pipeline]

    def forward(self, x: Tensor, timesteps: Tensor, told: Tensor | None, condition: TextCondition) -> Tensor:
        """The prediction, float [B, C, h, h], of inputs [B, 2C + 1, h, h]; told: guidance embedding [B, G] or None."""
        arguments = condition.unet_arguments(self._pipeline[0].grid_px)
        x = x.contiguous(memory_format=torch.channels_last)
        prediction: Tensor = self.unet(x, timesteps, timestep_cond=told, return_dict=False, **arguments)[0]
        return prediction.float()


def student_unet(teacher: Any) -> UNet2DConditionModel:
    """A copy of the teacher that is also told the guidance strength, and takes no notice of it yet."""
    config = {key: value for key, value in teacher.config.items() if not key.startswith("_")}
    student = UNet2DConditionModel.from_config({**config, "time_cond_proj_dim": GUIDANCE_WIDTH})
    missing, unexpected = student.load_state_dict(teacher.state_dict(), strict=False)
    if unexpected or missing != ["time_embedding.cond_proj.weight"]:
        raise ValueError(f"teacher and student differ: {missing}, {unexpected}")
    nn.init.zeros_(student.time_embedding.cond_proj.weight)
    return student


def boundary(timesteps: Tensor, scaling: float, sigma_data: float = 0.5) -> tuple[Tensor, Tensor]:
    """Shares [B, 1, 1, 1] of the input and of the predicted clean latents in a consistency function, as of `LCMScheduler`."""
    t = timesteps.view(-1, 1, 1, 1).float() * scaling
    return sigma_data**2 / (t**2 + sigma_data**2), t / (t**2 + sigma_data**2).sqrt()


class ConsistencyTask(GeneratorTask):
    """Distils the pipeline's denoiser.

    Args:
        teacher: The trained pipeline; its other parts go over to the student's unchanged.
        config, data, device: See `GeneratorTask`.

    Raises:
        ValueError: The teacher is a student already.
    """

    config: ConsistencyConfig

    def __init__(self, teacher: FourViewPipeline, config: ConsistencyConfig, data: TrainingData, device: torch.device) -> None:
        if teacher.guidance_is_folded:
            raise ValueError("teacher: expected a denoiser without guidance folded in, got a distilled one")
        for part in (teacher.unet, teacher.vae, teacher.text_encoder, teacher.text_encoder_2):
            if part is not None:
                part.requires_grad_(False)
        self.schedule = NoiseSchedule(teacher.scheduler, device)
        scheduler = consistency_scheduler(teacher.scheduler.config)
        scheduler.register_to_config(original_inference_steps=config.solver_steps)
        self.scaling = float(scheduler.config.timestep_scaling)
        unet = teacher.unet if config.lora_rank else student_unet(teacher.unet)
        prepare_unet(unet, config)
        pipeline = FourViewPipeline(**{**teacher.components, "unet": unet, "scheduler": scheduler})
        self.teacher = Student(teacher.unet, pipeline).to(device).eval()
        super().__init__(Student(unet, pipeline), pipeline, config, data, device)
        if not config.lora_rank:  # LCM-LoRA: the target is the student itself, without gradient
            self.target = Student(copy.deepcopy(unet), pipeline).to(device).requires_grad_(False).eval()

    @torch.no_grad()
    def neighbour(
        self, noisy: Tensor, start: Tensor, end: Tensor, batch: GeneratorBatch, noise: Tensor, scale: Tensor, both: TextCondition
    ) -> Tensor:
        """The point at timesteps `end` [B] of the teacher's guided path through `noisy` at `start` [B] (one DDIM step)."""
        x = self.pipeline.unet_input(noisy, batch.mask, batch.masked_latents)
        adapters = self._without_additions() if self.config.lora_rank else contextlib.nullcontext()
        with adapters, autocast(self.device, self.config.bf16):
            prediction = self.teacher(x.repeat(2, 1, 1, 1), start.repeat(2), None, both)
        negative, positive = prediction.chunk(2)
        clean, its_noise = self.schedule.clean_and_noise(noisy, negative + scale * (positive - negative), start)
        point = self.schedule.add_noise(clean, its_noise, end)
        known = self.schedule.add_noise(batch.latents, noise, end)
        return torch.where(batch.mask > 0, point, known)

    @contextlib.contextmanager
    def _without_additions(self) -> Any:
        self.pipeline.unet.disable_adapters()
        try:
            yield
        finally:
            self.pipeline.unet.enable_adapters()

    def end_of_path(
        self, network: nn.Module, x: Tensor, timesteps: Tensor, batch: GeneratorBatch, told: Tensor | None, words: TextCondition
    ) -> Tensor:
        """The consistency function: clean latents [B, C, h, h] of the path through `x` at `timesteps` [B]."""
        prediction = network(self.pipeline.unet_input(x, batch.mask, batch.masked_latents), timesteps, told, words)
        clean, _ = self.schedule.clean_and_noise(x, prediction, timesteps)
        keep, take = boundary(timesteps, self.scaling)
        return keep * x + take * clean

    def loss(self, network: nn.Module, batch: GeneratorBatch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        batch = batch.to(self.device)
        config, count = self.config, len(batch.prompts)
        stride = len(self.schedule) // config.solver_steps
        index = torch.from_numpy(rng.integers(1, config.solver_steps + 1, count)).to(self.device)
        start = index * stride - 1
        end = (start - stride).clamp(min=0)
        strengths = rng.uniform(*config.guidance, count).astype(np.float32)
        if config.lora_rank:
            strengths[:] = np.mean(config.guidance)
        scale = torch.from_numpy(strengths).to(self.device)
        told = None if config.lora_rank else guidance_embedding(scale, GUIDANCE_WIDTH)
        noise = noise_like(batch.latents, rng)
        noisy = self.schedule.add_noise(batch.latents, noise, start)
        with torch.no_grad():
            words = self.pipeline.encode_prompt(batch.prompts)
            both = self.pipeline.encode_prompt([""] * count).followed_by(words)
            nearer = self.neighbour(noisy, start, end, batch, noise, scale.view(-1, 1, 1, 1), both)
            with autocast(self.device, config.bf16):
                target = self.end_of_path(self.target or self.network, nearer, end, batch, told, words)
        clean = self.end_of_path(network, noisy, start, batch, told, words)
        error = painted_mean(((clean - target).square() + config.huber**2).sqrt() - config.huber, batch.mask)
        return error.mean(), {"error": float(painted_mean((clean - batch.latents).detach().square(), batch.mask).mean())}
