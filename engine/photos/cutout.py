"""Cut the subject out of a photo: by its own alpha, by BiRefNet if it is present, else by its plain background."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import PhotoError, WeightsError
from .birefnet import find_birefnet, segment_birefnet
from .edges import soft_cut
from .plain import segment_plain

UInt8Array = npt.NDArray[np.uint8]

METHODS = ("auto", "alpha", "plain", "birefnet")


@dataclass(frozen=True)
class Cutout:
    """A subject cut out of its photo.

    Attributes:
        rgba: uint8 [H, W, 4], straight alpha.
        method: "alpha", "birefnet" or "plain": what was used.
        border_spread: For "plain": how far the background is from a smooth colour field, Lab units; else 0.
        is_plain: For "plain": whether the background model could be trusted; else True.
        note: A sentence for the artist if another method had to stand in; else "".
    """

    rgba: UInt8Array
    method: str
    border_spread: float = 0.0
    is_plain: bool = True
    note: str = ""


def has_meaningful_alpha(rgba: UInt8Array) -> bool:
    """Whether alpha [H, W] of `rgba` separates a subject: at least 1 % transparent and 0.05 % opaque."""
    alpha = rgba[..., 3]
    return bool((alpha < 128).mean() >= 0.01 and (alpha >= 128).mean() >= 0.0005)


def cut_out(rgba: UInt8Array, method: str = "auto") -> UInt8Array:
    """The subject with a soft alpha and clean edge colours; see `cut_out_with_facts`.

    Returns:
        uint8 [H, W, 4], straight alpha.
    """
    return cut_out_with_facts(rgba, method).rgba


def cut_out_with_facts(rgba: UInt8Array, method: str = "auto", *, name: str = "The photo") -> Cutout:
    """Cut the subject out, and tell how.

    Args:
        rgba: uint8 [H, W, 4], straight alpha.
        method: One of `METHODS`. "auto": the photo's alpha if it means something, else BiRefNet if its weights are on this
            machine, else the plain-background method.
        name: How an error message calls this photo.

    Raises:
        PhotoError: The method cannot be used on this photo.
        WeightsError: "birefnet" was asked for and cannot be loaded.
        ValueError: The array or the method is of another kind.
    """
    if rgba.ndim != 3 or rgba.shape[2] != 4 or rgba.dtype != np.uint8:
        raise ValueError(f"expected uint8 [H, W, 4], got {rgba.dtype} {rgba.shape}")
    if method not in METHODS:
        raise ValueError(f"unknown cut-out method {method!r}: use one of {METHODS}")
    if method in ("auto", "alpha") and has_meaningful_alpha(rgba):
        return Cutout(rgba, "alpha")
    if method == "alpha":
        raise PhotoError(f"{name} has no transparent background: choose another cut-out method, or save it with transparency.")
    rgb = _on_white(rgba)
    if method == "plain":
        return _plain(rgb)
    folder = find_birefnet()
    if folder is None:
        if method == "auto":
            return _plain(rgb)
        raise WeightsError("The BiRefNet weights are not on this machine: choose the automatic or the plain cut-out.")
    try:
        return _birefnet(rgb, folder)
    except WeightsError as error:
        if method == "birefnet":
            raise
        plain = _plain(rgb)
        return Cutout(plain.rgba, "plain", plain.border_spread, plain.is_plain, f"The plain cut-out was used: {error}")


def _birefnet(rgb: UInt8Array, folder: Path) -> Cutout:
    return Cutout(soft_cut(rgb, segment_birefnet(rgb, folder)), "birefnet")


def _plain(rgb: UInt8Array) -> Cutout:
    found = segment_plain(rgb)
    return Cutout(soft_cut(rgb, found.mask.astype(np.float32)), "plain", found.border_spread, found.is_plain)


def _on_white(rgba: UInt8Array) -> UInt8Array:
    alpha = rgba[..., 3:].astype(np.uint16)
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    mixed = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)
