"""The starter's cut-out network: a small U-Net from a photo squeezed to a square to the subject's coverage.

Ronneberger et al. 2015, U-Net, https://arxiv.org/abs/1505.04597
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class _Block(nn.Module):
    """Two convolutions beside a straight path; normalised only where the picture is small, where that is cheap."""

    def __init__(self, channels: int, normalised: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels) if normalised else nn.Identity()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.second.parameters():  # every block starts as the identity
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


def border_contrast(pixels: Tensor) -> Tensor:
    """Distance of each pixel's colour from the nearest border colour, float [B, 2, S, S] for [B, 3, S, S] in -1..1.

    First from single places of the border, then from means of wider stretches of it. What is not seen there is seldom background
    (the boundary prior of Wei et al. 2012, Geodesic Saliency), and a small network cannot compare such distant places itself.
    """
    maps = []
    for cells in (20, 4):
        grid = F.adaptive_avg_pool2d(pixels, cells)  # [B, 3, cells, cells]
        ring = torch.cat([grid[:, :, 0], grid[:, :, -1], grid[:, :, 1:-1, 0], grid[:, :, 1:-1, -1]], -1)  # [B, 3, N]
        smooth = F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False).flatten(2)  # [B, 3, S S]
        distance = torch.cdist(smooth.transpose(1, 2).float(), ring.transpose(1, 2).float())  # [B, S S, N]
        maps.append(distance.amin(-1).view(len(pixels), 1, *pixels.shape[-2:]))
    return torch.cat(maps, 1).to(pixels.dtype)


class CutoutNetwork(ModelMixin, ConfigMixin):
    """Photo to logits of the subject's coverage. The defaults are the starter's: 0.95 M weights, 0.17 GMAC a look.

    Args:
        input_px: Side of the square it is trained on; a multiple of 2 to the number of levels.
        channels: Channels of each level, from half the input's resolution downward.
        normalised_levels: Number of coarsest levels with group normalisation.
    """

    @register_to_config
    def __init__(
        self, input_px: int = 128, channels: tuple[int, ...] = (16, 32, 64, 96, 112), normalised_levels: int = 3
    ) -> None:
        super().__init__()
        if input_px % 2 ** len(channels):
            raise ValueError(f"input_px: expected a multiple of {2 ** len(channels)}, got {input_px}")
        channels = tuple(channels)
        normalised = [level >= len(channels) - normalised_levels for level in range(len(channels))]
        pairs = list(itertools.pairwise(channels))
        self.stem = nn.Conv2d(7 * 4, channels[0], 3, padding=1)
        self.encode = nn.ModuleList(_Block(c, n) for c, n in zip(channels, normalised, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.decode = nn.ModuleList(_Block(c, n) for c, n in zip(channels[:-1], normalised[:-1], strict=True))
        self.out = nn.Conv2d(channels[0], 4, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """float [B, 3, S, S], sRGB in -1..1 -> logits [B, 1, S, S]."""
        batch, _, height, width = pixels.shape
        y = torch.linspace(-1, 1, height, device=pixels.device, dtype=pixels.dtype)
        x = torch.linspace(-1, 1, width, device=pixels.device, dtype=pixels.dtype)
        where = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])  # [2, S, S]
        located = torch.cat([pixels, where.expand(batch, -1, -1, -1), border_contrast(pixels)], 1)
        hidden = self.stem(F.pixel_unshuffle(located, 2).contiguous(memory_format=torch.channels_last))
        finer: list[Tensor] = []
        for level, block in enumerate(self.encode):
            hidden = block(hidden)
            if level < len(self.down):
                finer.append(hidden)
                hidden = self.down[level](hidden)
        for level in reversed(range(len(self.down))):
            hidden = finer[level] + F.interpolate(self.up[level](hidden), scale_factor=2.0, mode="nearest")
            hidden = self.decode[level](hidden)
        return F.pixel_shuffle(self.out(hidden), 2)
