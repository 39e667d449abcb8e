"""Fewer triangles: a budget met from above, exactly, by a mesh that stays closed.

Three steps. Knots of tiny triangles are merged, as they would block all collapses around them. `fast_simplification` goes most
of the way, fast but unchecked; where it has pinched the mesh, the sheets are taken apart again. Checked collapses go the rest,
which evens out the triangles, too. A mesh that stays open is thrown away: again with less of the unchecked part, at last
without.
"""

from __future__ import annotations

import fast_simplification
import numpy as np
import numpy.typing as npt

from .cleanup import drop_unused_verts, is_watertight
from .collapse import collapse_edges
from .pinches import split_pinches
from .slivers import merge_short_edges

FloatArray = npt.NDArray[np.float32]
FaceArray = npt.NDArray[np.int32]

_AGGRESSION = 5.0  # of fast_simplification; its default of 7 loses thin parts
_FAST_TO_BUDGETS = (2.5, 5.0)  # how far the unchecked part may go, in budgets


def simplify(
    verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], budget: int
) -> tuple[FloatArray, FaceArray]:
    """Simplify a closed mesh to a number of triangles.

    Args:
        verts: float [V, 3].
        faces: int [F, 3], closed, counter-clockwise seen from outside.
        budget: Never more triangles than this. A closed mesh has an even number of them.

    Returns:
        verts, faces: float32 [V', 3] and int32 [F', 3], `budget` triangles or one less; all that there were if there were no
        more. Closed if the input is, but for budgets that no closed mesh of this topology can meet.

    Raises:
        ValueError: The budget is less than 4, the triangles of a tetrahedron.
    """
    if budget < 4:
        raise ValueError(f"A closed mesh has at least 4 triangles; the budget is {budget}.")
    if len(faces) <= budget:
        return drop_unused_verts(np.asarray(verts, np.float32), np.asarray(faces))
    closed = is_watertight(faces)
    merged = _merged_above(verts, faces, budget)
    for budgets in _FAST_TO_BUDGETS:
        if len(merged[1]) > budgets * budget:
            rough = fast_simplification.simplify(*merged, target_count=int(budgets * budget), agg=_AGGRESSION)
            rough = rough if is_watertight(rough[1]) else split_pinches(*rough)
            if closed and not is_watertight(rough[1]):
                continue
            simple = collapse_edges(*rough, budget)
            if len(simple[1]) <= budget and (is_watertight(simple[1]) or not closed):
                return simple
    simple = collapse_edges(*merged, budget)
    if len(simple[1]) > budget:
        simple = collapse_edges(*simple, budget, keep_shape=False)
    if len(simple[1]) > budget:
        simple = collapse_edges(*simple, budget, keep_shape=False, keep_closed=False)
    return simple


def _merged_above(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], budget: int) -> tuple[FloatArray, FaceArray]:
    """The mesh without its knots of tiny triangles; as it was if that leaves fewer triangles than asked for."""
    merged = merge_short_edges(verts, faces)
    return merged if len(merged[1]) >= budget else drop_unused_verts(np.asarray(verts, np.float32), np.asarray(faces))
