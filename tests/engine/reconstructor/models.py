"""A tiny reconstructor's sizes, and views of a ball to show it."""

from __future__ import annotations

import numpy as np
from tetraview.engine.cameras import RIG_FOVY_DEG

TINY = {"input_px": 32, "patch_px": 2, "channels": (8, 16), "attention_px": 8, "head_dim": 8, "plane_channels": 8, "plane_px": 16,
        "shallow_channels": 4, "hidden": 16}  # fmt: skip
BALL_RADIUS = 0.6


def ball_views(px: int = 32, radius: float = BALL_RADIUS) -> np.ndarray:
    """Analytic views of a red ball at the origin, float32 [4, px, px, 4]."""
    grid = ((np.arange(px) + 0.5) / px * 2 - 1) * np.tan(np.deg2rad(RIG_FOVY_DEG / 2))
    angle = np.arctan(np.hypot(grid[:, None], grid[None, :]))
    alpha = (angle < np.arcsin(radius / 4.0)).astype(np.float32)
    return np.stack([np.stack([alpha * 0.9, alpha * 0.1, alpha * 0.1, alpha], -1)] * 4)
