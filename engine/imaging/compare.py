"""Compare an image with the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PSNR_CAP_DB = 60.0
"""PSNR of equal images, and the most any image gets: below a difference of a quarter of an 8-bit step nothing is measured."""


def psnr(image: npt.NDArray[np.floating[Any]], truth: npt.NDArray[np.floating[Any]]) -> float:
    """Peak signal-to-noise ratio in dB, from the mean squared error over all values, at most `PSNR_CAP_DB`.

    Args:
        image, truth: float, 0..1, of one shape: an image [H, W, C] or several.

    Raises:
        ValueError: The shapes differ.
    """
    if image.shape != truth.shape:
        raise ValueError(f"expected images of one shape, got {image.shape} and {truth.shape}")
    error = float(np.mean((image.astype(np.float64) - truth) ** 2))
    return min(PSNR_CAP_DB, float(-10 * np.log10(max(error, 10 ** (-PSNR_CAP_DB / 10)))))
