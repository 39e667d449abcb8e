"""Views as an autoencoder reads and writes them, and rows of views to look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...imaging.colour import bytes_on_white, over_white

UInt8Array = npt.NDArray[np.uint8]


def to_pixels(rgba: UInt8Array, channels: int) -> Tensor:
    """uint8 [..., S, S, 4] of straight alpha to float32 [..., channels, S, S] in -1..1: RGB on white and, if 4, alpha."""
    image = torch.from_numpy(np.array(rgba)).movedim(-1, -3).float() / 255
    colour, alpha = image[..., :3, :, :], image[..., 3:, :, :]
    flat = over_white(colour, alpha)
    return (flat if channels == 3 else torch.cat([flat, alpha], -3)) * 2 - 1


def row_on_white(rgba: UInt8Array) -> UInt8Array:
    """Views uint8 [V, S, S, 4] beside each other on white, uint8 [S, V * S, 3]."""
    return np.concatenate(list(bytes_on_white(rgba)), 1)
