"""The 2x2 grid of views in one image: front, right / back, left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import VIEW_NAMES


def views_to_grid(views: Tensor) -> Tensor:
    """Lay four views out as one image.

    Args:
        views: [..., 4, C, S, S], any dtype, in the order of `VIEW_NAMES`.

    Returns:
        [..., C, 2S, 2S].

    Raises:
        ValueError: `views` has another shape.
    """
    if views.ndim < 4 or views.shape[-4] != len(VIEW_NAMES) or views.shape[-1] != views.shape[-2]:
        raise ValueError(f"views: expected [..., 4, C, S, S], got {tuple(views.shape)}")
    size = views.shape[-1]
    cells = views.unflatten(-4, (2, 2))  # [..., row, column, C, S, S]
    cells = cells.movedim(-3, -5).movedim(-3, -2)  # [..., C, row, S, column, S]
    return cells.reshape(*cells.shape[:-4], 2 * size, 2 * size)


def grid_to_views(grid: Tensor) -> Tensor:
    """The four views of one image; undoes `views_to_grid`.

    Args:
        grid: [..., C, 2S, 2S], any dtype.

    Returns:
        [..., 4, C, S, S], in the order of `VIEW_NAMES`.

    Raises:
        ValueError: `grid` is not square, or its side is odd.
    """
    if grid.ndim < 3 or grid.shape[-1] != grid.shape[-2] or grid.shape[-1] % 2:
        raise ValueError(f"grid: expected [..., C, 2S, 2S], got {tuple(grid.shape)}")
    size = grid.shape[-1] // 2
    cells = grid.unflatten(-1, (2, size)).unflatten(-3, (2, size))  # [..., C, row, S, column, S]
    cells = cells.movedim(-2, -3).movedim(-5, -3)  # [..., row, column, C, S, S]
    return cells.flatten(-5, -4)


def cell_mask(paint: Sequence[bool], size: int) -> Tensor:
    """Mask of the grid cells to paint.

    Args:
        paint: Four flags in the order of `VIEW_NAMES`; True for a view to paint, False for a known one.
        size: Side of the grid, pixels or latent pixels; even.

    Returns:
        float32 [1, size, size]: 1 = to paint, 0 = known; constant on each cell.

    Raises:
        ValueError: Not four flags, or an odd size.
    """
    if len(paint) != len(VIEW_NAMES) or size % 2:
        raise ValueError(f"expected four flags and an even size, got {len(paint)} and {size}")
    cells = torch.tensor([float(flag) for flag in paint]).view(4, 1, 1, 1)
    return views_to_grid(cells.expand(4, 1, size // 2, size // 2))
