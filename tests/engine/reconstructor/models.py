"""A tiny reconstructor's sizes, and views of a ball to show it."""

from __future__ import annotations

import numpy as np
import torch
from tetraview.engine.cameras import RIG_FOVY_DEG

TINY = {"input_px": 32, "patch_px": 2, "channels": (8, 16), "attention_px": 8, "head_dim": 8, "plane_channels": 8, "plane_px": 16,
        "shallow_channels": 4, "hidden": 16}  # fmt: skip
BALL_RADIUS = 0.6


def ball_views(px: int = 32, radius: float = BALL_RADIUS) -> torch.Tensor:
    """Analytic views of a red ball at the origin, [4, 4, px, px]."""
    grid = ((torch.arange(px) + 0.5) / px * 2 - 1) * np.tan(np.deg2rad(RIG_FOVY_DEG / 2))
    angle = torch.atan(torch.hypot(grid[:, None], grid[None, :]))
    alpha = (angle < np.arcsin(radius / 4.0)).float()
    image = torch.stack([alpha * 0.9, alpha * 0.1, alpha * 0.1, alpha])
    return image.expand(4, -1, -1, -1).clone()
