"""sRGB and linear light, and images with alpha on white."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


class Arithmetic(Protocol):
    """The operators that NumPy arrays and torch tensors share."""

    def __add__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...


ArrayT = TypeVar("ArrayT", bound=Arithmetic)
"""A NumPy array or a torch tensor."""


def srgb_to_linear(srgb: Floats) -> Floats:
    """Linear light of sRGB values, both 0..1; float64 stays float64, all else becomes float32."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.result_type(srgb.dtype, np.float32))


def linear_to_srgb(linear: Floats) -> Floats:
    """sRGB values of linear light, clipped to 0..1; float64 stays float64, all else becomes float32."""
    clipped = np.clip(linear, 0, 1)
    srgb = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return srgb.astype(np.result_type(linear.dtype, np.float32))


def over_white(colour: ArrayT, alpha: ArrayT) -> ArrayT:
    """Straight colour over white, 0..1; the two broadcast against each other."""
    mixed: ArrayT = colour * alpha + (1 - alpha)
    return mixed


def on_white(rgba: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Straight-alpha images [..., 4], uint8 or float in 0..1, on white: float32 [..., 3] in 0..1."""
    image: npt.NDArray[np.float32] = rgba.astype(np.float32) / np.float32(255 if rgba.dtype == np.uint8 else 1)
    return over_white(image[..., :3], image[..., 3:])


def bytes_on_white(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Straight-alpha images uint8 [..., 4] on white, uint8 [..., 3], rounded to the nearest step."""
    alpha = rgba[..., 3:].astype(np.uint16)
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
