"""Convert views (arrays) to images as the autoencoder reads them (on white, -1..1, with or without alpha), and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import InvalidRequestError
from ..imaging.colour import over_white
from ..types import VIEW_NAMES
from .grid import grid_to_views, views_to_grid

UInt8Array = npt.NDArray[np.uint8]

KEPT_COLOUR, KEPT_ALPHA = 0.06, 0.3
"""Changes of an image in -1..1 up to these are the autoencoder's and the denoiser's noise rather than painting."""

ALPHA_MARGIN = 0.02
"""Painted alpha this close to 0 or 1 is taken to mean 0 or 1."""


@dataclass(frozen=True)
class KnownLatents:
    """The known cells as the denoiser reads them.

    Attributes:
        latents: float32 [1, C, h, h]: scaled latents of the known cells, zero in the cells to paint.
        mask: float32 [1, 1, h, h]: 1 = to paint, 0 = known; constant on each cell.
    """

    latents: Tensor
    mask: Tensor

    @property
    def is_empty(self) -> bool:
        """Whether no view is known."""
        return bool((self.mask == 1).all())


def check_views(known_views: Mapping[str, UInt8Array], view_px: int) -> None:
    """Raise `InvalidRequestError`, in one sentence, if these cannot be the known views of a model of `view_px` pixels a view."""
    for name, view in known_views.items():
        if name not in VIEW_NAMES:
            raise InvalidRequestError(f"Unknown view {name!r}: use front, right, back and left.")
        if not isinstance(view, np.ndarray) or view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 4:
            raise InvalidRequestError(f"The {name} view must be an RGBA image with 8 bits a channel.")
        if view.shape[:2] != (view_px, view_px):
            raise InvalidRequestError(
                f"The {name} view is {view.shape[1]} x {view.shape[0]} px: this model needs views of {view_px} x {view_px} px."
            )
    if len(known_views) == len(VIEW_NAMES):
        raise InvalidRequestError("All four views are given, so there is nothing to paint: leave out at least one.")


def check_start_views(views: UInt8Array, view_px: int) -> None:
    """Raise `InvalidRequestError`, in one sentence, if painting cannot begin from these."""
    if not isinstance(views, np.ndarray) or views.dtype != np.uint8 or views.shape != (len(VIEW_NAMES), view_px, view_px, 4):
        raise InvalidRequestError(f"To start from earlier views, give four RGBA images of {view_px} x {view_px} px.")


def views_to_image(views: UInt8Array, channels: int) -> Tensor:
    """The grid as the autoencoder reads it.

    Args:
        views: uint8 [4, S, S, 4], straight alpha.
        channels: 3 for colour on white, 4 for colour on white and alpha.

    Returns:
        float32 [1, channels, 2S, 2S] in -1..1.
    """
    rgba = torch.from_numpy(np.array(views)).permute(0, 3, 1, 2).float() / 255  # [4, 4, S, S]
    alpha = rgba[:, 3:]
    image = torch.cat([over_white(rgba[:, :3], alpha), alpha], 1)[:, :channels]
    return (views_to_grid(image) * 2 - 1)[None]


def image_to_views(image: Tensor) -> UInt8Array:
    """The four views of a decoded grid.

    Of an image with alpha, the white it was composed on is taken out of the colours again; of one without, the engine's plain
    cut-out makes the alpha.

    Args:
        image: float [1, 3 or 4, 2S, 2S], about -1..1.

    Returns:
        uint8 [4, S, S, 4], straight alpha.
    """
    views = grid_to_views(image[0].detach().float().cpu() / 2 + 0.5).clamp(0, 1)  # [4, C, S, S]
    if views.shape[1] == 4:
        alpha = ((views[:, 3:] - ALPHA_MARGIN) / (1 - 2 * ALPHA_MARGIN)).clamp(0, 1)
        colour = ((views[:, :3] - (1 - alpha)) / alpha.clamp(min=1 / 255)).clamp(0, 1)
        return _as_bytes(torch.cat([torch.where(alpha > 0, colour, torch.ones_like(colour)), alpha], 1))
    from ..photos.cutout import cut_out

    opaque = _as_bytes(torch.cat([views, torch.ones_like(views[:, :1])], 1))
    return np.stack([cut_out(view, "plain") for view in opaque])


def keep_detail(start: Tensor, through: Tensor, painted: Tensor) -> Tensor:
    """A start image with what painting has changed in it, and without what the autoencoder alone does to it.

    Small changes are dropped and others made smaller by as much (soft thresholding, Donoho 1995): even surfaces stay even.

    Args:
        start: float32 [1, 3 or 4, H, H] in -1..1.
        through: The start image, encoded and decoded; the same shape.
        painted: The painted latents, decoded; the same shape.

    Returns:
        float32 of the same shape.
    """
    least = torch.full((1, start.shape[1], 1, 1), KEPT_COLOUR)
    least[:, 3:] = KEPT_ALPHA
    change = painted - through
    return start + change.sign() * (change.abs() - least.to(change)).clamp(min=0)


def _as_bytes(views: Tensor) -> UInt8Array:
    """float [4, 4, S, S] in 0..1 -> uint8 [4, S, S, 4]."""
    return (views * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
