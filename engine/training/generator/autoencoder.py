"""Training of the starter autoencoder: views of colour on white and alpha to latents of unit variance, and back.

L1, MSE, gradient (Sobel) and alpha terms; a little noise on the latents keeps their space smooth for the denoiser, and a pull
on their moments makes every channel mean 0 and variance 1 (what is left goes into the config's `scaling_factor`).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from ...multiview.autoencoder import PatchAutoencoder
from ..curves import CurveLog
from .grid_cache import GridCache
from .pixels import to_pixels
from .run import Average, Clock, RunConfig, autocast_dtype, load_trainable, trainable_state

log = logging.getLogger(__name__)

SHEET_CROPS = 8


@dataclass(frozen=True)
class AutoencoderConfig(RunConfig):
    """Settings of this stage.

    Attributes:
        batch: Crops a step.
        crop_px: Side of a crop of the grid; it may cover parts of several views.
        mse, gradient, alpha, moments: Weights beside the L1 term's 1.
        latent_noise: Standard deviation of the noise on latents.
    """

    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.0
    ema_decay: float = 0.998
    batch: int = 8
    crop_px: int = 128
    mse: float = 1.0
    gradient: float = 0.5
    alpha: float = 1.0
    moments: float = 0.02
    latent_noise: float = 0.05


def draw_crops(cache: GridCache, count: int, crop_px: int, channels: int, rng: np.random.Generator) -> Tensor:
    """Random crops of random grids, half of them mirrored, float32 [count, channels, crop_px, crop_px] in -1..1.

    Offsets are drawn from a range a quarter wider than the grid and clipped, so that its edges come often enough.
    """
    crops = []
    for index in rng.integers(0, len(cache), count):
        views = cache.views(int(index), int(rng.integers(len(cache.kinds))))
        grid = np.concatenate([np.concatenate(list(row), 1) for row in (views[:2], views[2:])], 0)  # [2 px, 2 px, 4]
        room = grid.shape[0] - crop_px
        y, x = np.clip(rng.integers(-room // 4, room + room // 4 + 1, 2), 0, room)
        crop = to_pixels(grid[y : y + crop_px, x : x + crop_px], channels)
        crops.append(crop.flip(-1) if rng.random() < 0.5 else crop)
    return torch.stack(crops)


def draw_patches(cache: GridCache, crops: int, crop_px: int, patch: int, seed: int = 0) -> Tensor:
    """Patches float32 [N, 4, patch, patch] of random crops, in -1..1."""
    images = draw_crops(cache, crops, crop_px, 4, np.random.default_rng(seed))
    cells = images.unfold(2, patch, patch).unfold(3, patch, patch)  # [B, 4, h, w, patch, patch]
    return cells.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def sobel(image: Tensor) -> Tensor:
    """Horizontal and vertical gradients of each channel, [B, 2 C, H - 2, W - 2], in units of the image per pixel."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=image.device, dtype=image.dtype) / 8
    both = torch.stack([kernel, kernel.T])[:, None].repeat(image.shape[1], 1, 1, 1)
    return F.conv2d(image, both, groups=image.shape[1])


def reconstruction_loss(decoded: Tensor, target: Tensor, config: AutoencoderConfig) -> tuple[Tensor, dict[str, float]]:
    """The loss between images [B, C, H, W] in -1..1, and its terms in units of 0..1."""
    colour = (decoded[:, :3] - target[:, :3]) / 2
    terms = {"colour": colour.abs().mean(), "mse": colour.square().mean()}
    terms["gradient"] = (sobel(decoded) - sobel(target)).abs().mean() / 2
    loss = terms["colour"] + config.mse * terms["mse"] + config.gradient * terms["gradient"]
    if target.shape[1] == 4:
        terms["alpha"] = (decoded[:, 3] - target[:, 3]).abs().mean() / 2
        loss = loss + config.alpha * terms["alpha"]
    return loss, {name: float(term.detach()) for name, term in terms.items()}


def moment_loss(latents: Tensor) -> Tensor:
    """How far the channels of latents [B, C, h, w] are from mean 0 and variance 1; 0 if they are there."""
    variance, mean = torch.var_mean(latents, (0, 2, 3))
    return (mean.square() + (variance + 1e-6).log().square()).mean()


class AutoencoderTrainer:
    """Holds the autoencoder, its moving average and optimiser.

    Args:
        vae: The model; its number of image channels decides what it is given.
        config: Settings.
        cache: Training grids.
        validation: Unseen grids, or None.
        out: Where the weights (`OUT/vae`) and sheets go.
        device: Where to train.
    """

    is_main = True

    def __init__(
        self,
        vae: PatchAutoencoder | AutoencoderTiny,
        config: AutoencoderConfig,
        cache: GridCache,
        validation: GridCache | None,
        out: Path,
        device: torch.device,
    ) -> None:
        self.config, self.cache, self.validation, self.out, self.device = config, cache, validation, out, device
        self.vae = vae.to(device, memory_format=torch.channels_last)
        self.channels = int(vae.config["in_channels"])
        self.clock = Clock(config)
        self.average = Average(self.vae.parameters(), config.ema_decay)
        self.optimiser = torch.optim.AdamW(self.vae.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        if config.compile:
            self.vae.encoder.compile()
            self.vae.decoder.compile()

    def train_step(self) -> dict[str, float]:
        config, rng = self.config, self.clock.rng()
        for group in self.optimiser.param_groups:
            group["lr"] = self.clock.rate
        image = draw_crops(self.cache, config.batch, config.crop_px, self.channels, rng)
        image = image.to(self.device, memory_format=torch.channels_last)
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        self.vae.train()
        with autocast_dtype(self.device, config.bf16):
            latents = self.vae.encode(image).latents
            shaken = latents + config.latent_noise * torch.randn(latents.shape, generator=noise).to(latents)
            decoded = self.vae.decode(shaken).sample
        loss, terms = reconstruction_loss(decoded.float(), image, config)
        moments = moment_loss(latents.float())
        loss = loss + config.moments * moments
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.vae.parameters(), config.clip_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.average.update(self.clock.step)
        return {"loss": loss.item(), **terms, "moments": moments.item(), "norm": float(norm)}

    def agree(self, seconds: float) -> float:
        return seconds

    @torch.no_grad()
    def look(self, curves: CurveLog) -> None:
        """Sheet of truth above reconstruction (alpha below), PSNR on unseen grids, and the averaged weights in `OUT/vae`."""
        cache = self.validation or self.cache
        crops = draw_crops(cache, 2 * SHEET_CROPS, self.config.crop_px, self.channels, np.random.default_rng(0)).to(self.device)
        self.vae.eval()
        with self.average.in_use():
            latents = self.vae.encode(crops).latents
            decoded = self.vae.decode(latents).sample.clamp(-1, 1)
            self.vae.register_to_config(scaling_factor=1 / max(1e-3, float(latents.std())))
            self.vae.save_pretrained(self.out / "vae")
        score = -10 * math.log10(max(1e-7, float((decoded - crops).square().mean()) / 4))
        log.info("step %d: %.2f dB, latents' deviation %.3f", self.clock.step, score, float(latents.std()))
        rows = []
        for image in (crops, decoded):
            columns = torch.cat(list(image[:SHEET_CROPS].cpu()), -1) / 2 + 0.5  # [C, crop, n crop]
            rows += [columns[:3], columns[3:].expand(3, -1, -1)] if self.channels == 4 else [columns]
        order = (0, 2, 1, 3) if self.channels == 4 else (0, 1)
        sheet = torch.cat([rows[i] for i in order], 1).permute(1, 2, 0).numpy()
        curves.add_validation(self.clock.step, self.clock.seconds, score, sheet)

    def state(self) -> dict[str, Any]:
        return {"model": trainable_state(self.vae), "average": self.average.values, "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        load_trainable(self.vae, state["model"])
        self.average.load(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
