"""Triplanes on a regular lattice, separably: exact, without a gather forward or an atomic backward; on CPU, CUDA and MPS.

A lattice of (G + 1)^3 points meets each plane in only (G + 1)^2 places, and those places lie on lines, so that bilinear sampling
is a product with one small matrix a side: U P U^T (`resample_planes`), whose gradient is the product with its transpose. The
features of a point are the sum of one entry of each of the three tables, by broadcasting (`add_tables`), whose gradients are sums
over the axis that a table does not have. `sample_lattice` is both: `reference.sample_triplanes` on all those points.

Where a linear layer follows, multiply the planes by it first (`first_layer_planes`): layer and sampling commute, both being
linear, and there are fewer texels than points.

When to use what. All points of a lattice, or their gradient: `sample_lattice`. Few of its points: look them up in the tables.
Only the tables, on a CPU, without a gradient: `reference.sample_images` is faster, a place needing two texels a side, not a row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import bilinear_taps


def axis_weights(resolution: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """How much each texel of a line counts at each place of the lattice: U, at most two entries of a row are not zero.

    Args:
        resolution: Lattice steps from -1 to 1, G; place k lies at -1 + 2 * k / G.
        size: Texels on the line from -1 to 1; what a place reads beyond them is zero.
        dtype: Of the result; the weights are computed in float64.
        device: Of the result.

    Returns:
        float [G + 1, size].

    Raises:
        ValueError: There is no step or no texel.
    """
    if resolution < 1 or size < 1:
        raise ValueError(f"expected a resolution and a size of at least 1, got {resolution} and {size}")
    # On the CPU: not every device has float64. As the middle of an image of one row, whose second row of taps lies outside.
    places = torch.arange(resolution + 1, dtype=torch.float64, device="cpu") * (2 / resolution) - 1
    index, weight = bilinear_taps(torch.stack([places, torch.zeros_like(places)], 1), 1, size)
    weights = torch.zeros_like(places)[:, None].repeat(1, size).scatter_add_(1, index, weight)
    return weights.to(dtype).to(device)


def resample_planes(planes: Tensor, resolution: int) -> Tensor:
    """The planes at the places of a lattice: tables, which `add_tables` adds.

    Products are float32 (or float64) under autocast and for narrower planes, too; the result has the planes' type.

    Args:
        planes: float [..., H, W, C], channels-last, spanning [-1, 1]; zero outside.
        resolution: Lattice steps from -1 to 1, G.

    Returns:
        float [..., G + 1, G + 1, C], differentiable in `planes`; rows and columns as those of the planes.
    """
    *stack, height, width, channels = planes.shape
    wide = planes if planes.dtype == torch.float64 else planes.float()
    rows, columns = (axis_weights(resolution, size, wide.dtype, planes.device) for size in (height, width))
    with torch.autocast(planes.device.type, enabled=False):
        table = rows @ wide.reshape(*stack, height, width * channels)  # [..., G + 1, W * C]
        table = columns @ table.reshape(*stack, resolution + 1, width, channels)
    return table.to(planes.dtype)  # [..., G + 1, G + 1, C]


def add_tables(tables: Tensor, x: slice | None = None) -> Tensor:
    """The sum of the three planes at every point of a lattice, h[x, y, z] = xy[x, y] + xz[x, z] + yz[y, z].

    Args:
        tables: float [B, 3, G + 1, G + 1, C] of the planes xy, xz, yz, as from `resample_planes`: the first axis of a plane runs
            along its columns.
        x: Which of the G + 1 places on the x axis, None for all: a whole lattice may be more than memory holds.

    Returns:
        float [B, X, G + 1, G + 1, C], indexed by x, y, z; differentiable in `tables` by sums alone.

    Raises:
        ValueError: `tables` has another shape.
    """
    if tables.ndim != 5 or tables.shape[1] != 3 or tables.shape[2] != tables.shape[3]:
        raise ValueError(f"tables: expected [B, 3, G + 1, G + 1, C], got {list(tables.shape)}")
    xy, xz, yz = tables.transpose(2, 3).unbind(1)  # each [B, first axis, second axis, C]
    chosen = slice(None) if x is None else x
    return xy[:, chosen, :, None] + xz[:, chosen, None] + yz[:, None]


def sample_lattice(planes: Tensor, resolution: int, x: slice | None = None) -> Tensor:
    """`reference.sample_triplanes` at every point -1 + 2 * (x, y, z) / resolution of a lattice.

    For several slabs of one lattice call `resample_planes` once and `add_tables` for each.

    Args:
        planes: float [B, 3, H, W, C], channels-last, order xy, xz, yz, spanning [-1, 1].
        resolution: Lattice steps from -1 to 1, G.
        x: Which of the G + 1 places on the x axis, None for all.

    Returns:
        float [B, X, G + 1, G + 1, C], the sum of the three planes, indexed by x, y, z; differentiable in `planes`.

    Raises:
        ValueError: A shape is wrong.

    Chan et al. 2022, Efficient Geometry-aware 3D Generative Adversarial Networks, https://arxiv.org/abs/2112.07945
    """
    if planes.ndim != 5 or planes.shape[1] != 3:
        raise ValueError(f"planes: expected [B, 3, H, W, C], got {list(planes.shape)}")
    return add_tables(resample_planes(planes, resolution), x)


def first_layer_planes(planes: Tensor, weight: Tensor) -> Tensor:
    """Planes of the first linear layer's outputs: sampling them and summing gives what the layer makes of the samples.

    Exact outside of [-1, 1], too, where both are zero. The layer's bias is no part of it: add it once, after the sum.

    Args:
        planes: float [B, 3, H, W, C].
        weight: The layer's: float [D, C] if it is fed the sum of the three samples, [D, 3 * C] if it is fed the three side by
            side (order xy, xz, yz), of which each plane then takes its own third.

    Returns:
        float [B, 3, H, W, D], differentiable in both. Worth it where D <= C for a sum, or D <= 3 * C for samples side by side.

    Raises:
        ValueError: A shape is wrong.
    """
    if planes.ndim != 5 or planes.shape[1] != 3:
        raise ValueError(f"planes: expected [B, 3, H, W, C], got {list(planes.shape)}")
    channels = planes.shape[-1]
    if weight.ndim != 2 or weight.shape[1] not in (channels, 3 * channels):
        raise ValueError(f"weight: expected [D, {channels}] or [D, {3 * channels}], got {list(weight.shape)}")
    if weight.shape[1] == channels:
        return planes @ weight.T
    thirds = weight.T.reshape(3, 1, channels, -1)  # [3, 1, C, D]
    return planes @ thirds
