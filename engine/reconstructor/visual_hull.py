"""Signed silhouettes and the visual hull they bound.

Laurentini 1994, The visual hull concept for silhouette-based image understanding. A point is inside the hull when no view
sees it on the background.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
import torch
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


def project_to_views(points: Tensor, w2c: Tensor, fovy_deg: float = RIG_FOVY_DEG) -> tuple[Tensor, Tensor]:
    """Image coordinates of points in cameras.

    Args:
        points: float [..., 3], world.
        w2c: float [V, 4, 4], inverse of `c2w`.
        fovy_deg: Vertical field of view, degrees; square images.

    Returns:
        xy: float [V, ..., 2], -1..1 over the image, y down.
        depth: float [V, ...], along the optical axis.
    """
    scale = 1 / math.tan(math.radians(fovy_deg) / 2)
    camera = torch.einsum("vij,...j->v...i", w2c[:, :3, :3], points)
    camera = camera + w2c[:, :3, 3].reshape(-1, *([1] * (points.ndim - 1)), 3)
    depth = -camera[..., 2]
    xy = torch.stack([camera[..., 0], -camera[..., 1]], -1) * (scale / depth.clamp(min=1e-6))[..., None]
    return xy, depth


def hull_distance(distances: Tensor, depth: Tensor, fovy_deg: float = RIG_FOVY_DEG) -> Tensor:
    """The hull's signed distance at points, world units, positive inside.

    Args:
        distances: float [V, N], samples of `signed_silhouette` in each view.
        depth: float [V, N], along the optical axis.
    """
    world_per_height = 2 * math.tan(math.radians(fovy_deg) / 2)
    return (distances * depth * world_per_height).amin(0)


def gate_margin(view_px: int) -> float:
    """How far outside the hull a point may lie and still be decoded: about one pixel, world units."""
    return 1.0 / view_px * 2 * math.tan(math.radians(RIG_FOVY_DEG) / 2) * RIG_DISTANCE
