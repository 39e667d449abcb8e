"""Cut the subject out of a photo by its alpha, by BiRefNet if present, by an even background, or by the starter's network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import PhotoError, WeightsError
from ..imaging.colour import bytes_on_white
from .birefnet import find_birefnet, segment_birefnet
from .edges import soft_cut
from .plain import PlainCut, segment_plain
from .starter_cutout import StarterCut, find_starter_cutout, segment_starter

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

METHODS = ("auto", "alpha", "plain", "birefnet")
SURE = 0.8
"""Confidence of the starter's network above which its cut-outs are used as they are."""
EVEN_SPREAD = 1.0
"""Spread of border colours around a smooth field, CIE Lab units, below which a background is even: paper, a painted wall, a
backdrop. Pixels that differ from an even field are the subject; above it, as with a wooden table, the network does better."""
UNSURE = 0.7
"""Confidence of the starter's network below which a plain background that is not quite even is trusted nevertheless."""


@dataclass(frozen=True)
class Cutout:
    """A subject cut out of its photo.

    Attributes:
        rgba: uint8 [H, W, 4], straight alpha.
        method: The method used: "alpha", "birefnet", "plain" or "starter".
        border_spread: For "plain" and "starter", distance of the background from a smooth colour field, Lab units; else 0.
        is_plain: False if the cut-out is a guess because the background was too busy for the method: not plain for "plain", or a
            confidence below `SURE` for "starter".
        note: A sentence for the artist if another method had to stand in; else "".
        confidence: For "starter": the overlap with the truth (intersection over union) that the network expects; else 1.
    """

    rgba: UInt8Array
    method: str
    border_spread: float = 0.0
    is_plain: bool = True
    note: str = ""
    confidence: float = 1.0


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
    """Cut the subject out, and report the method.

    Args:
        rgba: uint8 [H, W, 4], straight alpha.
        method: One of `METHODS`. "auto": the photo's alpha if it means something, else BiRefNet if its weights are on this
            machine, else the plain-background method if the background is even, else the starter's network.
        name: Name of this photo in error messages.

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
    rgb = bytes_on_white(rgba)
    if method == "plain":
        return _plain(rgb, segment_plain(rgb))
    folder = find_birefnet()
    if folder is None:
        if method == "auto":
            return _offline(rgb)
        raise WeightsError("The BiRefNet weights are not on this machine: choose the automatic or the plain cut-out.")
    try:
        return _birefnet(rgb, folder)
    except WeightsError as error:
        if method == "birefnet":
            raise
        stand_in = _offline(rgb)
        used = "plain" if stand_in.method == "plain" else "starter's"
        return replace(stand_in, note=stand_in.note or f"The {used} cut-out was used: {error}")


def _offline(rgb: UInt8Array) -> Cutout:
    """The plain-background method where the background is even, else the starter's network if it finds something."""
    folder = find_starter_cutout()
    plain = segment_plain(rgb, guess=folder is None)
    trusted = plain.is_plain and not _is_implausible(plain.mask)
    if folder is None or (trusted and plain.border_spread <= EVEN_SPREAD):
        return _plain(rgb, plain)
    try:
        found = segment_starter(rgb, folder)
    except WeightsError as error:
        return replace(_plain(rgb, plain if plain.is_plain else segment_plain(rgb)), note=f"The plain cut-out was used: {error}")
    if trusted and found.confidence < UNSURE:
        return _plain(rgb, plain)
    if plain.is_plain and (found.confidence == 0 or (found.confidence < SURE and _is_implausible(found.mask))):
        return _plain(rgb, plain)
    return _starter(rgb, found, plain.border_spread)


def _is_implausible(mask: BoolArray) -> bool:
    """Whether a mask [h, w] is nearly nothing (but not nothing), nearly everything, or runs out on three sides of the photo."""
    share = float(mask.mean())
    sides = sum(float(line.mean()) > 0.1 for line in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return 0 < share < 0.004 or share > 0.8 or sides >= 3


def _birefnet(rgb: UInt8Array, folder: Path) -> Cutout:
    return Cutout(soft_cut(rgb, segment_birefnet(rgb, folder)), "birefnet")


def _plain(rgb: UInt8Array, found: PlainCut) -> Cutout:
    return Cutout(soft_cut(rgb, found.mask.astype(np.float32)), "plain", found.border_spread, found.is_plain)


def _starter(rgb: UInt8Array, found: StarterCut, border_spread: float) -> Cutout:
    coverage = soft_cut(rgb, found.mask.astype(np.float32))
    return Cutout(coverage, "starter", border_spread, found.confidence >= SURE, confidence=found.confidence)
