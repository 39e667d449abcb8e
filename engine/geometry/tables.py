"""Case tables of marching tetrahedra, derived from the two ways in which a plane can cut a tetrahedron.

Case number: bit k is set if corner k is inside (sdf > 0). Orientation holds for positively oriented tetrahedra,
det(p1 - p0, p2 - p0, p3 - p0) > 0: triangles are counter-clockwise seen from outside.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

TET_EDGES: IntArray = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
"""int64 [6, 2], the corners of each edge of a tetrahedron."""


def _edge(a: int, b: int) -> int:
    """Index in `TET_EDGES` of the edge between corners `a` and `b`."""
    return TET_EDGES.tolist().index(sorted((a, b)))


def _even(corners: tuple[int, ...]) -> bool:
    """Whether a permutation of the corners keeps the tetrahedron's orientation."""
    return sum(a > b for a, b in itertools.combinations(corners, 2)) % 2 == 0


def _triangles_of_case(case: int) -> list[tuple[int, int, int]]:
    inside = [k for k in range(4) if case >> k & 1]
    outside = [k for k in range(4) if not case >> k & 1]
    if not inside or not outside:
        return []
    # Name the corners i, j, k, l so that the order is an even permutation: then it looks like 0, 1, 2, 3.
    lone_outside = len(inside) == 3
    i, j, k, last = (*outside, *inside) if lone_outside else (*inside, *outside)
    if not _even((i, j, k, last)):
        k, last = last, k
    if len(inside) == 2:  # i and j inside: the quadrilateral ik, il, jl, jk, split along ik - jl
        ik, il, jk, jl = _edge(i, k), _edge(i, last), _edge(j, k), _edge(j, last)
        return [(ik, il, jl), (ik, jl, jk)]
    around = (_edge(i, j), _edge(i, k), _edge(i, last))  # counter-clockwise seen from the side of j, k, l
    return [around[::-1] if lone_outside else around]


N_TRIANGLES: IntArray = np.array([len(_triangles_of_case(case)) for case in range(16)])
"""int64 [16], triangles of each case: 0, 1 or 2."""

TRIANGLES: IntArray = np.array([(_triangles_of_case(case) + [(-1, -1, -1)] * 2)[:2] for case in range(16)])
"""int64 [16, 2, 3], the crossed edges at each triangle's corners; -1 where a case has fewer triangles."""
