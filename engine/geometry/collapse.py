"""Collapse many edges of a closed mesh at a time, each checked to keep the mesh closed.

Slower and safer than `fast_simplification`: a collapse that would pinch the surface (the link condition), turn a face over, or
leave a sliver is refused. In each round, the cheapest edge of every neighbourhood collapses; as no two of them share a face,
a round is array arithmetic.

Garland and Heckbert 1997, Surface Simplification Using Quadric Error Metrics; Dey et al. 1999, Topology Preserving Edge
Contraction.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from .cleanup import directed_edges, drop_unused_verts

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_MIN_TURN_COS = 0.3  # of the angle by which a face may turn in one collapse
_SLIVER = 0.05  # quality (1 for an equilateral triangle) below which the direction of a face means nothing
_CHEAP_SHARE = 0.3  # of all edges, those that may collapse in one round
_FORGET_ROUNDS = 8  # between two chances of a refused edge
_STALE_ROUNDS = 30  # rounds without one collapse before giving up


def collapse_edges(
    verts: npt.NDArray[np.floating],
    faces: npt.NDArray[np.integer],
    budget: int,
    *,
    keep_shape: bool = True,
    keep_closed: bool = True,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Collapse edges in the order of their quadric error until few enough triangles are left.

    Args:
        verts: float [V, 3].
        faces: int [F, 3], closed.
        budget: Stop at this many triangles, or one less, as each collapse takes two.
        keep_shape: Refuse collapses that turn a face over or leave a sliver.
        keep_closed: Refuse collapses that would pinch the surface. Without either, the budget is always met.

    Returns:
        verts, faces: float32 [V', 3] and int32 [F', 3]; more than `budget` faces if no collapse is left that is not refused.
    """
    state = _Mesh(np.array(verts, np.float64), np.array(faces, np.int64))
    refused = np.zeros(0, np.int64)  # edges whose collapse was refused lately; what changed around them may have helped
    n_round = stale = 0
    random = np.random.default_rng(0)
    while len(state.faces) > budget and stale < _STALE_ROUNDS:
        # 1. Candidates: all edges except those refused lately.
        n_round += 1
        if n_round % _FORGET_ROUNDS == 0 and stale == 0:
            refused = refused[:0]
        edges = state.edges()
        edges = edges[~np.isin(edges @ [len(state.verts), 1], refused)]
        if len(edges) == 0:
            break
        targets, costs = state.targets(edges)
        # The cheap edges in random order: in the order of their costs, far fewer would be free of each other.
        n_wanted = (len(state.faces) - budget + 1) // 2
        n_cheap = min(len(edges), max(64, min(int(_CHEAP_SHARE * len(edges)), 4 * n_wanted)))
        cheap = np.argpartition(costs, n_cheap - 1)[:n_cheap]
        edges, targets, costs = edges[cheap], targets[cheap], costs[cheap]
        # 2. Keep edges that share no neighbourhood, so that they can collapse at once.
        chosen = state.independent(edges, random.permutation(n_cheap))
        chosen = chosen[np.argsort(costs[chosen], kind="stable")]
        # 3. Check each; remember the refused.
        good = np.ones(len(chosen), bool)
        if keep_closed:
            good &= state.keeps_closed(edges[chosen])
        if keep_shape:
            good &= state.keeps_shape(edges[chosen], targets[chosen])
        refused = np.concatenate([refused, edges[chosen[~good]] @ [len(state.verts), 1]])
        # 4. Collapse the cheapest that passed.
        todo = chosen[good][:n_wanted]
        state.collapse(edges[todo], targets[todo])
        stale = 0 if len(todo) else stale + 1
    return drop_unused_verts(state.verts.astype(np.float32), state.faces)


class _Mesh:
    """The mesh while it shrinks; vertex numbers stay as they were, faces are dropped.

    Attributes:
        verts: float64 [V, 3].
        faces: int64 [F, 3].
        quadrics: float64 [V, 4, 4], sum of the squared distances to the planes that a vertex stands for, by area.
    """

    def __init__(self, verts: FloatArray, faces: IntArray) -> None:
        self.verts, self.faces = verts, faces
        # Quadric of each face's plane, weighted by area, summed at its corners.
        a, b, c = verts[faces].transpose(1, 0, 2)
        normals = np.cross(b - a, c - a)
        areas = np.linalg.norm(normals, axis=1, keepdims=True)
        normals /= np.maximum(areas, 1e-30)
        planes = np.hstack([normals, -(normals * a).sum(1, keepdims=True)])  # [F, 4]
        per_face = areas * planes[:, np.repeat(np.arange(4), 4)] * planes[:, np.tile(np.arange(4), 4)]  # [F, 16]
        face_of_corner = np.repeat(np.arange(len(faces)), 3)
        around = csr_matrix((np.ones(faces.size), (faces.reshape(-1), face_of_corner)), (len(verts), len(faces)))
        self.quadrics = (around @ per_face).reshape(-1, 4, 4)

    def edges(self) -> IntArray:
        """Each edge once, int64 [E, 2], the smaller vertex first: in a closed mesh one of its two faces runs that way."""
        starts, ends = directed_edges(self.faces)
        edges = np.stack([starts, ends], 1)[starts < ends]
        return edges if len(edges) else np.stack([ends, starts], 1)  # nothing runs that way: a mesh that is not closed

    def targets(self, edges: IntArray) -> tuple[FloatArray, FloatArray]:
        """Best position [E, 3] and quadric error there [E] of the vertex that each edge would collapse to."""
        quadric = self.quadrics[edges[:, 0]] + self.quadrics[edges[:, 1]]  # [E, 4, 4]
        middle = self.verts[edges].mean(1)
        matrix, vector = quadric[:, :3, :3], quadric[:, :3, 3]
        # Where planes leave a direction open (flat parts, straight creases), the middle decides.
        pull = 1e-3 * np.trace(matrix, axis1=1, axis2=2) + 1e-30
        matrix = matrix + pull[:, None, None] * np.eye(3)
        # Minimum of the quadric, at most one edge length from the middle.
        step = _solve_3x3(matrix, -(quadric[:, :3, :3] @ middle[..., None])[..., 0] - vector)
        length = np.linalg.norm(np.diff(self.verts[edges], axis=1)[:, 0], axis=1)
        step *= np.minimum(1, length / np.maximum(np.linalg.norm(step, axis=1), 1e-30))[:, None]
        target = middle + step
        point = np.concatenate([target, np.ones((len(target), 1))], 1)
        error = np.einsum("ei,eij,ej->e", point, quadric, point)
        # A little of the length, so that flat parts are thinned evenly.
        weight = np.trace(quadric[:, :3, :3], axis1=1, axis2=2)
        return target, np.maximum(error, 0) + 1e-4 * weight * length**2

    def independent(self, edges: IntArray, rank: IntArray) -> IntArray:
        """Indices of the edges that rank before all edges at their ends and at their ends' neighbours."""
        last = np.iinfo(np.int64).max
        # Best rank at each vertex, then among it and its neighbours.
        best = np.full(len(self.verts), last)
        np.minimum.at(best, edges[:, 0], rank)
        np.minimum.at(best, edges[:, 1], rank)
        around = best.copy()
        starts, ends = directed_edges(self.faces)
        np.minimum.at(around, starts, best[ends])
        return ((around[edges[:, 0]] == rank) & (around[edges[:, 1]] == rank)).nonzero()[0]

    def keeps_closed(self, edges: IntArray) -> BoolArray:
        """Whether each of these edges meets the link condition, bool [E].

        Its ends may have no more common neighbours than its two faces have, and may not belong to a tetrahedron that stands
        alone, which would become two faces on each other.
        """
        starts, ends = directed_edges(self.faces)
        neighbours = csr_matrix((np.ones(len(starts), np.int32), (starts, ends)), (len(self.verts),) * 2)
        common = neighbours[edges[:, 0]].multiply(neighbours[edges[:, 1]]).sum(1)
        valence = np.diff(neighbours.indptr)[edges]
        return (np.asarray(common).reshape(-1) == 2) & (valence > 3).any(1)

    def keeps_shape(self, edges: IntArray, targets: FloatArray) -> BoolArray:
        """Whether the collapse of each of these independent edges turns no face over and leaves no sliver, bool [E]."""
        good = np.ones(len(edges), bool)
        edge_of_vert = np.full(len(self.verts), -1)
        edge_of_vert[edges] = np.arange(len(edges))[:, None]
        # Faces with one moved corner change shape.
        moved = edge_of_vert[self.faces] >= 0  # [F, 3]
        touched = (moved.sum(1) == 1).nonzero()[0]  # faces that change; those with two moved corners vanish
        edge = edge_of_vert[self.faces[touched]].max(1)
        before = self.verts[self.faces[touched]]  # [T, 3, 3]
        after = np.where(moved[touched][..., None], targets[edge][:, None], before)
        normal_before, quality_before = normals_and_quality(before)
        normal_after, quality_after = normals_and_quality(after)
        # A sliver's own direction means nothing: judge it by that of all faces around the edge.
        around = np.stack([np.bincount(edge, normal_before[:, k], len(edges)) for k in range(3)], 1)
        reference = np.where(quality_before[:, None] < _SLIVER, around[edge], normal_before)
        scale = np.linalg.norm(reference, axis=1) * np.linalg.norm(normal_after, axis=1)
        bad = (reference * normal_after).sum(1) <= _MIN_TURN_COS * scale
        bad |= quality_after < np.minimum(_SLIVER, 0.5 * quality_before) + 1e-6
        good[edge[bad]] = False
        return good

    def collapse(self, edges: IntArray, targets: FloatArray) -> None:
        """Collapse these edges, independent of one another, each to its target."""
        kept, gone = edges.T
        self.verts[kept] = targets
        self.quadrics[kept] += self.quadrics[gone]
        new_number = np.arange(len(self.verts))
        new_number[gone] = kept
        faces = new_number[self.faces]
        self.faces = faces[(faces != faces[:, [1, 2, 0]]).all(1)]


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


def _solve_3x3(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """Solution [N, 3] of matrix [N, 3, 3] @ x = vector [N, 3] by Cramer's rule; matrices are regular."""
    a, b, c = matrix.transpose(2, 0, 1)
    bc = np.cross(b, c)
    determinant = (a * bc).sum(1)
    x = np.stack([(vector * bc).sum(1), (a * np.cross(vector, c)).sum(1), (a * np.cross(b, vector)).sum(1)], 1)
    return x / np.where(determinant == 0, 1, determinant)[:, None]
