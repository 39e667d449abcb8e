"""Readable torch twins of the sampling kernels; the path of the CPU and of MPS.

All bilinear sampling here has `align_corners=False` and reads zeros outside, as `torch.nn.functional.grid_sample` does; where a
coordinate is not a number, an image reads zeros too. Features are channels-last, so that one texel is one contiguous row;
gradients flow to the features only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .rows import weighted_rows, weighted_rows_gradient

PLANE_AXES: tuple[tuple[int, int], ...] = ((0, 1), (0, 2), (1, 2))
"""World axes of the planes xy, xz, yz: the first runs along the columns, the second along the rows (row 0 is -1)."""


def bilinear_taps(xy: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The four texels around each point and their weights.

    Args:
        xy: float [N, 2], x along the columns and y along the rows, -1..1 over the image.
        height, width: Size of the image, texels.

    Returns:
        index: int64 [N, 4], row * width + column, clamped into the image.
        weight: float [N, 4], zero for taps outside, all of them where x or y is infinite or not a number.
    """
    if height * width > 2**24:  # the index is a float until the last line
        xy = xy.double()
    xy = xy.nan_to_num(nan=-3).clamp(-3, 3)  # well outside
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
        features: float [M, H, W, C], finite.
        image_index: int64 [N], 0..M-1.
        xy: float [N, 2], see `bilinear_taps`; takes no gradient.

    Returns:
        float [N, C].
    """
    images, height, width, channels = features.shape
    index, weight = bilinear_taps(xy.detach(), height, width)
    index = index + image_index[:, None] * (height * width)
    table = features.reshape(images * height * width, channels)
    return weighted_rows(table, index, weight.to(table.dtype))


def triplane_taps(shape: Sequence[int], batch_index: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The texels that each point reads of planes of `shape` [B, 3, H, W, C], and their weights: int64, float [N, 3, 4].

    The index counts texels of the whole stack, B * 3 * H * W.
    """
    _, _, height, width, _ = shape
    taps = [bilinear_taps(points[:, list(axes)].detach(), height, width) for axes in PLANE_AXES]
    offset = batch_index[:, None] * 3
    index = torch.stack([taps[k][0] + (offset + k) * (height * width) for k in range(3)], 1)
    return index, torch.stack([weight for _, weight in taps], 1)


def sample_triplanes(planes: Tensor, batch_index: Tensor, points: Tensor, concat: bool = False) -> Tensor:
    """Features of world points from three axis-aligned planes, summed over the planes or side by side.

    Args:
        planes: float [B, 3, H, W, C], channels-last, order xy, xz, yz (`PLANE_AXES`), spanning [-1, 1], finite.
        batch_index: int64 [N], 0..B-1.
        points: float [N, 3], world. A plane reads zeros outside [-1, 1] and where a coordinate is not a number. No gradient.
        concat: Whether the planes' samples are concatenated instead of summed.

    Returns:
        float [N, C], the sum of the three planes' samples; [N, 3 * C] with `concat`.

    Raises:
        ValueError: The shape of planes or points is wrong.

    Chan et al. 2022, Efficient Geometry-aware 3D Generative Adversarial Networks, https://arxiv.org/abs/2112.07945
    """
    if planes.ndim != 5 or planes.shape[1] != 3:
        raise ValueError(f"planes: expected [B, 3, H, W, C], got {list(planes.shape)}")
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: expected [N, 3], got {list(points.shape)}")
    index, weight = triplane_taps(planes.shape, batch_index, points)
    bags = (len(points) * 3, 4) if concat else (len(points), 12)
    table = planes.reshape(-1, planes.shape[-1])
    weight = weight.to(planes.dtype).reshape(bags)
    samples = weighted_rows(table, index.reshape(bags), weight)
    return samples.reshape(len(points), planes.shape[-1] * (3 if concat else 1))


def triplane_gradient(
    gradient: Tensor, batch_index: Tensor, points: Tensor, shape: Sequence[int], concat: bool = False
) -> Tensor:
    """The gradient of `sample_triplanes` for its planes, of `shape` [B, 3, H, W, C], from that of its samples.

    Sums are float32 (or float64), the result has the gradient's type.
    """
    index, weight = triplane_taps(shape, batch_index, points)
    bags, channels = (len(points) * 3, 4) if concat else (len(points), 12), shape[-1]
    samples = gradient.reshape(bags[0], channels)
    table = weighted_rows_gradient(samples, index.reshape(bags), weight.reshape(bags), math.prod(shape[:-1]))
    return table.reshape(list(shape)).to(gradient.dtype)
