"""Merging the knots of tiny triangles that marching tetrahedra leaves where the surface passes close to a lattice vertex."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .cleanup import directed_edges, drop_unused_verts, is_watertight

_MAX_TRIES = 6
_MIN_TURN_COS = 0.5  # of the angle by which a face of fair shape may turn
_FAIR_QUALITY = 0.1  # 1 for an equilateral triangle; below, the direction of a face means little


def merge_short_edges(
    verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], share: float = 0.3
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Merge each knot of vertices joined by short edges into its mean, all knots at once.

    A knot that is not a disc or a tree (so that its merging would change the topology), that extends too far, or whose merging
    would pinch the surface or turn a face over, stays as it is.

    Args:
        verts: float [V, 3].
        faces: int [F, 3], closed.
        share: An edge is short below this share of the mean length.

    Returns:
        verts, faces: float32 [V', 3] and int32 [F', 3], closed.
    """
    points = np.asarray(verts, np.float64)
    triangles: npt.NDArray[np.int64] = np.asarray(faces, np.int64)
    starts, ends = directed_edges(triangles)
    starts, ends = starts[(once := starts < ends)], ends[once]
    lengths = np.linalg.norm(points[starts] - points[ends], axis=1)
    limit = share * lengths.mean() if len(lengths) else 0.0
    short = lengths < limit
    graph = coo_matrix((np.ones(short.sum(), bool), (starts[short], ends[short])), shape=(len(points),) * 2)
    n_knots, knot = connected_components(graph, directed=False)
    sizes = np.bincount(knot, minlength=n_knots)
    means = np.stack([np.bincount(knot, points[:, k], n_knots) for k in range(3)], 1) / sizes[:, None]
    reach = np.zeros(n_knots)
    np.maximum.at(reach, knot, np.linalg.norm(points - means[knot], axis=1))
    corners = knot[triangles]
    whole = corners[:, 0][(corners == corners[:, :1]).all(1)]  # knots of the faces that lie within one
    within = knot[starts][knot[starts] == knot[ends]]
    euler = sizes - np.bincount(within, minlength=n_knots) + np.bincount(whole, minlength=n_knots)
    merged = (sizes > 1) & (euler == 1) & (reach < limit)

    first = np.full(n_knots, len(points))
    np.minimum.at(first, knot, np.arange(len(points)))
    for _ in range(_MAX_TRIES):
        new_number = np.where(merged[knot], first[knot], np.arange(len(points)))
        new_points = np.where(merged[knot][:, None], means[knot], points)
        new_faces = new_number[triangles]
        kept = (new_faces != new_faces[:, [1, 2, 0]]).all(1)
        wrong = np.union1d(_pinched(new_faces[kept]), new_number[triangles[_turned(points, new_points, triangles, kept)]])
        wrong_knots = np.unique(knot[wrong])
        if not merged[wrong_knots].any():
            if is_watertight(new_faces[kept]):
                return drop_unused_verts(new_points.astype(np.float32), new_faces[kept])
            break
        merged[wrong_knots] = False
    return drop_unused_verts(points.astype(np.float32), triangles)


def _pinched(faces: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Vertices of edges that have more faces than two."""
    starts, ends = directed_edges(faces)
    key = starts * (int(faces.max()) + 1 if len(faces) else 1) + ends
    order = np.argsort(key)
    twice = order[1:][np.diff(key[order]) == 0]
    return np.union1d(starts[twice], ends[twice])


def _turned(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], faces: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Indices of the kept faces of fair shape which a move of the vertices turns too far."""
    normal, quality = normals_and_quality(before[faces])
    new_normal, _ = normals_and_quality(after[faces])
    scale = np.linalg.norm(normal, axis=1) * np.linalg.norm(new_normal, axis=1)
    return (kept & (quality > _FAIR_QUALITY) & ((normal * new_normal).sum(1) < _MIN_TURN_COS * scale)).nonzero()[0]


def normals_and_quality(
    corners: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Normals and shapes of triangles.

    Args:
        corners: float64 [N, 3, 3].

    Returns:
        normals: float64 [N, 3], twice as long as the area.
        quality: float64 [N], 1 for equilateral triangles down to 0 for flat ones.
    """
    a, b, c = corners.transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    squares = ((b - a) ** 2).sum(1) + ((c - b) ** 2).sum(1) + ((a - c) ** 2).sum(1)
    return normals, 2 * np.sqrt(3) * np.linalg.norm(normals, axis=1) / np.maximum(squares, 1e-30)
