"""The UV atlas of a mesh: few, large charts that face one way, without overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from ..rendering.uv_raster import image_pixels, scan_triangles
from .charts import Adjacency, connected_charts, face_adjacency, segment
from .flatten import flatten_charts, split_verts
from .normals import face_normals
from .packing import pack

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

_CHECK_PX = 1024
_MAX_ROUNDS = 12


@dataclass(frozen=True)
class Atlas:
    """A mesh and its UV layout.

    Attributes:
        verts: float32 [V, 3], Blender axes.
        faces: int32 [F, 3], counter-clockwise from outside.
        uvs: float32 [U, 2], origin bottom-left, in 0..1.
        uv_faces: int32 [F, 3].
    """

    verts: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int32]
    uvs: npt.NDArray[np.float32]
    uv_faces: npt.NDArray[np.int32]


def unwrap(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], texture_px: int) -> Atlas:
    """Cut a mesh into charts, flatten them and pack them for a square texture.

    Args:
        verts: float [V, 3].
        faces: int [F, 3], F >= 1, counter-clockwise from outside.
        texture_px: Side of the texture; charts keep `packing.GUTTER_PX` pixels apart, and no texel's centre lies in two faces.

    Returns:
        The atlas, with the same vertices and faces.

    Raises:
        ValueError: A shape is wrong, there are no faces, an index is out of range, or a coordinate is not finite.
    """
    _check(verts, faces, texture_px)
    normals, areas = face_normals(verts, faces)
    surface = _Surface(np.asarray(verts, np.float64), np.asarray(faces, np.int64), normals, areas, face_adjacency(faces))
    charts = segment(surface.verts, surface.faces, surface.adjacency, normals, areas)
    corner_uvs = np.zeros((len(faces), 3, 2))
    changed, scale = np.arange(len(faces)), None
    for _ in range(_MAX_ROUNDS):
        charts = _flatten_without_overlap(surface, charts, changed, corner_uvs)
        uv_faces, _, chart_of_uv = split_verts(surface.faces, charts)
        uvs = np.zeros((len(chart_of_uv), 2))
        uvs[uv_faces] = corner_uvs
        borders = _border_edges(uv_faces, charts, surface.adjacency)
        packed, scale = pack(uvs, uv_faces, chart_of_uv, borders, texture_px, scale)
        clashes = _clashes_in_image(packed, uv_faces, charts, texture_px)
        if len(clashes) == 0:
            break
        charts, changed = _cut(clashes, charts, surface)  # overlaps finer than the first check saw
    return Atlas(np.asarray(verts, np.float32), np.asarray(faces, np.int32), packed, uv_faces.astype(np.int32))


@dataclass(frozen=True)
class _Surface:
    verts: Float64Array
    faces: Int64Array
    normals: Float64Array
    areas: Float64Array
    adjacency: Adjacency


def _flatten_without_overlap(surface: _Surface, charts: Int64Array, changed: Int64Array, corner_uvs: Float64Array) -> Int64Array:
    """Flatten the charts of the faces `changed` into `corner_uvs` [F, 3, 2]; returns the charts, cut where they overlapped."""
    while len(changed):
        numbers, local = np.unique(charts[changed], return_inverse=True)
        part = (surface.verts, surface.faces[changed], local, surface.normals[changed], surface.areas[changed])
        flat = flatten_charts(*part, relax=False)
        relaxed = flatten_charts(*part, relax=True)
        folded = np.zeros(len(numbers), bool)
        folded[local[_clashes(relaxed, local)[:, 0]]] = True
        corner_uvs[changed] = np.where(folded[local][:, None, None], flat, relaxed)
        again = np.flatnonzero(folded[local])
        clashes = changed[again[_clashes(flat[again], local[again])]]
        if len(clashes) == 0:
            break
        charts, changed = _cut(clashes, charts, surface)
    return charts


def _check(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], texture_px: int) -> None:
    if verts.ndim != 2 or verts.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0:
        raise ValueError(f"expected verts [V, 3] and faces [F >= 1, 3], got {verts.shape} and {faces.shape}")
    if faces.min() < 0 or faces.max() >= len(verts):
        raise ValueError(f"faces index {faces.min()}..{faces.max()}, but there are {len(verts)} verts")
    if not np.isfinite(verts).all():
        raise ValueError("verts holds values that are not finite")
    if texture_px < 64:
        raise ValueError(f"texture_px is {texture_px}, expected at least 64")


def _clashes(corner_uvs: Float64Array, charts: Int64Array) -> Int64Array:
    """Pairs of faces of one chart over the same texel, at about the density of a packed atlas: int64 [K, 2], K may be 0.

    Args:
        corner_uvs: float64 [F, 3, 2], world units.
        charts: int64 [F].
    """
    if len(charts) == 0:
        return np.zeros((0, 2), np.int64)
    numbers, local = np.unique(charts, return_inverse=True)
    low, high = np.full((len(numbers), 2), np.inf), np.full((len(numbers), 2), -np.inf)
    np.minimum.at(low, local, corner_uvs.min(1))
    np.maximum.at(high, local, corner_uvs.max(1))
    size = high - low
    density = _CHECK_PX / max(np.sqrt(size.prod(1).sum()), size.max(), 1e-9)  # a needle alone must not ask for a huge image
    width, height = (np.floor(size * density).astype(np.int64) + 1).T
    face, row, col = scan_triangles((corner_uvs - low[local][:, None]) * density)
    first = np.cumsum(width * height) - width * height  # each chart has an image of its own, one after the other
    return _same_place(first[local[face]] + row * width[local[face]] + col, face)


def _clashes_in_image(uvs: npt.NDArray[np.float32], uv_faces: Int64Array, charts: Int64Array, texture_px: int) -> Int64Array:
    face, row, col = scan_triangles(image_pixels(uvs, texture_px)[uv_faces])
    pairs = _same_place(row * texture_px + col, face)
    return pairs[charts[pairs[:, 0]] == charts[pairs[:, 1]]]


def _same_place(place: Int64Array, face: Int64Array) -> Int64Array:
    """Pairs of `face` with equal `place` (from 0, not much above the number of texels): int64 [K, 2]."""
    crowded = np.flatnonzero(np.bincount(place)[place] > 1)
    order = crowded[np.argsort(place[crowded], kind="stable")]
    same = np.flatnonzero(place[order][1:] == place[order][:-1])
    return np.stack([face[order[same]], face[order[same + 1]]], -1)


def _cut(clashes: Int64Array, charts: Int64Array, surface: _Surface) -> tuple[Int64Array, Int64Array]:
    """Cut each chart of a clashing pair [K, 2] between the two faces; the new charts, and the faces whose chart changed."""
    chart = charts[clashes[:, 0]]
    cut_charts, first = np.unique(chart, return_index=True)
    seeds = clashes[first]  # one pair for each chart
    inside = np.isin(charts, cut_charts)
    pairs = surface.adjacency.pairs
    pairs = pairs[(charts[pairs[:, 0]] == charts[pairs[:, 1]]) & inside[pairs[:, 0]]]
    centres = surface.verts[surface.faces].mean(1)
    step = np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1) + 1e-9
    graph = coo_matrix((step, (pairs[:, 0], pairs[:, 1])), shape=(len(charts), len(charts))).tocsr()
    _, _, source = dijkstra(graph, directed=False, indices=seeds.reshape(-1), min_only=True, return_predecessors=True)
    second = np.isin(source, seeds[:, 1]) & inside
    return connected_charts(charts * 2 + second, surface.adjacency), np.flatnonzero(inside)


def _border_edges(uv_faces: Int64Array, charts: Int64Array, adjacency: Adjacency) -> Int64Array:
    """UV vertices at the ends of each edge that lies on a chart's border, int64 [E, 2]."""
    across = adjacency.neighbours
    border = (across < 0) | (charts[across] != charts[:, None])
    face, corner = np.nonzero(border)
    return np.stack([uv_faces[face, corner], uv_faces[face, (corner + 1) % 3]], -1)
