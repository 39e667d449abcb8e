"""sRGB and linear light."""

from __future__ import annotations

import numpy as np

from ..cameras import FloatArray


def srgb_to_linear(srgb: FloatArray) -> FloatArray:
    """Linear light of sRGB values, both 0..1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(linear: FloatArray) -> FloatArray:
    """sRGB of linear light, clipped to 0..1."""
    clipped = np.clip(linear, 0, 1)
    return np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055).astype(np.float32)
