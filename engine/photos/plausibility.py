"""Warnings about photos that cannot be right: an inverted mask, two objects, a picture used twice, other heights, and so on.

Each check is one number of a set of photos and the limit beyond which it is worth a sentence. `benchmarks/photo_checks.py`
measures both, on good sets and on sets with one fault; the figures are in the model card.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import cv2
import numpy as np
import numpy.typing as npt

from ..cameras import CANONICAL_RIG, Rig
from ..types import VIEW_NAMES
from .coherence import coherence

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_PX = 256
INVERTED, SHEER, HOLES, SHEET, SECOND, STRANGERS, INCOHERENT = 0.9, 0.3, 0.15, 0.12, 0.25, 0.7, 0.2
"""Limits of the numbers of the same names."""
COHERENT = 0.06
"""An "incoherent" below which views agree."""
_CONTRADICTION = (
    "The outlines contradict each other: check that each photo is in its place, and that all were taken from one height."
)


def check_plausibility(
    photos: Mapping[str, UInt8Array],
    cutouts: Mapping[str, UInt8Array],
    framed: Mapping[str, UInt8Array],
    rig: Rig = CANONICAL_RIG,
) -> list[str]:
    """Warnings about photos that cannot be right.

    Args:
        photos: uint8 [H, W, 4] as loaded, keyed by view.
        cutouts: uint8 [H, W, 4] of the same photos, straight alpha.
        framed: uint8 [N, N, 4], the cut-outs framed.
        rig: The cameras they were framed for.

    Returns:
        Sentences; empty if the photos may be right.
    """
    each = {name: photo_numbers(photos[name], cutouts[name]) for name in framed}
    whole = set_numbers(framed, rig) if len(framed) == len(VIEW_NAMES) else {"strangers": 0.0, "incoherent": 0.0}
    if len(framed) == len(VIEW_NAMES) and whole["incoherent"] < COHERENT:  # loose parts, which the other views confirm
        each = {name: {**numbers, "sheet": 0.0} for name, numbers in each.items()}
    found = [sentence for name, numbers in each.items() for sentence in _about_photo(name, numbers)]
    in_two = [name for name, numbers in each.items() if numbers["second"] > SECOND]
    if found:
        return found
    if whole["strangers"] > STRANGERS and whole["incoherent"] > COHERENT:
        return ["The photos seem to show different objects: use photos of one object from its four sides."]
    if whole["incoherent"] > INCOHERENT and in_two:
        return [f"The {in_two[0]} photo seems to show two objects: remove one, or use photos of one object alone."]
    if whole["incoherent"] > INCOHERENT:
        return [_CONTRADICTION]
    return []


def _about_photo(name: str, numbers: Mapping[str, float]) -> list[str]:
    if numbers["inverted"] > INVERTED:
        return [f"The transparency of the {name} photo seems to be inverted: the background is kept; invert its alpha."]
    if numbers["sheer"] > SHEER:
        return [f"The object in the {name} photo is half transparent: make it opaque, and only the background transparent."]
    if numbers["sheet"] > SHEET:
        return [f"The {name} photo seems to hold several views: cut it up, and choose one picture for each side."]
    if numbers["holes"] > HOLES:
        return [f"The cut-out of the {name} photo is full of holes: cut it out again, or choose another cut-out method."]
    return []


def photo_numbers(photo: UInt8Array, cutout: UInt8Array) -> dict[str, float]:
    """The numbers of one photo, uint8 [H, W, 4], and its cut-out: the larger, the less it can be right.

    "inverted": opaque share of the photo's border if all that is transparent is enclosed. "second", "sheet": area of the second
    and of the fourth largest part against the largest. "sheer": how transparent the most opaque tenth is. "holes": share of the
    outline's inside that small holes take.
    """
    scale = min(1.0, _PX / max(photo.shape[:2]))
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    mask = cv2.resize(np.ascontiguousarray(cutout[..., 3]), size, interpolation=cv2.INTER_AREA) >= 128
    outside = _connected_to_border(~mask)
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    clear, enclosed = (~mask).sum(), (~mask & ~outside).sum()
    areas = _part_areas(mask)
    shown = photo[..., 3][photo[..., 3] > 8]
    return {
        "inverted": float(border.mean()) if clear > 0.02 * mask.size and enclosed > 0.9 * clear else 0.0,
        "second": areas[1] / areas[0] if areas[0] else 0.0,
        "sheet": areas[3] / areas[0] if areas[0] else 0.0,
        "sheer": 1 - float(np.percentile(shown, 90)) / 255 if len(shown) else 0.0,
        "holes": _hole_share(mask, outside),
    }


def set_numbers(framed: Mapping[str, UInt8Array], rig: Rig = CANONICAL_RIG) -> dict[str, float]:
    """The numbers of framed views, uint8 [N, N, 4], of which there are at least two.

    "strangers": distance of the palettes of the two most different, 0..1. "incoherent": share of the worst silhouette that the
    others contradict.
    """
    palettes = [_palette(view) for view in framed.values()]
    fit = coherence({name: view[..., 3] for name, view in framed.items()}, rig)
    return {
        "strangers": max(float(np.abs(one - other).sum()) / 2 for one, other in combinations(palettes, 2)),
        "incoherent": 1 - min(fit.values()),
    }


def _connected_to_border(mask: BoolArray) -> BoolArray:
    padded = np.pad(mask, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(padded, connectivity=4)
    return np.asarray(labels == labels[0, 0])[1:-1, 1:-1]


def _part_areas(mask: BoolArray) -> list[float]:
    """Areas of the parts, largest first, at least four numbers; gaps of a few pixels join."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    areas = sorted((float(area) for area in stats[1:, cv2.CC_STAT_AREA]), reverse=True)
    return [*areas, 0.0, 0.0, 0.0, 0.0]


def _hole_share(mask: BoolArray, outside: BoolArray) -> float:
    """Share of the inside that is lost in holes that a closing by a few pixels would fill."""
    filled = ~outside
    inner = cv2.erode(filled.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    if inner.sum() < 50:
        return 0.0
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)) > 0
    return float((closed & ~mask & inner).sum() / inner.sum())


def _palette(view: UInt8Array) -> Float32Array:
    """Smoothed histogram of the subject's Lab colours, summing to 1."""
    pixels = view[view[..., 3] >= 200][:, :3]
    if len(pixels) == 0:
        return np.zeros(12**3, np.float32)
    lab = cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    # Lightness depends on the lamp: it counts half.
    bins = np.stack([lab[:, 0] / 25, lab[:, 1] / 12 + 6, lab[:, 2] / 12 + 6], -1).clip(0, 11).astype(int)
    counts = np.zeros((12, 12, 12), np.float32)
    np.add.at(counts, tuple(bins.T), 1)
    for axis in range(3):
        counts = ((2 * counts + np.roll(counts, 1, axis) + np.roll(counts, -1, axis)) / 4).astype(np.float32)
    return np.asarray(counts.ravel() / counts.sum(), np.float32)
