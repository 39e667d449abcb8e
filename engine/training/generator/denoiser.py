"""Training of the denoiser: velocity (or noise) prediction on latents of whole grids, any subset of views known.

Weights by noise level: min-SNR (Hang et al. 2023, https://arxiv.org/abs/2303.09556), for velocity with SNR + 1 in place of SNR,
so that the noisiest step, which is noise alone (Lin et al. 2023, https://arxiv.org/abs/2305.08891), counts as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...multiview.pipeline import FourViewPipeline
from .batches import GeneratorBatch
from .trainer import GeneratorConfig, GeneratorTask, TrainingData, noise_like, prepare_unet


@dataclass(frozen=True)
class DenoiserConfig(GeneratorConfig):
    """Settings of this stage.

    Attributes:
        snr_gamma: Signal-to-noise ratio above which a noise level counts no more in the error of the clean latents.
        train_text: Train the text encoder too (the starter's; SDXL's CLIPs stay as they are).
        highest_level: Share of the timesteps that is trained on, from the clean end: less than 1 for a denoiser that only ever
            begins from noised views.
    """

    learning_rate: float = 6e-4
    snr_gamma: float = 5.0
    train_text: bool = True
    highest_level: float = 1.0


class NoiseSchedule:
    """Signal and noise of each timestep, and what the denoiser predicts, as a scheduler's config has them."""

    def __init__(self, scheduler: Any, device: torch.device) -> None:
        alphas = scheduler.alphas_cumprod.double().to(device)
        self.signal, self.noise = alphas.sqrt().float(), (1 - alphas).sqrt().float()  # [T]
        self.prediction: str = scheduler.config.prediction_type
        if self.prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"prediction_type: expected epsilon or v_prediction, got {self.prediction!r}")

    def __len__(self) -> int:
        return len(self.signal)

    def at(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise, [B, 1, 1, 1] each, of timesteps int64 [B]."""
        return self.signal[timesteps].view(-1, 1, 1, 1), self.noise[timesteps].view(-1, 1, 1, 1)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy latents [B, C, h, h]."""
        signal, sigma = self.at(timesteps)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The target of the denoiser's prediction, [B, C, h, h]."""
        signal, sigma = self.at(timesteps)
        return noise if self.prediction == "epsilon" else signal * noise - sigma * latents

    def clean_and_noise(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The clean latents and the noise that a prediction implies, [B, C, h, h] each."""
        signal, sigma = self.at(timesteps)
        if self.prediction == "epsilon":
            return (noisy - sigma * prediction) / signal.clamp(min=1e-4), prediction
        return signal * noisy - sigma * prediction, sigma * noisy + signal * prediction

    def loss_weights(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Weights [B] of the squared errors of the prediction."""
        ratio = (self.signal[timesteps] / self.noise[timesteps].clamp(min=1e-4)).square()
        if self.prediction == "epsilon":
            return ratio.clamp(max=gamma) / ratio.clamp(min=1e-8)
        return (ratio + 1).clamp(max=gamma) / (ratio + 1)


class Denoiser(nn.Module):
    """The pipeline's U-Net and text encoder as one module, so that several processes average the gradients of both."""

    def __init__(self, pipeline: FourViewPipeline, train_text: bool) -> None:
        super().__init__()
        self.unet = pipeline.unet
        self.text_encoder = pipeline.text_encoder if train_text else None
        self._pipeline = [pipeline]  # in a list: no part of this module
        self.train_text = train_text

    def forward(self, noisy: Tensor, timesteps: Tensor, mask: Tensor, masked_latents: Tensor, prompts: list[str]) -> Tensor:
        """The prediction, float [B, C, h, h]; arguments as of `denoising.unet_input`, timesteps int64 [B]."""
        pipeline = self._pipeline[0]
        with torch.set_grad_enabled(self.train_text and torch.is_grad_enabled()):
            condition = pipeline.encode_prompt(prompts)
        x = pipeline.unet_input(noisy, mask, masked_latents).to(memory_format=torch.channels_last)
        prediction: Tensor = self.unet(x, timesteps, return_dict=False, **condition.unet_arguments(pipeline.grid_px))[0]
        return prediction.float()


def spread_timesteps(count: int, steps: int, rng: np.random.Generator) -> Tensor:
    """Random timesteps int64 [count] in 0..steps - 1, one from each `count`-th of the range, in random order."""
    places = (rng.permutation(count) + rng.random(count)) / count
    return torch.from_numpy(np.minimum(places * steps, steps - 1).astype(np.int64))


def painted_mean(error: Tensor, mask: Tensor) -> Tensor:
    """Mean [B] of errors [B, C, h, h] over the cells to paint, mask [B, 1, h, h]."""
    return (error * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * error.shape[1])


class DenoiserTask(GeneratorTask):
    """Trains the U-Net (all of it, or LoRA) and, for the starter, the text encoder."""

    config: DenoiserConfig

    def __init__(self, pipeline: FourViewPipeline, config: DenoiserConfig, data: TrainingData, device: torch.device) -> None:
        for part in (pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
            if part is not None:
                part.requires_grad_(False)
        prepare_unet(pipeline.unet, config)
        train_text = config.train_text and pipeline.text_encoder_2 is None
        if train_text:
            pipeline.text_encoder.requires_grad_(True)
        self.schedule = NoiseSchedule(pipeline.scheduler, device)
        super().__init__(Denoiser(pipeline, train_text), pipeline, config, data, device)

    def loss(self, network: nn.Module, batch: GeneratorBatch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        batch = batch.to(self.device)
        highest = round(len(self.schedule) * self.config.highest_level)
        timesteps = spread_timesteps(len(batch.prompts), highest, rng).to(self.device)
        noise = noise_like(batch.latents, rng)
        noisy = self.schedule.add_noise(batch.latents, noise, timesteps)
        prediction = network(noisy, timesteps, batch.mask, batch.masked_latents, batch.prompts)
        error = painted_mean((prediction - self.schedule.target(batch.latents, noise, timesteps)).square(), batch.mask)
        weighted = (error * self.schedule.loss_weights(timesteps, self.config.snr_gamma)).mean()
        return weighted, {"error": float(error.detach().mean())}
