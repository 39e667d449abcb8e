"""Readable torch twin of `raster.cu`: any device, any floating dtype; in float64 it gives the kernels' own bits.

Points are (x w, y w, w): x and y are a place in the image in pixels (x right, y down, the centre of the first pixel at 0.5), w
its depth. `raster.cu` says what is computed and why no pixel between two triangles is left out or taken by both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

LIMIT = 1e15
"""Corners beyond it, or not finite, make their triangle cover nothing."""
_MARGIN = 1e-3  # bounding boxes are wider by this, pixels, against rounding
_PAIRS_AT_ONCE = 1 << 19
_SPLITTER = {torch.float64: 2.0**27 + 1, torch.float32: 2.0**12 + 1}


class Raster(NamedTuple):
    """The nearest surface at each pixel of an image.

    Attributes:
        face_index: int64 [H, W], -1 where there is nothing.
        barycentrics: float32 [H, W, 3], weights of the triangle's corners; zero where there is nothing.
        depth: float32 [H, W], the w interpolated there; inf where there is nothing.
    """

    face_index: Tensor
    barycentrics: Tensor
    depth: Tensor


def rasterize(points: Tensor, faces: Tensor, height: int, width: int) -> Raster:
    """The nearest triangle in front of the eye at each pixel's centre; of several at one depth, that of lowest index.

    Args:
        points: float [V, 3], (x w, y w, w) as the module says.
        faces: int64 [F, 3], either winding.
        height, width: Size of the image, pixels.

    Returns:
        A Raster. Triangles without area as seen from the eye, or with a corner that is not finite, cover nothing.

    Olano and Greer 1997, Triangle Scan Conversion using 2D Homogeneous Coordinates, https://doi.org/10.1145/258694.258723
    """
    corners = points[faces]  # [F, 3, 3]
    found = [_covered(corners, *pairs) for pairs in _candidates(corners, height, width)]
    none = (faces.new_zeros(0), faces.new_zeros(0), faces.new_zeros(0), torch.zeros(0, device=points.device))
    face, row, column, depth = (torch.cat(parts) for parts in zip(none, *found, strict=True))
    pixel = row * width + column
    nearest = torch.full((height * width,), torch.inf, device=points.device).scatter_reduce(0, pixel, depth, "amin")
    first = torch.where(depth == nearest[pixel], face, len(faces))
    face_index = torch.full_like(nearest, len(faces), dtype=torch.int64).scatter_reduce(0, pixel, first, "amin")
    hit = (face_index < len(faces)).nonzero()[:, 0]
    face_index = torch.where(face_index < len(faces), face_index, -1)
    values, _ = _edge_values(corners[face_index[hit]], hit // width, hit % width)
    barycentrics = torch.zeros(height * width, 3, device=points.device)
    barycentrics[hit] = (values / _total(values)[:, None]).float()
    return Raster(face_index.reshape(height, width), barycentrics.reshape(height, width, 3), nearest.reshape(height, width))


def _candidates(corners: Tensor, height: int, width: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pairs of a triangle and a pixel it may cover, some at a time: triangle, row, column, int64 [P] each."""
    x, y, w = corners.unbind(-1)  # [F, 3]
    valid = (corners.abs() <= LIMIT).flatten(1).all(1)
    in_front = (w > 0).all(1)
    crosses = (w > 0).any(1) & ~in_front  # the plane of the eye: its image may reach anywhere
    columns, rows = _centres_within(x / w, width), _centres_within(y / w, height)
    first_column, last_column = (torch.where(crosses, end, limit) for limit, end in zip(columns, (0, width), strict=True))
    first_row, last_row = (torch.where(crosses, end, limit) for limit, end in zip(rows, (0, height), strict=True))
    wide, high = (last_column - first_column).clamp(min=0), (last_row - first_row).clamp(min=0)
    ends = (wide * high * (valid & (in_front | crosses))).cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, _PAIRS_AT_ONCE):
        pair = torch.arange(start, min(start + _PAIRS_AT_ONCE, total), device=corners.device)
        face = torch.searchsorted(ends, pair, right=True)
        within = pair - torch.where(face > 0, ends[face - 1], 0)
        yield face, first_row[face] + within // wide[face], first_column[face] + within % wide[face]


def _centres_within(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First and last (excluded) of `size` pixels whose centres lie between the least and the greatest of `places` [F, 3]."""
    first = (places.amin(1) - 0.5 - _MARGIN).ceil()
    last = (places.amax(1) - 0.5 + _MARGIN).floor() + 1
    start, end = (place.nan_to_num(0, size, 0).clamp(0, size).long() for place in (first, last))
    return start, end


def _covered(corners: Tensor, face: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The covered pairs that lie in front of the eye, with their depth float32."""
    values, inside = _edge_values(corners[face], row, column)
    face, row, column, values = face[inside], row[inside], column[inside], values[inside]
    w = corners[face][..., 2]
    weighted = (values[:, 0] * w[:, 0] + values[:, 1] * w[:, 1]) + values[:, 2] * w[:, 2]
    depth = (weighted / _total(values)).float()
    seen = (depth > 0) & (depth < 3e38)
    return face[seen], row[seen], column[seen], depth[seen]


def _edge_values(corners: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Edge values [P, 3] of triangles [P, 3, 3] at pixels' centres, of one sign (or 0) where covered; and whether they are."""
    x, y, w = corners.unbind(-1)  # [P, 3]
    dx = x - (column.to(x.dtype) + 0.5)[:, None] * w
    dy = y - (row.to(x.dtype) + 0.5)[:, None] * w
    values, signs = [], []
    for i, j in ((1, 2), (2, 0), (0, 1)):
        value = _cross(dx[:, i], dy[:, i], dx[:, j], dy[:, j])
        by_x = _cross(y[:, i], w[:, i], y[:, j], w[:, j]).sign()  # whether the edge value grows to the right
        by_y = -_cross(x[:, i], w[:, i], x[:, j], w[:, j]).sign()  # and downwards
        values.append(value)
        signs.append(torch.where(value == 0, torch.where(by_x == 0, by_y, by_x), value.sign()))
    return torch.stack(values, 1), torch.stack(signs, 1).sum(1).abs() == 3


def _total(values: Tensor) -> Tensor:
    return (values[:, 0] + values[:, 1]) + values[:, 2]


def _cross(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """a d - b c with an exact sign."""
    ad, ad_rest = _exact_product(a, d)
    bc, bc_rest = _exact_product(b, c)
    return ((ad - bc) + ad_rest) - bc_rest


def _exact_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded product and what rounding left over (Dekker 1971, A floating-point technique for extending the precision)."""
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    rounded = a * b
    return rounded, a_low * b_low - (((rounded - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _split(value: Tensor) -> tuple[Tensor, Tensor]:
    scaled = value * _SPLITTER[value.dtype]
    high = scaled - (scaled - value)
    return high, value - high
