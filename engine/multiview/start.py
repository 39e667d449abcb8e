"""The start image: four Gaussian blobs on white, one in each cell.

Encoded and noised to the first timestep, it keeps four separate objects on a clean background; the blobs' width sets the
objects' size (Li et al. 2023, Instant3D, https://arxiv.org/abs/2311.06214, section 3.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .grid import views_to_grid

BLOB_GREY = 0.5
"""sRGB value at the centre of a blob."""


def blob_grid(px: int, width: float, channels: int = 3) -> Tensor:
    """Four evenly spread Gaussian blobs, grey on white.

    Args:
        px: Side of the grid, pixels; even.
        width: Object size: full width at half maximum of a blob, as a share of the cell's side, in (0, 1].
        channels: 3 for colour on white, 4 with the blob itself as alpha in the last channel.

    Returns:
        float32 [channels, px, px] in 0..1.

    Raises:
        ValueError: An argument is out of range.
    """
    if px < 2 or px % 2:
        raise ValueError(f"px: expected an even size, got {px}")
    if not 0 < width <= 1:
        raise ValueError(f"width: expected a share of the cell in (0, 1], got {width:g}")
    if channels not in (3, 4):
        raise ValueError(f"channels: expected 3 or 4, got {channels}")
    cell = px // 2
    sigma = width / math.sqrt(8 * math.log(2))  # of the cell's side
    position = (torch.arange(cell) + 0.5) / cell - 0.5
    profile = torch.exp(-0.5 * (position / sigma) ** 2)
    blob = profile[:, None] * profile[None, :]
    colour = 1 - (1 - BLOB_GREY) * blob
    image = torch.stack([colour, colour, colour, blob][:channels])  # [channels, cell, cell]
    return views_to_grid(image.expand(4, -1, -1, -1))
