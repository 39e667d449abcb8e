"""Flatten charts by plane projection, then as-rigid-as-possible relaxation where that causes no flips.

Liu et al. 2008, A Local/Global Approach to Mesh Parameterization (ARAP), all charts in one sparse system.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

from .charts import chart_directions

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]


def split_verts(faces: npt.NDArray[np.integer], charts: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """One UV vertex per (chart, vertex): uv_faces int64 [F, 3], and the vertex and the chart of each UV vertex, int64 [U]."""
    n_verts = int(faces.max()) + 1
    key = charts[:, None] * n_verts + faces
    unique, inverse = np.unique(key.reshape(-1), return_inverse=True)
    return inverse.reshape(-1, 3).astype(np.int64), unique % n_verts, unique // n_verts


def project_charts(
    verts: npt.NDArray[np.floating], vert_of_uv: Int64Array, chart_of_uv: Int64Array, directions: Float64Array
) -> Float64Array:
    """Each chart projected along its direction, world +Z upright where possible: float64 [U, 2], world units."""
    up = np.where(np.abs(directions[:, 2:]) > 0.95, np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    right = np.cross(up, directions)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    above = np.cross(directions, right)
    points = np.asarray(verts, np.float64)[vert_of_uv]
    return np.stack([(points * right[chart_of_uv]).sum(1), (points * above[chart_of_uv]).sum(1)], -1)


def signed_areas(uvs: Float64Array, uv_faces: npt.NDArray[np.integer]) -> Float64Array:
    """Signed areas [F] of flattened faces; positive when counter-clockwise."""
    a, b, c = np.moveaxis(uvs[uv_faces], 1, 0)
    return ((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])) / 2


def flatten_charts(
    verts: npt.NDArray[np.floating],
    faces: npt.NDArray[np.integer],
    charts: Int64Array,
    normals: Float64Array,
    areas: Float64Array,
    *,
    relax: bool,
) -> Float64Array:
    """Flatten every chart, by plane projection alone or relaxed from there.

    Args:
        verts: [V, 3].
        faces: int [F, 3].
        charts: int64 [F], from 0; every face looks along its chart's mean normal.
        normals, areas: Normals [F, 3] and areas [F] of the faces.
        relax: Whether to reduce the foreshortening of the projection.

    Returns:
        float64 [F, 3, 2], world units: UVs of each face's corners, each chart's area equal to its area in space.
    """
    uv_faces, vert_of_uv, chart_of_uv = split_verts(faces, charts)
    uvs = project_charts(verts, vert_of_uv, chart_of_uv, chart_directions(charts, normals, areas))
    if relax:
        uvs = _keep_orientation(uvs, _relax(verts, faces, uvs, uv_faces, areas), uv_faces, charts, chart_of_uv, areas)
    n_charts = int(charts.max()) + 1
    flat_area = np.bincount(charts, np.abs(signed_areas(uvs, uv_faces)), minlength=n_charts)
    space_area = np.bincount(charts, areas, minlength=n_charts)
    scale = np.sqrt(np.divide(space_area, flat_area, out=np.ones(n_charts), where=flat_area > 1e-14))
    return (uvs * scale[chart_of_uv, None])[uv_faces]


def _relax(
    verts: npt.NDArray[np.floating],
    faces: npt.NDArray[np.integer],
    flat: Float64Array,
    uv_faces: Int64Array,
    areas: Float64Array,
    iterations: int = 6,
) -> Float64Array:
    corners = np.asarray(verts, np.float64)[faces]
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.maximum(np.linalg.norm(e1, axis=1), 1e-12)
    along = (e1 * e2).sum(1) / length
    rest = np.zeros((len(faces), 3, 2))  # each face laid flat by itself
    rest[:, 1, 0] = length
    rest[:, 2, 0], rest[:, 2, 1] = along, 2 * areas / length
    n = len(flat)
    rows, cols, weights, edges = [], [], [], []
    for k in range(3):
        i, j, o = k, (k + 1) % 3, (k + 2) % 3
        a, b = rest[:, i] - rest[:, o], rest[:, j] - rest[:, o]
        cot = (a * b).sum(1) / np.maximum(2 * areas, 1e-12)
        weights.append(np.clip(cot, 0.05, 10.0))  # obtuse and needle faces must not fold the chart
        rows.append(uv_faces[:, i])
        cols.append(uv_faces[:, j])
        edges.append(rest[:, i] - rest[:, j])
    row, col, weight = np.concatenate(rows), np.concatenate(cols), np.concatenate(weights)
    edge = np.concatenate(edges)  # [3F, 2]
    off = coo_matrix((-weight, (row, col)), shape=(n, n))
    off = off + off.T
    anchor = 1e-6  # holds each chart in place
    diagonal = -np.asarray(off.sum(1)).reshape(-1) + anchor
    laplacian = (off + coo_matrix((diagonal, (np.arange(n), np.arange(n))), shape=(n, n))).tocsc()
    solver = splu(laplacian, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    uvs = flat
    n_faces = len(faces)
    for _ in range(iterations):
        now = uvs[row] - uvs[col]
        cos = (weight * (now * edge).sum(1)).reshape(3, n_faces).sum(0)
        sin = (weight * (now[:, 1] * edge[:, 0] - now[:, 0] * edge[:, 1])).reshape(3, n_faces).sum(0)
        size = np.maximum(np.hypot(cos, sin), 1e-20)
        cos, sin = np.tile(cos / size, 3), np.tile(sin / size, 3)
        turned = np.stack([cos * edge[:, 0] - sin * edge[:, 1], sin * edge[:, 0] + cos * edge[:, 1]], -1) * weight[:, None]
        right = np.stack(
            [np.bincount(row, turned[:, k], minlength=n) - np.bincount(col, turned[:, k], minlength=n) for k in range(2)], -1
        )
        uvs = solver.solve(right + anchor * flat)
    return uvs


def _keep_orientation(
    flat: Float64Array,
    relaxed: Float64Array,
    uv_faces: Int64Array,
    charts: Int64Array,
    chart_of_uv: Int64Array,
    areas: Float64Array,
) -> Float64Array:
    """Move each chart from its projection towards its relaxation as far as no face turns over or nearly vanishes."""
    solid = areas > 1e-6 * areas.mean()
    share = np.ones(int(charts.max()) + 1)
    for _ in range(4):
        uvs = flat + share[chart_of_uv, None] * (relaxed - flat)
        bad = solid & (signed_areas(uvs, uv_faces) < 0.02 * areas)
        failing = np.zeros(len(share), bool)
        failing[charts[bad]] = True
        failing &= share > 0
        if not failing.any():
            return uvs
        share[failing] = np.where(share[failing] > 0.3, share[failing] - 0.35, 0.0)
    return flat + share[chart_of_uv, None] * (relaxed - flat)
