"""Exact scan-line rasteriser of a UV layout, in numpy: finds the face that covers each texel.

A texel belongs to a face when its centre lies inside. Centres on an edge go to exactly one of the two faces (half-open
spans; both faces compute the crossing from the same end point), so an atlas without overlaps covers no texel twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Texels:
    """The covered texels of an atlas, in the order of the faces.

    Attributes:
        row, col: int64 [T], image row (0 on top, v = 1) and column.
        face_index: int64 [T].
        barycentrics: float32 [T, 3], weights of the face's corners at the texel's centre.
        texture_px: Side of the square image.
    """

    row: Int64Array
    col: Int64Array
    face_index: Int64Array
    barycentrics: npt.NDArray[np.float32]
    texture_px: int

    @property
    def flat_index(self) -> Int64Array:
        """row * texture_px + col, int64 [T]."""
        return self.row * self.texture_px + self.col

    def interpolate(self, values: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Corner values [V, C], indexed by `faces` [F, 3], at the texels: float32 [T, C]."""
        values = np.asarray(values, np.float32)
        corners = faces[self.face_index]  # [T, 3]
        mixed = values[corners[:, 0]] * self.barycentrics[:, :1]
        for k in (1, 2):
            mixed += values[corners[:, k]] * self.barycentrics[:, k : k + 1]
        return mixed


def expand(starts: Int64Array, ends: Int64Array) -> tuple[Int64Array, Int64Array]:
    """All integers of the half-open ranges [starts, ends): (owner, value), each int64 [sum of lengths]."""
    counts = np.maximum(ends - starts, 0)
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return owner, np.arange(int(counts.sum())) - first[owner] + starts[owner]


def scan_triangles(corners_px: npt.NDArray[np.float64]) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Pixels whose centres lie inside each triangle.

    Args:
        corners_px: float64 [F, 3, 2], x to the right and y down, in pixels; either winding.

    Returns:
        owner, row, col: int64 [P]; pixels may lie anywhere on the integer lattice, a pixel occurs once per triangle over it.
    """
    order = np.argsort(corners_px[..., 1], axis=1, kind="stable")
    top, middle, bottom = np.moveaxis(np.take_along_axis(corners_px, order[..., None], axis=1), 1, 0)  # [F, 2] each
    owner, row = expand(_first_centre(top[:, 1]), _first_centre(bottom[:, 1]))
    y = row.astype(np.float64) + 0.5
    upper = y < middle[owner, 1]
    long_x = _crossing(top[owner], bottom[owner], y)
    short_x = _crossing(
        np.where(upper[:, None], top[owner], middle[owner]), np.where(upper[:, None], middle[owner], bottom[owner]), y
    )
    span, col = expand(_first_centre(np.minimum(long_x, short_x)), _first_centre(np.maximum(long_x, short_x)))
    return owner[span], row[span], col


def image_pixels(uvs: npt.NDArray[np.floating], texture_px: int) -> npt.NDArray[np.float64]:
    """UVs [..., 2] (origin bottom-left) as image positions in pixels, x right and y down: float64 [..., 2]."""
    uvs = np.asarray(uvs, np.float64)
    return np.stack([uvs[..., 0], 1 - uvs[..., 1]], -1) * texture_px


def rasterize_uvs(uvs: npt.NDArray[np.floating], uv_faces: npt.NDArray[np.integer], texture_px: int) -> Texels:
    """The texels that an atlas covers.

    Args:
        uvs: [U, 2], origin bottom-left.
        uv_faces: int [F, 3].
        texture_px: Side of the image.

    Returns:
        Texels inside the image; a texel that two faces cover occurs twice (see `overlapping_texels`).
    """
    corners = image_pixels(uvs, texture_px)[uv_faces]  # [F, 3, 2]
    face, row, col = scan_triangles(corners)
    inside = (row >= 0) & (row < texture_px) & (col >= 0) & (col < texture_px)
    if not inside.all():
        face, row, col = face[inside], row[inside], col[inside]
    return Texels(row, col, face, _barycentrics(corners, face, row, col), texture_px)


def overlapping_texels(texels: Texels) -> Int64Array:
    """Indices into `texels` of those whose pixel another face covers too, int64 [K]."""
    count = np.bincount(texels.flat_index, minlength=texels.texture_px**2)
    return np.flatnonzero(count[texels.flat_index] > 1)


def _first_centre(value: npt.NDArray[np.float64]) -> Int64Array:
    return np.ceil(value - 0.5).astype(np.int64)


def _crossing(
    start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    run = end[:, 1] - start[:, 1]
    return start[:, 0] + (y - start[:, 1]) * ((end[:, 0] - start[:, 0]) / np.where(run == 0, 1, run))


def _barycentrics(
    corners: npt.NDArray[np.float64], face: Int64Array, row: Int64Array, col: Int64Array
) -> npt.NDArray[np.float32]:
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    twice = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    twice = np.where(np.abs(twice) < 1e-12, 1.0, twice)
    slope = np.stack([(c - a)[:, 1], -(c - a)[:, 0], -(b - a)[:, 1], (b - a)[:, 0]], -1) / twice[:, None]  # [F, 4]
    slope, a = slope[face], a[face]
    x, y = col + 0.5 - a[:, 0], row + 0.5 - a[:, 1]
    second, third = slope[:, 0] * x + slope[:, 1] * y, slope[:, 2] * x + slope[:, 3] * y
    weights = np.clip(np.stack([1 - second - third, second, third], -1), 0, 1).astype(np.float32)
    return weights / weights.sum(1, keepdims=True)
