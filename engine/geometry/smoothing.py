"""Smoothing that does not shrink."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from .cleanup import directed_edges

_SHRINK, _GROW = 0.5, -0.53  # passes waves longer than about a dozen edges, damps shorter ones


def taubin_smooth(verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], iterations: int) -> npt.NDArray[np.float32]:
    """Even out bumps of the size of the triangles; the volume stays.

    Args:
        verts: float [V, 3].
        faces: int [F, 3].
        iterations: Pairs of a shrinking and a growing step; 0 changes nothing.

    Returns:
        float32 [V, 3].

    Taubin 1995, A Signal Processing Approach to Fair Surface Design.
    """
    points = np.asarray(verts, np.float64)
    starts, ends = directed_edges(faces)
    neighbours = csr_matrix((np.ones(len(starts)), (starts, ends)), (len(points),) * 2)
    count = np.asarray(neighbours.sum(1))
    for _ in range(iterations):
        for factor in (_SHRINK, _GROW):
            mean = (neighbours @ points) / np.maximum(count, 1)
            points = np.where(count > 0, points + factor * (mean - points), points)
    return points.astype(np.float32)
