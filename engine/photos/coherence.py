"""Measure whether the silhouettes of several views fit one solid: if so, their visual hull fills each of them.

Each pixel of a silhouette must have a point on its ray that lies inside the other silhouettes; the share of pixels
that do is the view's coherence. It separates views that already come from the rig from those that need framing, and
reveals views that cannot show one object.

Hernandez et al. 2007, Silhouette Coherence for Camera Calibration under Circular Motion.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from ..cameras import CANONICAL_RIG, FloatArray, Rig, pixel_rays, project
from ..types import VIEW_NAMES

_GRID_PX = 56
_DEPTH_SAMPLES = 72


def coherence(alphas: Mapping[str, npt.NDArray[np.uint8]], rig: Rig = CANONICAL_RIG) -> dict[str, float]:
    """Share of each silhouette that the visual hull of all given ones covers.

    Args:
        alphas: uint8 [N, N] of each given view, framed as the rig sees it.
        rig: The four cameras.

    Returns:
        0..1 for each view; 1 for true silhouettes of one object, up to the coarse grid it is measured on.
    """
    soft = {name: cv2.resize(alpha, (_GRID_PX, _GRID_PX), interpolation=cv2.INTER_AREA) for name, alpha in alphas.items()}
    tolerant = {name: cv2.dilate(view, np.ones((3, 3), np.uint8)) > 64 for name, view in soft.items()}  # half a pixel of slack
    cameras = dict(zip(VIEW_NAMES, rig.c2w(), strict=True))
    depths = np.linspace(rig.distance - 1.1, rig.distance + 1.1, _DEPTH_SAMPLES, dtype=np.float32)
    result = {}
    for name in soft:
        inside = soft[name] > 128
        if not inside.any():
            result[name] = 0.0
            continue
        origins, directions = pixel_rays(cameras[name], rig.fovy_deg, _GRID_PX, _GRID_PX)
        points = origins[inside, None] + directions[inside, None] * depths[:, None]  # [n, depths, 3]
        hull = np.ones(points.shape[:2], bool)
        for other in soft:
            if other != name:
                seen = project(points.reshape(-1, 3), cameras[other], rig.fovy_deg)
                hull &= _look_up(tolerant[other], seen).reshape(hull.shape)
        result[name] = float(hull.any(1).mean())
    return result


def _look_up(mask: npt.NDArray[np.bool_], projected: FloatArray) -> npt.NDArray[np.bool_]:
    column = ((projected[:, 0] + 1) / 2 * _GRID_PX).astype(np.int64)
    row = ((projected[:, 1] + 1) / 2 * _GRID_PX).astype(np.int64)
    seen = (column >= 0) & (column < _GRID_PX) & (row >= 0) & (row < _GRID_PX)
    return np.asarray(seen & mask[row.clip(0, _GRID_PX - 1), column.clip(0, _GRID_PX - 1)])
