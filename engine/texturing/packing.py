"""Pack charts into the unit square: largest first, each at the lowest free place of a bitmap, in four rotations.

Charts are bitmaps of cells, so small ones fill the gaps and holes of large ones. The largest scale at which all fit is
found by trial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..rendering.uv_raster import expand, scan_triangles

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.float32]

GUTTER_PX = 4
"""Least distance between charts, pixels of the texture."""
_GRID = 256
"""Cells along a side of the packing's bitmap."""
_LIKELY_FILL = 0.9
"""Share of the bitmap, gutters included, that the search for the scale starts from."""
_SCALE_STEP = 1.03
_SHAPED_CHARTS = 128
"""So many of the largest charts are packed by their shapes; all others, of torn surfaces, as rectangles."""
_BAND = 24
"""Rows of the bitmap that are searched at once for a rectangle: most places are found at once, from where the last was."""


@dataclass(frozen=True)
class Layout:
    """Flattened charts.

    Attributes:
        uvs: float64 [U, 2], world units, each chart with its lower left corner at the origin.
        uv_faces: int64 [F, 3].
        chart_of_uv: int64 [U], from 0, each number used.
        border_edges: int64 [E, 2], UV vertices at the ends of the edges on chart borders.
    """

    uvs: Float64Array
    uv_faces: Int64Array
    chart_of_uv: Int64Array
    border_edges: Int64Array

    @property
    def extent(self) -> Float64Array:
        """Width and height of each chart, float64 [C, 2]."""
        extent = np.zeros((int(self.chart_of_uv.max()) + 1, 2))
        np.maximum.at(extent, self.chart_of_uv, self.uvs)
        return extent


def turn_upright(uvs: Float64Array, chart_of_uv: Int64Array) -> Float64Array:
    """Rotate each chart to its smallest bounding box if that saves a tenth of the area; move it to the origin."""
    uvs = uvs.copy()
    order = np.argsort(chart_of_uv, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(chart_of_uv))[:-1]):
        points = uvs[rows]
        width, height = np.ptp(points, axis=0)
        _, (box_w, box_h), angle_deg = cv2.minAreaRect((points - points.mean(0)).astype(np.float32))
        if box_w * box_h < 0.9 * width * height:
            turn = np.deg2rad((angle_deg + 45) % 90 - 45)
            cos, sin = np.cos(turn), np.sin(turn)
            points = points @ np.array([[cos, -sin], [sin, cos]])
        uvs[rows] = points - points.min(0)
    return uvs


def pack(
    uvs: Float64Array, uv_faces: Int64Array, chart_of_uv: Int64Array, border_edges: Int64Array, texture_px: int,
    known_scale: float | None = None,
) -> tuple[npt.NDArray[np.float32], float]:  # fmt: skip
    """Place flattened charts in the unit square, all at one scale, at least `GUTTER_PX` apart.

    Args:
        uvs: float64 [U, 2], world units.
        uv_faces: int64 [F, 3].
        chart_of_uv: int64 [U], from 0, each chart used.
        border_edges: int64 [E, 2], UV vertices at the ends of each edge on a chart's border.
        texture_px: Side of the texture, pixels.
        known_scale: The scale at which nearly the same charts fitted: no larger one is tried.

    Returns:
        float32 [U, 2] in 0..1, and the scale in texture sides per world unit.

    Raises:
        ValueError: There are more charts than the texture has room for.
    """
    # Guess the scale from the charts' area; no chart may be longer than the bitmap.
    layout = Layout(turn_upright(uvs, chart_of_uv), uv_faces, chart_of_uv, border_edges)
    side, gap = _grid(int(chart_of_uv.max()) + 1, texture_px)
    longest = (side - gap - 2) / max(float(layout.extent.max()), 1e-9)  # a larger scale fits no chart that long
    scale = min(side * np.sqrt(0.75 / max(_area(layout), 1e-12)), longest)
    for _ in range(2 if known_scale is None else 0):  # count cells with gutters: aim at a fill that can succeed
        cells = sum(float(_with_gap(mask, gap).sum()) for mask in _masks(layout, layout.uvs * scale))
        scale = min(scale * np.sqrt(_LIKELY_FILL * side * side / cells), longest)
    if known_scale is not None:
        scale = min(known_scale * side, longest)
    best = _pack_at(layout, scale, side, gap)
    # Shrink until everything fits, or grow until it no longer does.
    if best is None:
        while best is None:  # ends: at worst each chart takes one cell, and `_grid` made room for that
            scale /= _SCALE_STEP
            best = _pack_at(layout, scale, side, gap)
        return (best / side).astype(np.float32), scale / side
    while scale < longest and known_scale is None:
        larger = _pack_at(layout, min(scale * _SCALE_STEP, longest), side, gap)
        if larger is None:
            break
        best, scale = larger, min(scale * _SCALE_STEP, longest)
    return (best / side).astype(np.float32), scale / side


def _grid(n_charts: int, texture_px: int) -> tuple[int, int]:
    """Cells along a side of the bitmap, and cells of gutter; finer, then with thinner gutters, for very many charts."""
    for side in (min(_GRID, texture_px // 2), texture_px // 2, texture_px):
        gap = -(-GUTTER_PX * side // texture_px)
        if 4 * n_charts * (gap + 1) ** 2 <= side * side:
            return side, gap
    if 5 * n_charts <= texture_px * texture_px:
        return texture_px, 1
    raise ValueError(f"a texture of {texture_px} px cannot hold {n_charts} charts")


def _area(layout: Layout) -> float:
    a, b, c = np.moveaxis(layout.uvs[layout.uv_faces], 1, 0)
    return float(np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum() / 2)


def _pack_at(layout: Layout, scale: float, side: int, gap: int) -> Float64Array | None:
    """UVs of all charts at their places, in cells [U, 2]; None if they do not fit at this scale (cells per world unit)."""
    uvs = layout.uvs * scale
    masks = _masks(layout, uvs)
    if sum(int(mask.sum()) for mask in masks) > side * side:
        return None
    # Place charts from the largest down, each where it ends lowest, in the best of four turns.
    taken, top = np.zeros((side, side), np.float32), 0  # everything is free from row `top` on
    turns, places = np.zeros(len(masks), np.int64), np.zeros((len(masks), 2))
    searched: dict[tuple[int, ...], int] = {}  # below this row there is no place for a rectangle, and never will be
    for rank, chart in enumerate(sorted(range(len(masks)), key=lambda c: (-masks[c].size, c))):
        best = None
        is_small = masks[chart].size <= 16 or rank >= _SHAPED_CHARTS
        for turn in range(2 if is_small else 4):
            turned = np.rot90(masks[chart], turn)
            if is_small:  # a full rectangle: charts of the same size share one search
                turned = np.ones_like(turned)
            mask = _with_gap(turned, gap)
            if is_small:
                found = _first_free(taken, mask, searched.get(mask.shape, 0), top + 1, _BAND)
                searched[mask.shape] = side if found is None else found[0]
            else:  # no row from which on it could not be better than in the turn before
                found = _first_free(taken, mask, 0, top + 1 if best is None else math.ceil(best[0] - len(mask) / 2), side)
            if found is None:
                continue
            cost = found[0] + len(mask) / 2 + found[1] / 4  # the middle low, then to the left
            if best is None or cost < best[0]:
                best = (cost, *found, turn, mask)
        if best is None:
            return None
        _, y, x, turns[chart], mask = best
        taken[y : y + mask.shape[0], x : x + mask.shape[1]] += mask
        top = max(top, y + mask.shape[0])
        places[chart] = x, y
    sizes = np.array([mask.shape[::-1] for mask in masks], np.float64)  # width and height before turning
    return _rotated(uvs, sizes[layout.chart_of_uv], turns[layout.chart_of_uv]) + places[layout.chart_of_uv] + gap / 2


def _with_gap(mask: Mask, gap: int) -> Mask:
    """A mask grown by `gap` cells to the right and upwards: two such that are disjoint hold charts `gap` cells apart."""
    grown = np.zeros((mask.shape[0] + gap, mask.shape[1] + gap), np.float32)
    for dy in range(gap + 1):
        for dx in range(gap + 1):
            np.maximum(
                grown[dy : dy + mask.shape[0], dx : dx + mask.shape[1]],
                mask,
                out=grown[dy : dy + mask.shape[0], dx : dx + mask.shape[1]],
            )
    return grown


def _first_free(taken: Mask, mask: Mask, start: int, stop: int, band: int) -> tuple[int, int] | None:
    """Lowest, then leftmost place (row, column), rows `start` to before `stop`, where a mask meets no taken cell; `band` rows
    at once."""
    height, width = mask.shape
    if width > taken.shape[1]:
        return None
    stop = min(stop, len(taken) - height + 1)
    for low in range(start, stop, band):
        free = cv2.matchTemplate(taken[low : min(low + band, stop) + height - 1], mask, cv2.TM_CCORR) < 0.5
        row, col = divmod(int(np.argmax(free)), free.shape[1])
        if free[row, col]:
            return low + row, col
    return None


def _rotated(uvs: Float64Array, size: Float64Array, turn: Int64Array) -> Float64Array:
    """Points [U, 2] of charts of `size` [U, 2] after `turn` [U] quarter turns, as `numpy.rot90` turns their masks (row = y)."""
    x, y, width, height = uvs[:, 0], uvs[:, 1], size[:, 0], size[:, 1]
    at = np.stack(
        [np.stack([x, y], -1), np.stack([y, width - x], -1), np.stack([width - x, height - y], -1), np.stack([height - y, x], -1)]
    )
    return at[turn, np.arange(len(uvs))]


def _masks(layout: Layout, uvs: Float64Array) -> list[Mask]:
    """Every cell that each chart touches, one float32 [H, W] of zeros and ones per chart (row = y, from the bottom)."""
    # Cells whose centre a triangle covers, and cells that a border edge crosses.
    face, row, col = scan_triangles(uvs[layout.uv_faces])
    chart = layout.chart_of_uv[layout.uv_faces[face, 0]]
    edge, edge_row, edge_col = _cells_on_edges(uvs[layout.border_edges])
    chart = np.concatenate([chart, layout.chart_of_uv[layout.border_edges[edge, 0]]])
    row, col = np.concatenate([row, edge_row]), np.concatenate([col, edge_col])
    n_charts = int(layout.chart_of_uv.max()) + 1
    # Size of each mask, from its highest row and column.
    width, height = np.ones(n_charts, np.int64), np.ones(n_charts, np.int64)
    np.maximum.at(width, chart, col + 1)
    np.maximum.at(height, chart, row + 1)
    # All masks share one flat array: one scatter fills them.
    first = np.cumsum(width * height) - width * height
    cells = np.zeros(int((width * height).sum()), np.float32)
    cells[first[chart] + row * width[chart] + col] = 1
    return [cells[first[c] : first[c] + width[c] * height[c]].reshape(height[c], width[c]) for c in range(n_charts)]


def _cells_on_edges(ends: Float64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Every cell that segments [E, 2, 2] pass through: (segment, row, column), int64 [K]."""
    order = np.argsort(ends[..., 0], axis=1, kind="stable")
    start, end = np.moveaxis(np.take_along_axis(ends, order[..., None], axis=1), 1, 0)
    # Walk each segment column by column.
    owner, col = expand(np.floor(start[:, 0]).astype(np.int64), np.floor(end[:, 0]).astype(np.int64) + 1)
    start, end = start[owner], end[owner]
    run = end[:, 0] - start[:, 0]
    steep = run < 1e-12
    # Height at which it enters and leaves each column: the rows between are crossed.
    slope = (end[:, 1] - start[:, 1]) / np.where(steep, 1, run)
    enter = np.where(steep, start[:, 1], start[:, 1] + (np.maximum(col, start[:, 0]) - start[:, 0]) * slope)
    leave = np.where(steep, end[:, 1], start[:, 1] + (np.minimum(col + 1, end[:, 0]) - start[:, 0]) * slope)
    low = np.maximum(np.floor(np.minimum(enter, leave) - 1e-9).astype(np.int64), 0)
    piece, row = expand(low, np.floor(np.maximum(enter, leave) + 1e-9).astype(np.int64) + 1)
    return owner[piece], row, col[piece]
