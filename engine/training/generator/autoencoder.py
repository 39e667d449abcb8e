"""Training of the starter autoencoder: views of colour on white and alpha to latents of unit variance, and back.

L1, MSE, gradient (Sobel) and alpha terms; a little noise on the latents keeps their space smooth for the denoiser, and a pull
on their moments makes every channel mean 0 and variance 1 (what is left goes into the config's `scaling_factor`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from ...imaging.compare import psnr
from ...multiview.autoencoder import PatchAutoencoder
from ..loop import LoopConfig, Task, Validation, autocast, torch_generator
from .grid_cache import GridCache
from .pixels import to_pixels

SHEET_CROPS = 8


@dataclass(frozen=True)
class AutoencoderConfig(LoopConfig):
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
    """Penalty for channels of latents [B, C, h, w] that depart from mean 0 and variance 1."""
    variance, mean = torch.var_mean(latents, (0, 2, 3))
    return (mean.square() + (variance + 1e-6).log().square()).mean()


class AutoencoderTask(Task[Tensor]):
    """Trains an autoencoder on crops of grids.

    Args:
        vae: The model; its number of image channels decides what it is given.
        config: Settings.
        cache: Training grids.
        validation: Unseen grids; if None, the training grids are measured.
        device: Device to train on.
    """

    losses = ("colour", "gradient", "alpha", "moments")

    def __init__(
        self,
        vae: PatchAutoencoder | AutoencoderTiny,
        config: AutoencoderConfig,
        cache: GridCache,
        validation: GridCache | None,
        device: torch.device,
    ) -> None:
        self.config: AutoencoderConfig = config
        self.cache, self.validation, self.device = cache, validation, device
        self.network: PatchAutoencoder | AutoencoderTiny = vae.to(device, memory_format=torch.channels_last)
        self.channels = int(vae.config["in_channels"])
        if config.compile:
            vae.encoder.compile()
            vae.decoder.compile()

    def draw(self, rng: np.random.Generator, progress: float) -> Tensor:
        return draw_crops(self.cache, self.config.batch, self.config.crop_px, self.channels, rng)

    def loss(self, network: nn.Module, batch: Tensor, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        config, vae = self.config, self.network
        image = batch.to(self.device, memory_format=torch.channels_last)
        with autocast(self.device, config.bf16):
            latents = vae.encode(image).latents
            noise = torch.randn(latents.shape, generator=torch_generator(rng)).to(latents)
            decoded = vae.decode(latents + config.latent_noise * noise).sample
        loss, terms = reconstruction_loss(decoded.float(), image, config)
        moments = moment_loss(latents.float())
        return loss + config.moments * moments, {**terms, "moments": moments.item()}

    def validate(self) -> Validation:
        """PSNR on unseen grids, a sheet of truth above reconstruction (alpha below), and the deviation of the latents."""
        cache = self.validation or self.cache
        crops = draw_crops(cache, 2 * SHEET_CROPS, self.config.crop_px, self.channels, np.random.default_rng(0)).to(self.device)
        latents = self.network.encode(crops).latents
        decoded = self.network.decode(latents).sample.clamp(-1, 1)
        score = psnr(*((image / 2 + 0.5).float().cpu().numpy() for image in (decoded, crops)))
        rows = []
        for image in (crops, decoded):
            columns = torch.cat(list(image[:SHEET_CROPS].cpu()), -1) / 2 + 0.5  # [C, crop, n crop]
            rows += [columns[:3], columns[3:].expand(3, -1, -1)] if self.channels == 4 else [columns]
        order = (0, 2, 1, 3) if self.channels == 4 else (0, 1)
        sheet = torch.cat([rows[i] for i in order], 1).permute(1, 2, 0).numpy()
        return Validation(score, sheet, {"latent_deviation": float(latents.std())})

    def save_weights(self, out: Path, found: Validation | None) -> None:
        """Write the autoencoder to `OUT/vae`, with the scaling factor that gives its latents unit variance."""
        assert found is not None
        self.network.register_to_config(scaling_factor=1 / max(1e-3, found.more["latent_deviation"]))
        self.network.save_pretrained(out / "vae")
