"""Make a manifold of triangles whose sheets touch: each side of a face is glued to exactly one other side.

Unchecked collapses let sheets of a closed mesh meet in an edge or a vertex. The result is still closed in the sense that equally
many faces run along each edge in both directions. So sides can be paired: around an edge of four faces, the two that bound one
wedge of the solid belong together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

FloatArray = npt.NDArray[np.float32]
FaceArray = npt.NDArray[np.int32]
IntArray = npt.NDArray[np.int64]

_MERGES = 8  # rounds of merging at most; means move vertices, which may shorten an edge beside them


def glue_sides(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> tuple[FloatArray, FaceArray]:
    """Take sheets apart where they touch, so that every edge has two faces and every vertex one fan of faces.

    The surface stays where it is. Vertices are doubled where sheets part. An edge that two sheets must share, as both its ends
    belong to both, gets a vertex in its middle in one of them.

    Args:
        verts: float [V, 3].
        faces: int [F, 3]; closed, but for edges that more than two faces share, equally many in either direction.

    Returns:
        verts, faces: float32 [V', 3], every vertex used, and int32 [F', 3]; closed if the input is as described, else with the
        borders that it had.
    """
    points = np.asarray(verts, np.float64)
    triangles = cancel_opposite_faces(faces)
    if len(triangles) == 0:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    one, other = _paired_sides(points, triangles)
    # Side s of face f is number 3 f + s; it runs from that corner to the next one of its face.
    following = np.arange(3 * len(triangles)).reshape(-1, 3)[:, [1, 2, 0]].reshape(-1)
    rows, columns = np.concatenate([one, following[one]]), np.concatenate([following[other], other])
    corners = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(3 * len(triangles),) * 2)
    _, label = connected_components(corners, directed=False)
    _, first, corner = np.unique(label, return_index=True, return_inverse=True)
    points = points[triangles.reshape(-1)[first]]
    triangles = np.asarray(corner.reshape(-1, 3), np.int64)
    points, triangles = _split_shared_edges(points, triangles, one, other)
    return points.astype(np.float32), triangles.astype(np.int32)


def merge_short_edges(
    verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], length: float
) -> tuple[FloatArray, FaceArray]:
    """Merge vertices that short edges join, each cluster into its mean, and glue what then touches.

    Args:
        verts: float [V, 3].
        faces: int [F, 3], closed.
        length: Edges below this are merged, world units; small enough that the direction of such faces is invisible.

    Returns:
        verts, faces: float32 [V', 3] and int32 [F', 3], closed, without such edges.
    """
    points, faces = np.asarray(verts), np.asarray(faces)
    for _ in range(_MERGES):
        start, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
        short = np.linalg.norm(points[start] - points[end], axis=1) < length
        if not short.any():
            break
        joined = coo_array((np.ones(short.sum(), np.int8), (start[short], end[short])), shape=(len(points),) * 2)
        count, cluster = connected_components(joined, directed=False)
        size = np.bincount(cluster, minlength=count)
        means = np.stack([np.bincount(cluster, points[:, k], count) for k in range(3)], 1) / size[:, None]
        points, faces = glue_sides(means, cluster[faces])
    return np.asarray(points, np.float32), np.asarray(faces, np.int32)


def cancel_opposite_faces(faces: npt.NDArray[np.integer]) -> IntArray:
    """Faces without those that collapsed to an edge, and without pairs that lie on each other and face opposite ways.

    Args:
        faces: int [F, 3].

    Returns:
        int64 [F', 3].
    """
    triangles: IntArray = np.asarray(faces, np.int64)
    triangles = triangles[(triangles != triangles[:, [1, 2, 0]]).all(1)]
    turned = np.take_along_axis(triangles, (np.argmin(triangles, 1)[:, None] + np.arange(3)) % 3, 1)  # the smallest corner first
    sign = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    _, triple = np.unique(np.sort(triangles, 1), axis=0, return_inverse=True)
    triple = triple.reshape(-1)
    balance = np.bincount(triple, sign).astype(np.int64)
    if (np.bincount(triple) == 1).all():
        return triangles
    kept = np.zeros(len(triangles), bool)
    for way in (1, -1):  # of the faces that face the prevailing way, as many as the balance says
        those = np.flatnonzero(sign == way)
        those = those[np.argsort(triple[those], kind="stable")]
        group = triple[those]
        place = np.arange(len(those)) - np.searchsorted(group, group)  # the how many-eth of its triple
        kept[those] = place < way * balance[group]
    return triangles[kept]


def _paired_sides(points: npt.NDArray[np.float64], faces: IntArray) -> tuple[IntArray, IntArray]:
    """Numbers of the sides that belong together, int64 [P] each: the first runs up its edge, the second down."""
    start, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    low, high, up = np.minimum(start, end), np.maximum(start, end), start < end
    edge = low * len(points) + high
    order = np.lexsort((~up, edge))  # by edge, those that run up first
    bounds = np.flatnonzero(np.diff(edge[order], prepend=-1, append=-1))
    first, count = bounds[:-1], np.diff(bounds)
    simple = first[count == 2]
    simple = simple[up[order[simple]] & ~up[order[simple + 1]]]
    one, other = [order[simple]], [order[simple + 1]]
    for begin, size in zip(first[count > 2], count[count > 2], strict=True):
        sides = order[begin : begin + size]
        pairs = _wedges(points, faces, sides, up[sides], int(low[sides[0]]), int(high[sides[0]]))
        one.append(np.array([a for a, _ in pairs], np.int64))
        other.append(np.array([b for _, b in pairs], np.int64))
    return np.concatenate(one), np.concatenate(other)


def _wedges(
    points: npt.NDArray[np.float64], faces: IntArray, sides: IntArray, up: npt.NDArray[np.bool_], low: int, high: int
) -> list[tuple[int, int]]:
    """Pairs of sides (one up, one down) of an edge that bound a wedge of the solid.

    Seen along the edge, with angles counter-clockwise, a face that runs down has the solid after it and one that runs up has it
    before it. So the faces around the edge are matched as opening and closing brackets.
    """
    axis = points[high] - points[low]
    axis /= max(float(np.linalg.norm(axis)), 1e-30)
    apex = points[faces[sides // 3, (sides % 3 + 2) % 3]] - points[low]
    apex = apex - (apex @ axis)[:, None] * axis
    across = apex[np.argmax(np.linalg.norm(apex, axis=1))]
    across = across / max(float(np.linalg.norm(across)), 1e-30)
    angle = np.arctan2(apex @ np.cross(axis, across), apex @ across)
    around = sides[np.lexsort((up, angle))]
    runs_up = dict(zip(sides.tolist(), up.tolist(), strict=True))
    pairs: list[tuple[int, int]] = []
    opened: list[int] = []
    for side in [*around.tolist(), *around.tolist()]:  # twice around: a wedge may reach over the first angle
        if not runs_up[side]:
            if side not in opened and all(side != down for _, down in pairs):
                opened.append(side)
        elif opened and all(side != climbing for climbing, _ in pairs):
            pairs.append((side, opened.pop()))
    return pairs


def _split_shared_edges(
    points: npt.NDArray[np.float64], faces: IntArray, one: IntArray, other: IntArray
) -> tuple[npt.NDArray[np.float64], IntArray]:
    """Give each glued pair of sides that shares both ends with another pair a vertex in its middle.

    Args:
        points: float64 [V, 3].
        faces: int64 [F, 3], vertices doubled where sheets part.
        one, other: int64 [P], sides that are glued.
    """
    ends = np.sort(np.stack([faces.reshape(-1)[one], faces[:, [1, 2, 0]].reshape(-1)[one]], 1), 1)
    key = ends[:, 0] * len(points) + ends[:, 1]
    order = np.argsort(key, kind="stable")
    repeated = order[1:][np.diff(key[order]) == 0]  # all but the first pair of each edge
    if len(repeated) == 0:
        return points, faces
    middle_of_side = np.full(3 * len(faces), -1, np.int64)
    numbers = len(points) + np.arange(len(repeated))
    middle_of_side[one[repeated]] = middle_of_side[other[repeated]] = numbers
    points = np.concatenate([points, points[ends[repeated]].mean(1)])
    middles = middle_of_side.reshape(-1, 3)
    cut = (middles >= 0).any(1)
    pieces = [faces[~cut]]
    for face, added in zip(faces[cut], middles[cut], strict=True):
        outline = [v for corner, middle in zip(face, added, strict=True) for v in (corner, middle) if v >= 0]
        # A fan from a new vertex: a fan from an old one could hold a flat triangle along its own side.
        turn = next(i for i, v in enumerate(outline) if v in added)
        outline = outline[turn:] + outline[:turn]
        pieces.append(np.array([(outline[0], outline[k], outline[k + 1]) for k in range(1, len(outline) - 1)], np.int64))
    return points, np.concatenate(pieces)
