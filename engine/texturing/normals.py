"""Face and vertex normals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def face_normals(
    verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Unit normals float64 [F, 3] (zero for faces without area) and areas float64 [F] of `faces` [F, 3] over `verts` [V, 3]."""
    corners = np.asarray(verts, np.float64)[faces]  # [F, 3, 3]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    unit = np.divide(cross, length[:, None], out=np.zeros_like(cross), where=length[:, None] > 1e-20)
    return unit, length / 2


def vertex_normals(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> FloatArray:
    """Smooth unit normals, each the angle-weighted mean of the faces around a vertex.

    Args:
        verts: [V, 3].
        faces: int [F, 3], counter-clockwise from outside.

    Returns:
        float32 [V, 3]; vertices that no face with area uses get (0, 0, 1).
    """
    corners = np.asarray(verts, np.float64)[faces]
    unit, _ = face_normals(verts, faces)
    total = np.zeros((len(verts), 3))
    for k in range(3):
        a = corners[:, (k + 1) % 3] - corners[:, k]
        b = corners[:, (k + 2) % 3] - corners[:, k]
        angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(1))
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, k], unit[:, axis] * angle, minlength=len(verts))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    safe = length > 1e-12
    return np.where(safe, total / np.where(safe, length, 1), (0.0, 0.0, 1.0)).astype(np.float32)
