"""The starter's autoencoder: patches of colour on white and alpha to few channels, and back.

It contains the best linear map (principal components of 8 x 8 px patches), from which training starts. Convolutions add the
rest, most of them at a quarter and an eighth of the resolution, where two processor cores are fast.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside the identity; at first the identity alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        return x + self.conv_out(F.silu(self.conv_in(F.silu(x))))


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Images to latents an eighth as large in each direction, and back.

    Args:
        in_channels: Channels of the image: 4 for colour on white and alpha.
        latent_channels: Channels of the latents.
        fine, coarse: Channels at a quarter and at an eighth of the resolution; the last step, at half of it, has `fine * 3 // 8`.
        encoder_blocks, decoder_blocks: Residual blocks at a quarter and at an eighth of the resolution.
        scaling_factor, shift_factor, force_upcast: As in diffusers' autoencoders.

    Pixel shuffling: Shi et al. 2016, https://arxiv.org/abs/1609.05158
    """

    patch = 8
    background: Tensor

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        latent_channels: int = 8,
        fine: int = 64,
        coarse: int = 144,
        encoder_blocks: tuple[int, int] = (2, 2),
        decoder_blocks: tuple[int, int] = (3, 3),
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
        force_upcast: bool = False,
    ) -> None:
        super().__init__()
        half = fine * 3 // 8
        self.to_latents = nn.Conv2d(in_channels, latent_channels, self.patch, stride=self.patch)
        self.from_latents = nn.ConvTranspose2d(latent_channels, in_channels, self.patch, stride=self.patch)
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(16 * in_channels, fine, 3, padding=1),
            *(ResidualBlock(fine) for _ in range(encoder_blocks[0])),
            nn.SiLU(),
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1),
            *(ResidualBlock(coarse) for _ in range(encoder_blocks[1])),
            nn.SiLU(),
            nn.Conv2d(coarse, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            *(ResidualBlock(coarse) for _ in range(decoder_blocks[1])),
            nn.SiLU(),
            nn.Conv2d(coarse, 4 * fine, 3, padding=1),
            nn.PixelShuffle(2),
            *(ResidualBlock(fine) for _ in range(decoder_blocks[0])),
            nn.SiLU(),
            nn.Conv2d(fine, 4 * half, 3, padding=1),
            nn.PixelShuffle(2),
            ResidualBlock(half),
            nn.SiLU(),
            nn.Conv2d(half, 4 * in_channels, 3, padding=1),
            nn.PixelShuffle(2),
        )
        last = self.encoder[-1]
        assert isinstance(last, nn.Conv2d)
        for parameter in (*last.parameters(), *self.decoder[-2].parameters()):
            nn.init.zeros_(parameter)
        # Under Adam all 256 inputs of a patch would move together, far more than one of the convolutions' few: it stays.
        self.to_latents.requires_grad_(False)
        self.from_latents.requires_grad_(False)
        background = torch.ones(in_channels, 1, 1)
        background[3:] = -1.0
        self.register_buffer("background", background, persistent=False)

    @torch.no_grad()
    def begin_linear(self, patches: Tensor) -> None:
        """Set the linear part to the principal components of patches, so that latents have mean 0 and variance 1.

        Args:
            patches: float [N, C, 8, 8] of training images, in -1..1.
        """
        flat = patches.flatten(1).double()
        mean = flat.mean(0)
        _, singular, directions = torch.linalg.svd(flat - mean, full_matrices=False)
        count = self.to_latents.out_channels
        deviation = (singular[:count] / len(flat) ** 0.5).clamp(min=1e-4)[:, None]
        into, out = directions[:count] / deviation, directions[:count] * deviation
        self.to_latents.weight.copy_(into.view_as(self.to_latents.weight))
        self.from_latents.weight.copy_(out.view_as(self.from_latents.weight))
        assert self.to_latents.bias is not None and self.from_latents.bias is not None
        self.to_latents.bias.copy_(-into @ mean)
        # A bias of the way back is one value a channel; what differs within a patch is small.
        self.from_latents.bias.copy_(mean.view(patches.shape[1], -1).mean(1))

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """Images [B, C, H, W] in -1..1, H and W multiples of 8, to latents [B, latent_channels, H / 8, W / 8]."""
        latents = self.to_latents(x) + self.encoder(x - self.background)
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(self, latents: Tensor, return_dict: bool = True) -> Any:
        """Latents to images, about -1..1."""
        image = self.from_latents(latents) + self.decoder(latents)
        return DecoderOutput(sample=image) if return_dict else (image,)

    def forward(self, sample: Tensor) -> Tensor:
        """Encode and decode."""
        return self.decode(self.encode(sample).latents).sample
