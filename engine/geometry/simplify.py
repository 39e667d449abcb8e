"""Simplify a closed mesh to a budget of triangles, and keep it closed.

`fast_simplification` does most of the reduction, fast but unchecked. Sheets that then touch are glued in pairs of sides, which
makes them a manifold again, and loose slivers are dropped. Checked collapses do the rest and even out the triangles.
"""

from __future__ import annotations

import fast_simplification
import numpy as np
import numpy.typing as npt

from .cleanup import drop_unused_verts, is_watertight, remove_specks
from .collapse import collapse_edges
from .gluing import glue_sides, merge_short_edges

FloatArray = npt.NDArray[np.float32]
FaceArray = npt.NDArray[np.int32]

_AGGRESSION = 5.0  # of fast_simplification; its default of 7 loses thin parts
_FAST_TO_BUDGETS, _FAST_TO_MORE = 1.4, 12_000  # how far the unchecked part goes: in budgets, and in triangles above the budget
_LOOSE_SHARE = 2e-4, 0.01  # parts that come loose are dropped below this share of the volume and of the extent
_SHORTEST = 3e-4  # length of an edge, as a share of the largest extent, below which it is collapsed whatever its shape


def simplify(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], budget: int) -> tuple[FloatArray, FaceArray]:
    """Simplify a closed mesh to a number of triangles.

    Args:
        verts: float [V, 3].
        faces: int [F, 3], closed, counter-clockwise seen from outside.
        budget: Never more triangles than this. A closed mesh has an even number of them.

    Returns:
        verts, faces: float32 [V', 3] and int32 [F', 3], `budget` triangles or one less; all that there were if there were no
        more, and fewer where loose slivers or the shortest edges had to go. Closed if the input is, but for budgets that no
        closed mesh of this topology can meet; then no two faces have the same corners and no edge is shorter than 1e-4 of the
        largest extent.

    Raises:
        ValueError: The budget is less than 4, the triangles of a tetrahedron.
    """
    if budget < 4:
        raise ValueError(f"A closed mesh has at least 4 triangles; the budget is {budget}.")
    verts, faces = drop_unused_verts(np.asarray(verts, np.float32), np.asarray(faces))
    closed = is_watertight(faces)
    shortest = _SHORTEST * float(np.ptp(verts, axis=0).max()) if closed and len(faces) else 0.0
    if len(faces) <= budget:
        return merge_short_edges(verts, faces, shortest / 2)
    target = min(int(_FAST_TO_BUDGETS * budget), budget + _FAST_TO_MORE)
    rough = roughly_simplify(verts, faces, target, shortest, closed)
    while len(rough[1]) < budget and target < len(faces):  # most of what was left were knots of tiny triangles
        target *= 4
        rough = roughly_simplify(verts, faces, target, shortest, closed)
    simple = collapse_edges(*rough, budget)
    if len(simple[1]) > budget:
        simple = collapse_edges(*simple, budget, keep_shape=False)
    if len(simple[1]) > budget:
        simple = collapse_edges(*simple, budget, keep_shape=False, keep_closed=False)
    return merge_short_edges(*simple, shortest / 2)


def roughly_simplify(
    verts: FloatArray, faces: FaceArray, target: int, shortest: float, closed: bool
) -> tuple[FloatArray, FaceArray]:
    """Simplify to about `target` triangles by unchecked collapses, and make a manifold of the result.

    Args:
        verts: float32 [V, 3].
        faces: int32 [F, 3].
        target: Triangles to aim at.
        shortest: Shorter edges than this are merged, world units; 0 merges none.
        closed: Whether the mesh is closed, so that slivers which came loose can be told by their volume.

    Returns:
        verts, faces: float32 [V', 3] and int32 [F', 3], closed if the mesh is.
    """
    if len(faces) > target:
        verts, faces = fast_simplification.simplify(verts, faces, target_count=target, agg=_AGGRESSION)
        verts, faces = glue_sides(verts, faces)
        if closed:
            verts, faces = remove_specks(verts, faces, *_LOOSE_SHARE)
    return merge_short_edges(verts, faces, shortest)
