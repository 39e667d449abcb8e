"""Readable torch twins of the sampling kernels; the path of the CPU and of MPS.

All bilinear sampling here has `align_corners=False` and reads zeros outside, as `torch.nn.functional.grid_sample` does.
Features are channels-last, so that one texel is one contiguous row; gradients flow to the features only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PLANE_AXES: tuple[tuple[int, int], ...] = ((0, 1), (0, 2), (1, 2))
"""World axes of the planes xy, xz, yz: the first runs along the columns, the second along the rows (row 0 is -1)."""


def bilinear_taps(xy: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The four texels around each point and their weights.

    Args:
        xy: float [N, 2], x along the columns and y along the rows, -1..1 over the image.
        height, width: Size of the image, texels.

    Returns:
        index: int64 [N, 4], row * width + column, clamped into the image.
        weight: float [N, 4], zero for taps outside.
    """
    x = (xy[:, 0] + 1) * (width / 2) - 0.5
    y = (xy[:, 1] + 1) * (height / 2) - 0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    columns = torch.stack([x0, x0 + 1, x0, x0 + 1], 1)
    rows = torch.stack([y0, y0, y0 + 1, y0 + 1], 1)
    weight = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], 1)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    index = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).long()
    return index, weight * inside


def sample_images(features: Tensor, image_index: Tensor, xy: Tensor) -> Tensor:
    """Bilinear samples of a stack of feature images, each point from its own image.

    Args:
        features: float [M, H, W, C].
        image_index: int64 [N], 0..M-1.
        xy: float [N, 2], see `bilinear_taps`; takes no gradient.

    Returns:
        float [N, C].
    """
    images, height, width, channels = features.shape
    index, weight = bilinear_taps(xy.detach(), height, width)
    index = index + image_index[:, None] * (height * width)
    table = features.reshape(images * height * width, channels)
    return F.embedding_bag(index, table, per_sample_weights=weight.to(table.dtype), mode="sum")


def sample_triplanes(planes: Tensor, batch_index: Tensor, points: Tensor) -> Tensor:
    """Features of world points from three axis-aligned planes, summed over the planes.

    Args:
        planes: float [B, 3, R, R, C], channels-last, order xy, xz, yz (`PLANE_AXES`), spanning [-1, 1].
        batch_index: int64 [N], 0..B-1.
        points: float [N, 3], world; outside [-1, 1] a plane reads zeros. Takes no gradient.

    Returns:
        float [N, C], the sum of the three planes' samples.

    Chan et al. 2022, Efficient Geometry-aware 3D Generative Adversarial Networks, https://arxiv.org/abs/2112.07945
    """
    batch, three, height, width, channels = planes.shape
    if three != 3 or points.shape[-1] != 3:
        raise ValueError(f"expected planes [B, 3, R, R, C] and points [N, 3], got {tuple(planes.shape)}, {tuple(points.shape)}")
    taps = [bilinear_taps(points[:, list(axes)].detach(), height, width) for axes in PLANE_AXES]
    offset = batch_index[:, None] * 3
    index = torch.cat([taps[k][0] + (offset + k) * (height * width) for k in range(3)], 1)  # [N, 12]
    weight = torch.cat([weight for _, weight in taps], 1).to(planes.dtype)
    table = planes.reshape(batch * 3 * height * width, channels)
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
