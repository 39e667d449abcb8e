"""Cut a mesh into few, large charts that each face one way, with seams along creases.

1. Each face takes the axis closest to its normal; labels are then smoothed (iterated conditional modes) with a
   boundary cost that is low along creases and higher on the front of the object, where a seam would be seen.
2. Connected patches become charts with directions of their own, and the labels are smoothed again.
3. Small charts join the neighbour with the longest common border, where the union still faces one way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

PATCH_SIZE = 0.1
"""Features smaller than about this share of the object's size do not become charts of their own."""
SMALL_SHARE = 0.012
"""Charts below this share of the surface join a neighbour even where that foreshortens them."""
LOWEST_COSINE = 0.2
"""Least cosine between a face's normal and its chart's direction; the flattened face keeps this share of its area."""


@dataclass(frozen=True)
class Adjacency:
    """Faces across edges.

    Attributes:
        pairs: int64 [E, 2], the faces on both sides of an edge that exactly two faces share, equally oriented.
        edge_verts: int64 [E, 2], that edge's vertices.
        neighbours: int64 [F, 3], face across each edge; -1 at borders.
        neighbour_edge: int64 [F, 3], row of `pairs`; -1 at borders.
    """

    pairs: Int64Array
    edge_verts: Int64Array
    neighbours: Int64Array
    neighbour_edge: Int64Array


def face_adjacency(faces: npt.NDArray[np.integer]) -> Adjacency:
    """Find the faces that meet at each edge of faces [F, 3]."""
    n_faces = len(faces)
    start = np.asarray(faces, np.int64).T.reshape(-1)  # corner-major: half-edge k * F + f
    end = np.roll(np.asarray(faces, np.int64), -1, axis=1).T.reshape(-1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    key = low * (int(faces.max()) + 1) + high
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    twice = first[np.diff(np.r_[first, len(key)]) == 2]
    one, other = order[twice], order[twice + 1]
    proper = (start[one] == end[other]) & (start[one] != end[one]) & (one % n_faces != other % n_faces)
    one, other = one[proper], other[proper]
    neighbours = np.full(3 * n_faces, -1, np.int64)
    neighbour_edge = np.full(3 * n_faces, -1, np.int64)
    neighbours[one], neighbours[other] = other % n_faces, one % n_faces
    neighbour_edge[one] = neighbour_edge[other] = np.arange(len(one))
    return Adjacency(
        np.stack([one % n_faces, other % n_faces], -1),
        np.stack([low[one], high[one]], -1),
        neighbours.reshape(3, n_faces).T.copy(),
        neighbour_edge.reshape(3, n_faces).T.copy(),
    )


def connected_charts(labels: Int64Array, adjacency: Adjacency) -> Int64Array:
    """Number the edge-connected patches of equal label: int64 [F] from 0."""
    same = labels[adjacency.pairs[:, 0]] == labels[adjacency.pairs[:, 1]]
    pairs = adjacency.pairs[same]
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(labels), len(labels)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def chart_directions(charts: Int64Array, normals: Float64Array, areas: Float64Array) -> Float64Array:
    """Area-weighted mean normal of each chart, unit, float64 [C, 3]."""
    n_charts = int(charts.max()) + 1
    total = np.stack([np.bincount(charts, normals[:, k] * areas, minlength=n_charts) for k in range(3)], -1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-20, total / np.maximum(length, 1e-20), (0.0, 0.0, 1.0))


def segment(
    verts: npt.NDArray[np.floating],
    faces: npt.NDArray[np.integer],
    adjacency: Adjacency,
    normals: Float64Array,
    areas: Float64Array,
) -> Int64Array:
    """Chart of each face, int64 [F], numbered from 0; each chart is edge-connected.

    Args:
        verts: [V, 3].
        faces: int [F, 3].
        adjacency: Adjacency of `faces`.
        normals, areas: Unit normals [F, 3] and areas [F] of the faces.
    """
    # Start with the nearest of the six axes for each face, and smooth the borders between them.
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    cost = _seam_cost(verts, adjacency, normals)
    size = float(np.ptp(verts, axis=0).max())
    pull = areas / max(PATCH_SIZE * size, 1e-12)
    labels = np.argmax(normals @ axes.T, axis=1)
    labels = _smooth(labels, axes, adjacency, cost, normals, pull, sweeps=24)
    # Connected patches become charts; small ones join a neighbour.
    charts = connected_charts(labels, adjacency)
    charts = _merge_small(charts, adjacency, normals, areas)
    # Smooth again, now with each chart's own mean direction.
    for _ in range(2):
        charts = _smooth(charts, chart_directions(charts, normals, areas), adjacency, cost, normals, pull, sweeps=8)
        charts = _merge_small(connected_charts(charts, adjacency), adjacency, normals, areas)
    return _cut_overhangs(charts, adjacency, normals, areas)


def _seam_cost(verts: npt.NDArray[np.floating], adjacency: Adjacency, normals: Float64Array) -> Float64Array:
    """Cost of a seam along each edge [E]: its length, lower along creases, higher on the front of the object."""
    ends = np.asarray(verts, np.float64)[adjacency.edge_verts]
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    one, other = normals[adjacency.pairs[:, 0]], normals[adjacency.pairs[:, 1]]
    bend = 1 - np.clip((one * other).sum(1), -1, 1)
    crease = 0.15 + 0.85 * np.exp(-((bend / 0.25) ** 2))
    front = np.clip((one + other) @ np.array([0.0, -0.5, 0.25]), 0, 1)
    return length * crease * (1 + front)


def _smooth(
    labels: Int64Array,
    directions: Float64Array,
    adjacency: Adjacency,
    seam_cost: Float64Array,
    normals: Float64Array,
    pull: Float64Array,
    *,
    sweeps: int,
) -> Int64Array:
    """Relabel faces like a neighbour if that saves more seam cost than it adds in facing cost."""
    labels = labels.copy()
    neighbours = adjacency.neighbours
    if len(seam_cost) == 0:
        return labels
    price = np.where(neighbours >= 0, seam_cost[adjacency.neighbour_edge], 0)
    active = np.arange(len(labels))
    for sweep in range(sweeps):
        # Only faces on a chart border can change.
        around = labels[neighbours[active]]  # [A, 3]; borders carry price 0
        boundary = ((around != labels[active][:, None]) & (neighbours[active] >= 0)).any(1)
        active_now = active[boundary]
        active_now = active_now[(active_now * 2654435761 >> 7) % 2 == sweep % 2]  # half at a time: no flip-flop
        if len(active_now) == 0:
            continue
        around = labels[neighbours[active_now]]
        # Candidates: the own label and those of the three neighbours.
        candidates = np.concatenate(
            [labels[active_now][:, None], np.where(neighbours[active_now] >= 0, around, labels[active_now][:, None])], 1
        )  # [A, 4]
        # Cost of each: facing away from the chart's direction, plus the seams it makes.
        cosine = np.einsum("ac,akc->ak", normals[active_now], directions[candidates])
        facing = (1 - cosine) + 20 * np.maximum(LOWEST_COSINE - cosine, 0)
        seams = (price[active_now][:, None, :] * (candidates[:, :, None] != around[:, None, :])).sum(-1)
        best = np.argmin(pull[active_now][:, None] * facing + seams, axis=1)
        labels[active_now] = candidates[np.arange(len(active_now)), best]
    return labels


def _merge_small(charts: Int64Array, adjacency: Adjacency, normals: Float64Array, areas: Float64Array) -> Int64Array:
    """Merge charts, smallest first, into neighbours if the union still faces one way."""
    n_charts = int(charts.max()) + 1
    order = np.argsort(charts, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(charts, minlength=n_charts))[:-1])
    total = np.stack([np.bincount(charts, normals[:, k] * areas, minlength=n_charts) for k in range(3)], -1)
    chart_area = np.bincount(charts, areas, minlength=n_charts)
    # Number of shared edges of each pair of neighbouring charts.
    borders: list[dict[int, int]] = [{} for _ in range(n_charts)]
    sides = charts[adjacency.pairs]
    crossing = sides[sides[:, 0] != sides[:, 1]]
    if len(crossing):
        keys, counts = np.unique(np.sort(crossing, axis=1), axis=0, return_counts=True)
        for (a, b), n in zip(keys.tolist(), counts.tolist(), strict=True):
            borders[a][b] = borders[b][a] = n
    # Merge from the smallest up; charts that grew are tried again.
    small = SMALL_SHARE * areas.sum()
    queue = sorted(range(n_charts), key=lambda c: chart_area[c])
    owner = list(range(n_charts))
    while queue:
        retry = []
        for chart in queue:
            if owner[chart] != chart or not borders[chart]:
                continue
            is_small = chart_area[chart] < small
            for other in sorted(borders[chart], key=lambda o: -borders[chart][o]):
                # Both must face the direction of the merged chart.
                direction = total[chart] + total[other]
                length = np.linalg.norm(direction)
                if length < 1e-20:
                    continue
                direction = direction / length
                limit = LOWEST_COSINE if is_small else 0.6
                if total[chart] @ direction < limit * np.linalg.norm(total[chart]):
                    continue
                if (normals[members[chart]] @ direction).min() < limit:
                    continue
                floor = limit if not is_small else LOWEST_COSINE / 2
                if (normals[members[other]] @ direction).min() < floor:
                    continue
                # Move the faces and the shared edges over to the neighbour.
                members[other] = np.concatenate([members[other], members[chart]])
                total[other] += total[chart]
                chart_area[other] += chart_area[chart]
                owner[chart] = other
                for third, n in borders[chart].items():
                    del borders[third][chart]
                    if third != other:
                        borders[third][other] = borders[other][third] = borders[other].get(third, 0) + n
                borders[chart] = {}
                retry.append(other)
                break
        queue = sorted(set(retry), key=lambda c: chart_area[c])
    merged = np.empty_like(charts)
    for number, chart in enumerate(c for c in range(n_charts) if owner[c] == c):
        merged[members[chart]] = number
    return merged


def _cut_overhangs(charts: Int64Array, adjacency: Adjacency, normals: Float64Array, areas: Float64Array) -> Int64Array:
    """Split off faces that point away from their chart's direction, as separate charts."""
    for _ in range(8):
        directions = chart_directions(charts, normals, areas)
        away = ((normals * directions[charts]).sum(1) < 0.03) & (np.linalg.norm(normals, axis=1) > 0)
        if not away.any():
            break
        charts = connected_charts(np.where(away, charts + int(charts.max()) + 1, charts), adjacency)
    return charts
