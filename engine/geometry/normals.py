"""Shading normals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def vertex_normals(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Unit normals at the vertices: those of the faces around, weighted by their area and their angle there.

    With both weights, wide flat sides keep their own direction up to a narrow bevel, as an artist expects.

    Args:
        verts: float [V, 3].
        faces: int [F, 3], counter-clockwise seen from outside.

    Returns:
        float32 [V, 3], pointing outwards; (0, 0, 1) at vertices of no face, or of faces without area.

    Thuermer and Wuethrich 1998, Computing Vertex Normals from Polygonal Facets.
    """
    corners = np.asarray(verts, np.float64)[faces]  # [F, 3, 3]
    ahead = corners[:, [1, 2, 0]] - corners
    behind = -ahead[:, [2, 0, 1]]
    crossed = np.cross(ahead, behind)  # [F, 3, 3], the face's normal from each corner, twice as long as its area
    angle = np.arctan2(np.linalg.norm(crossed, axis=-1), (ahead * behind).sum(-1))
    weighted = crossed * angle[..., None]
    index = np.asarray(faces).reshape(-1)
    total = np.stack([np.bincount(index, weighted[..., k].reshape(-1), len(verts)) for k in range(3)], 1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-20, total / np.maximum(length, 1e-20), [0.0, 0.0, 1.0]).astype(np.float32)
