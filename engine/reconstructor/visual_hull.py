"""Signed silhouettes and the visual hull they bound.

Laurentini 1994, The visual hull concept for silhouette-based image understanding. A point is inside the hull when no view
sees it on the background.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..cameras import RIG_DISTANCE, RIG_FOVY_DEG


def signed_silhouette(alpha: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Signed distance to the silhouette's edge, positive inside, exact to a fraction of a pixel at the edge.

    Args:
        alpha: [H, W], 0..1.

    Returns:
        float32 [H, W], in units of the image's height (1 = the whole height), clipped to +-0.25.
    """
    mask = (alpha > 0.5).astype(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    distance = np.where(mask > 0, inside - 0.5, 0.5 - outside)
    near = np.abs(distance) < 1.0
    distance = np.where(near, np.clip(alpha - 0.5, -1, 1) + np.where(mask > 0, inside - 1.0, 1.0 - outside), distance)
    return np.clip(distance / alpha.shape[0], -0.25, 0.25).astype(np.float32)


def hull_distance(distances: Tensor, height: Tensor) -> Tensor:
    """The hull's signed distance at points, world units, positive inside.

    Args:
        distances: float [V, N], samples of `signed_silhouette` in each view; a large one where a view is not known.
        height: float [V, N], the height that each image shows at the point's depth, world units.
    """
    return (distances * height).amin(0)


def gate_margin(view_px: int) -> float:
    """Largest distance outside the hull at which points are decoded: about one pixel, world units."""
    return 1.0 / view_px * 2 * math.tan(math.radians(RIG_FOVY_DEG) / 2) * RIG_DISTANCE
