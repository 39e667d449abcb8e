"""Find the stored example that looks most like the known views, by coarse outlines, and tell whether the object is round.

Colours are brought over afterwards, so they do not count. Where only one axis is known (front or back, right or left), nothing
tells how deep the object is; then the example is taken that agrees best with the other near ones, and if most of those look the
same all round, so does the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..types import VIEW_NAMES

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

THUMBNAIL_PX = 10

NEIGHBOURS, NEIGHBOUR_SPREAD = 15, 0.01
"""Number of nearest examples among which the one most like the others is taken, and the distance at which weights fall."""

ROUND_NEIGHBOURS, ROUND_SPREAD, ROUND_OVERLAP = 5, 0.03, 0.75
"""The same for examples that decide whether the object is round, and the mean overlap that their front and side need."""

ROUND_SYMMETRY = 0.9
"""Least overlap of a round object's outline with its mirror image."""


@dataclass(frozen=True)
class Lookalike:
    """Result of `choose`.

    Attributes:
        index: Index of the example.
        is_round: Whether the object seems to look the same from all sides.
    """

    index: int
    is_round: bool


def outline_distances(thumbnails: UInt8Array, known: Mapping[str, UInt8Array]) -> FloatArray:
    """Distances of the examples' outlines from the known ones, float32 [N], 0 if equal and 1 if disjoint.

    Args:
        thumbnails: uint8 [N, 4, THUMBNAIL_PX, THUMBNAIL_PX, 4].
        known: uint8 [S, S, 4] each, straight alpha, keyed by a name of `VIEW_NAMES`; at least one.
    """
    seen = np.stack([thumbnail(view)[..., 3] for view in known.values()]).astype(np.float32) / 255
    stored = thumbnails[..., 3][:, [VIEW_NAMES.index(name) for name in known]].astype(np.float32) / 255
    covered = np.maximum(seen, stored)
    distances = (np.abs(seen - stored) * covered).sum((1, 2, 3)) / covered.sum((1, 2, 3)).clip(1e-6)
    return distances.astype(np.float32)


def choose(thumbnails: UInt8Array, known: Mapping[str, UInt8Array], ranked: FloatArray, close: float, seed: int) -> Lookalike:
    """Choose the example to start from.

    Args:
        thumbnails, known: As `outline_distances`.
        ranked: float32 [N]; lower is better.
        close: Examples within this distance of the best one are equivalent.
        seed: 0 takes the one most like the others; other seeds choose among the close ones.
    """
    order = ranked.argsort(kind="stable")
    columns = [VIEW_NAMES.index(name) for name in known]
    outlines = thumbnails[..., 3].astype(np.float32) / np.float32(255)
    one_axis = len({column % 2 for column in columns}) == 1
    is_round = one_axis and _is_round(outlines, known, ranked, order, columns[0])
    if is_round:  # whose own colours all round say what to expect
        overlaps = _overlap(outlines[order[:ROUND_NEIGHBOURS], columns[0]], outlines[order[:ROUND_NEIGHBOURS], columns[0] - 3])
        order = np.concatenate([order[:ROUND_NEIGHBOURS][overlaps >= ROUND_OVERLAP], order])
    if seed:
        among = order[ranked[order] <= ranked[order].min() + close]
        return Lookalike(int(among[np.random.default_rng(seed).integers(len(among))]), is_round)
    if is_round or not one_axis:
        return Lookalike(int(order[0]), is_round)
    near = order[:NEIGHBOURS]
    near = near[ranked[near] <= ranked[near[0]] + close]
    weights = np.exp(-(ranked[near] - ranked[near[0]]) / NEIGHBOUR_SPREAD)
    unknown = outlines[near][:, [column for column in range(len(VIEW_NAMES)) if column % 2 != columns[0] % 2]]
    usual = np.average(unknown, axis=0, weights=weights)
    return Lookalike(int(near[np.abs(unknown - usual).mean((1, 2, 3)).argmin()]), is_round)


def thumbnail(view: UInt8Array) -> UInt8Array:
    """A view [S, S, 4] from afar, premultiplied, uint8 [THUMBNAIL_PX, THUMBNAIL_PX, 4]."""
    alpha = view[..., 3:].astype(np.uint16)
    premultiplied = np.concatenate([(view[..., :3] * alpha // 255).astype(np.uint8), view[..., 3:]], -1)
    bands = [Image.fromarray(premultiplied[..., band]) for band in range(4)]  # bands alone: Pillow would premultiply once more
    return np.stack([np.asarray(band.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)) for band in bands], -1)


def _is_round(
    outlines: FloatArray, known: Mapping[str, UInt8Array], ranked: FloatArray, order: npt.NDArray[np.int64], column: int
) -> bool:
    """Whether the known outlines are symmetric and the nearest examples look alike from the known side and from the next."""
    for view in known.values():
        outline = thumbnail(view)[None, ..., 3].astype(np.float32)
        if _overlap(outline, outline[..., ::-1])[0] < ROUND_SYMMETRY:
            return False
    near = order[:ROUND_NEIGHBOURS]
    weights = np.exp(-(ranked[near] - ranked[near[0]]) / ROUND_SPREAD)
    return bool(np.average(_overlap(outlines[near, column], outlines[near, column - 3]), weights=weights) > ROUND_OVERLAP)


def _overlap(one: FloatArray, other: FloatArray) -> FloatArray:
    """Intersection over union of outlines [N, h, w] in 0..1, float32 [N]."""
    overlap: FloatArray = np.minimum(one, other).sum((1, 2)) / np.maximum(one, other).sum((1, 2)).clip(1e-6)
    return overlap
