"""Deformable convolution: a convolution that learns where each of its taps looks, and how much it counts.

Zhu et al. 2019, Deformable ConvNets v2, https://arxiv.org/abs/1811.11168
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def deformable_conv2d(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Convolve with displaced taps; stride 1, no bias, zeros outside the picture, output of the input's size.

    One row of the kernel is gathered at a time: all taps of a 7 x 7 kernel at once would take 0.8 GB at 256 x 256 pixels.

    Args:
        x: float [B, C, H, W].
        offset: Displacement of each tap in pixels, float [B, 2 K K, H, W]: y and x of the first tap, then of the next, by rows.
        weight: float [D, C, K, K], K odd.
        mask: Factor of each tap, float [B, K K, H, W].

    Returns:
        float [B, D, H, W].
    """
    batch, channels, height, width = x.shape
    size = weight.shape[-1]
    moved = offset.view(batch, size, size, 2, height, width)
    factor = mask.view(batch, size, 1, size * height, width)
    steps = torch.arange(size, device=x.device, dtype=x.dtype) - size // 2  # of the taps, from the middle one
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(width, device=x.device, dtype=x.dtype) + steps[:, None, None]  # [K, 1, W]
    out = x.new_zeros(batch, len(weight), height * width)
    for row in range(size):
        # positions in pixels, [B, K, H, W], then in the -1..1 of `grid_sample`, whose ends are the outer edges of the picture
        y = moved[:, row, :, 0] + rows + steps[row]
        at_x = moved[:, row, :, 1] + columns
        grid = torch.stack([(2 * at_x + 1) / width - 1, (2 * y + 1) / height - 1], -1).view(batch, size * height, width, 2)
        seen = F.grid_sample(x, grid, align_corners=False) * factor[:, row]  # [B, C, K H, W]
        out += weight[:, :, row].flatten(1) @ seen.view(batch, channels * size, height * width)
    return out.view(batch, len(weight), height, width)


class DeformableConv2d(nn.Module):
    """A deformable convolution whose displacements and factors are convolutions of the same input."""

    def __init__(self, channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(channels, 2 * size * size, size, padding=size // 2)
        self.modulator_conv = nn.Conv2d(channels, size * size, size, padding=size // 2)
        self.regular_conv = nn.Conv2d(channels, out_channels, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, H, W] -> [B, D, H, W]."""
        factor = 2 * self.modulator_conv(x).sigmoid()
        return deformable_conv2d(x, self.offset_conv(x), self.regular_conv.weight, factor)
