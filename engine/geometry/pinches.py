"""Closed sheets that touch along an edge, taken apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

FloatArray = npt.NDArray[np.float32]
FaceArray = npt.NDArray[np.int32]


def drop_flaps(faces: npt.NDArray[np.integer]) -> FaceArray:
    """Without the pairs of faces that lie on each other, same corners, opposite sides: int32 [F', 3] of int [F, 3]."""
    _, which, count = np.unique(np.sort(faces, 1), axis=0, return_inverse=True, return_counts=True)
    return faces[count[which.reshape(-1)] != 2].astype(np.int32)


def split_pinches(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> tuple[FloatArray, FaceArray]:
    """Give each sheet its own vertices where sheets share an edge or only a vertex; flaps (`drop_flaps`) go.

    Corners become one vertex where an edge of just two faces, running opposite ways, connects them. So an edge of four faces
    turns into two edges in one place, wherever the sheets are not connected at both of its ends.

    Args:
        verts: float [V, 3].
        faces: int [F, 3].

    Returns:
        verts, faces: float32 [V', 3], V' >= the number of vertices in use, and int32 [F', 3].
    """
    faces = drop_flaps(faces)
    count = len(faces)
    start, end = faces.reshape(-1), np.roll(faces, -1, 1).reshape(-1)  # side s of face f is corner 3 f + s and the next one
    next_corner = (np.arange(3 * count).reshape(-1, 3)[:, [1, 2, 0]]).reshape(-1)
    forward = start < end
    low, high = np.minimum(start, end), np.maximum(start, end)
    ids = low.astype(np.int64) * (int(faces.max()) + 1 if count else 1) + high
    edges, edge, sides = np.unique(ids, return_inverse=True, return_counts=True)
    one_up = np.bincount(edge.reshape(-1), forward, len(edges)) == 1
    good = np.flatnonzero(((sides == 2) & one_up)[edge.reshape(-1)])
    one, other = good[np.argsort(ids[good], kind="stable")].reshape(-1, 2).T
    rows = np.concatenate([one, next_corner[one]])
    columns = np.concatenate([next_corner[other], other])
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(3 * count, 3 * count))
    _, label = connected_components(graph, directed=False)
    _, first, corner = np.unique(label, return_index=True, return_inverse=True)
    return np.asarray(verts, np.float32)[start[first]], corner.reshape(-1, 3).astype(np.int32)
