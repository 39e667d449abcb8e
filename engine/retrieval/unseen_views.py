"""The views that no photo shows, from those that one does, and from an example if one truly looks alike.

Geometry says more than any example does: an object seen from behind has its front's outline, mirrored, and its sides have the
front's height, with about the colours that the front has there. An example says how deep the object is, and where
its back differs from its front: a face has none behind. Without one, the outline is inflated.

Colours come over by analogy (Hertzmann et al. 2001, Image Analogies, https://mrl.cs.nyu.edu/publications/image-analogies/): a
place that is coloured in the example as another one of the same height in its front gets what the photo shows there.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from ..cameras import CANONICAL_RIG, Rig
from ..types import VIEW_NAMES
from .colours import nearest_names, to_lab, to_rgb
from .inflation import fill_transparent, inflated_views

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

MAX_STRETCH = 1.6
"""By how much an example may be stretched in height or width."""

HEIGHT_SPREAD, COLOUR_SPREAD = 0.03, 14.0
"""Standard deviations of similarity between two places: in heights of the object, and in Lab units."""

SAMPLES, BLOCK = 1000, 8192
"""Largest number of compared places of the known views, and places of the others per block."""

OWN_DETAIL = 0.5
"""Share of its own detail that an example keeps on top of the photo's colours."""

DIFFERENT, DIFFERENCE_BLUR = 12.0, 0.03
"""Largest difference, Lab units, between an example's back and its mirrored front that still counts as the same, and the blur
before comparing, as a share of the view's side."""

SMOOTHED = 0.05
"""Blur of the photo's colours where the back differs, as a share of the view's side."""

SMALL = 0.09
"""Details smaller than this share of the view's side (eyes, letters) are not repeated on the other sides."""


def unseen_views(
    known: Mapping[str, UInt8Array], example: UInt8Array | None = None, is_round: bool = False, rig: Rig = CANONICAL_RIG
) -> UInt8Array:
    """Work out the views that are not known.

    Args:
        known: uint8 [S, S, 4] each, straight alpha, keyed by a name of `VIEW_NAMES`; at least one that shows something.
        example: uint8 [4, S, S, 4], straight alpha, of an object that looks alike; None if there is none.
        is_round: Whether the object looks the same from all sides; the known views then fill the others.
        rig: The cameras of the known views.

    Returns:
        uint8 [4, S, S, 4]: the known views as they are, and the others.
    """
    fitted = None if example is None else fit(example, known)
    photos = {VIEW_NAMES.index(name): view for name, view in known.items() if (view[..., 3] >= 128).any()}
    result = np.stack([np.zeros_like(next(iter(known.values())))] * len(VIEW_NAMES))
    for name, view in known.items():
        result[VIEW_NAMES.index(name)] = view
    solid: UInt8Array | None = None
    for column in range(len(VIEW_NAMES)):
        opposite = (column + 2) % len(VIEW_NAMES)
        if VIEW_NAMES[column] in known:
            continue
        if opposite in photos and column % 2 == 1:  # one side is the other, mirrored
            result[column] = photos[opposite][:, ::-1]
        elif is_round:
            result[column] = turn_round_object(photos.get(opposite, next(iter(photos.values()))))
        elif fitted is None and opposite in photos:
            result[column] = without_small(np.ascontiguousarray(photos[opposite][:, ::-1]))
        elif fitted is None:
            seen = next(iter(photos))
            solid = solid if solid is not None else inflated_views(photos[seen], without_small(photos[seen]), rig)
            result[column] = solid[(column - seen) % len(VIEW_NAMES)]
        else:
            result[column] = recolour(fitted[column], [fitted[c] for c in photos], list(photos.values()))
            if opposite in photos:
                result[column] = behind(result[column], photos[opposite], fitted[column], fitted[opposite])
    return result


def fit(example: UInt8Array, known: Mapping[str, UInt8Array]) -> UInt8Array:
    """The example's views stretched until their heights, and the widths of those that are known or opposite, are the photos'.

    Args, returns: as `unseen_views`.
    """
    views = example.copy()
    rows = [(_extent(example[VIEW_NAMES.index(name)], 1), _extent(view, 1)) for name, view in known.items()]
    pairs = [(own, aim) for own, aim in rows if own is not None and aim is not None]
    if not pairs:
        return views
    own, aim = np.mean(pairs, 0)
    tall = _stretch(own, aim)
    for column in range(len(VIEW_NAMES)):
        wide = (1.0, 0.0)
        for seen, mirrored in ((column, False), ((column + 2) % len(VIEW_NAMES), True)):
            photo = known.get(VIEW_NAMES[seen])
            across, wanted = _extent(example[column], 0), None if photo is None else _extent(photo, 0)
            if across is not None and wanted is not None:
                side = example.shape[2]
                wide = _stretch(np.array(across), np.array((side - wanted[1], side - wanted[0]) if mirrored else wanted))
                break
        views[column] = _warped(example[column], wide, tall)
    return views


def recolour(view: UInt8Array, fronts: list[UInt8Array], photos: list[UInt8Array]) -> UInt8Array:
    """A view in the photos' colours, by analogy.

    Args:
        view: uint8 [S, S, 4], of the example.
        fronts: The example's views that stand where the photos were taken from, fitted to them.
        photos: uint8 [S, S, 4] each.

    Returns:
        uint8 [S, S, 4]; alpha as it was.
    """
    side = view.shape[0]
    solid = view[..., 3] > 0
    places, theirs, aims = [], [], []
    for front, photo in zip(fronts, photos, strict=True):
        both = (front[..., 3] >= 128) & (photo[..., 3] >= 128)
        places.append(np.nonzero(both)[0] / side)
        theirs.append(to_lab(front[..., :3])[both])
        aims.append(to_lab(photo[..., :3])[both])
    height, their, aim = (np.concatenate(parts).astype(np.float32) for parts in (places, theirs, aims))
    if not len(height) or not solid.any():
        return view
    step = -(-len(height) // SAMPLES)
    height, their, aim = height[step // 2 :: step], their[step // 2 :: step], aim[step // 2 :: step]
    own = to_lab(view[..., :3])[solid]
    keys = np.concatenate([their / COLOUR_SPREAD, height[:, None] / HEIGHT_SPREAD], 1)
    asked = np.concatenate([own / COLOUR_SPREAD, (np.nonzero(solid)[0] / side / HEIGHT_SPREAD).astype(np.float32)[:, None]], 1)
    colours = np.concatenate(
        [_by_analogy(asked[i : i + BLOCK], own[i : i + BLOCK], keys, their, aim) for i in range(0, len(own), BLOCK)]
    )
    lab = to_lab(view[..., :3])
    lab[solid] = colours
    return np.concatenate([to_rgb(lab), view[..., 3:]], -1)


def _by_analogy(asked: FloatArray, own: FloatArray, keys: FloatArray, their: FloatArray, aim: FloatArray) -> FloatArray:
    """Lab colours [P, 3] of places with features [P, D] and own colours, by samples with features [K, D], their colours and the
    photos' [K, 3]."""
    squared = (asked**2).sum(1)[:, None] + (keys**2).sum(1)[None] - 2 * asked @ keys.T  # [P, K]
    weights = np.exp(-0.5 * (squared - squared.min(1, keepdims=True)))
    groups = nearest_names(to_rgb(aim[None]))[0]  # of one name, so that two colours do not run into one another
    shares = weights @ (groups[:, None] == np.unique(groups)).astype(np.float32)
    weights *= np.unique(groups)[shares.argmax(1)][:, None] == groups
    weights /= weights.sum(1, keepdims=True)
    colours: FloatArray = weights @ aim + OWN_DETAIL * (own - weights @ their)
    return colours


def behind(view: UInt8Array, photo: UInt8Array, fitted: UInt8Array, fitted_front: UInt8Array) -> UInt8Array:
    """The view opposite to a photo: its mirrored outline; its mirrored colours without what is small where the example looks the
    same from both sides, and elsewhere the example's.

    Args:
        view: uint8 [S, S, 4], the example's, in the photo's colours.
        photo: uint8 [S, S, 4].
        fitted, fitted_front: uint8 [S, S, 4], the example's view and the opposite one, in its own colours.
    """
    side = view.shape[0]
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    front = np.ascontiguousarray(fitted_front[:, ::-1])
    both = np.minimum(fitted[..., 3], front[..., 3]).astype(np.float32) / 255
    away = np.linalg.norm(to_lab(fitted[..., :3]) - to_lab(front[..., :3]), axis=-1) * both
    away = _blurred(away, DIFFERENCE_BLUR * side) / _blurred(both, DIFFERENCE_BLUR * side).clip(1e-3)
    same = np.exp(-0.5 * (away / DIFFERENT) ** 2)[..., None]
    plain = to_lab(without_small(mirrored)[..., :3])
    lab = plain * same + to_lab(_over(view, mirrored)) * (1 - same)
    return np.concatenate([to_rgb(lab), mirrored[..., 3:]], -1)


def turn_round_object(photo: UInt8Array) -> UInt8Array:
    """Another side of a round object, from a photo [S, S, 4] of it: mirrored, and where that makes a difference, the usual colour
    at that height."""
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    lab, back = to_lab(photo[..., :3]), to_lab(mirrored[..., :3])
    both = np.minimum(photo[..., 3], mirrored[..., 3]).astype(np.float32) / 255
    sigma = DIFFERENCE_BLUR * photo.shape[0]
    away = _blurred(np.linalg.norm(lab - back, axis=-1) * both, sigma) / _blurred(both, sigma).clip(1e-3)
    same = np.exp(-0.5 * (away / DIFFERENT) ** 2)[..., None]
    usual = back.copy()
    for row, solid in enumerate(mirrored[..., 3] >= 128):
        if solid.any():
            usual[row] = np.median(back[row, solid], 0)
    return np.concatenate([to_rgb(same * back + (1 - same) * usual), mirrored[..., 3:]], -1)


def without_small(view: UInt8Array) -> UInt8Array:
    """A view [S, S, 4] without what is small inside its outline; alpha as it was."""
    width = max(3, round(SMALL * view.shape[0]) | 1)
    return np.concatenate([cv2.medianBlur(fill_transparent(view), width), view[..., 3:]], -1)


def _over(view: UInt8Array, photo: UInt8Array) -> UInt8Array:
    """The colours of a view, uint8 [S, S, 3]; where it is transparent, those of the photo, blurred."""
    blurred = _blurred(fill_transparent(photo), SMOOTHED * photo.shape[0])
    alpha = view[..., 3:].astype(np.float32) / 255
    return (view[..., :3] * alpha + blurred * (1 - alpha) + 0.5).astype(np.uint8)


def _extent(view: UInt8Array, axis: int) -> tuple[float, float] | None:
    """First row (axis 1) or column (axis 0) that the object covers, and the one after the last; None if there is none."""
    covered = np.flatnonzero((view[..., 3] >= 128).any(axis))
    return (float(covered[0]), float(covered[-1] + 1)) if len(covered) else None


def _stretch(own: npt.NDArray[np.floating], aim: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Scale and shift that take one extent to another."""
    scale = float(np.clip((aim[1] - aim[0]) / max(own[1] - own[0], 1.0), 1 / MAX_STRETCH, MAX_STRETCH))
    return scale, float((aim[0] + aim[1]) / 2 - scale * (own[0] + own[1]) / 2)


def _warped(view: UInt8Array, wide: tuple[float, float], tall: tuple[float, float]) -> UInt8Array:
    """A view stretched about the corner and shifted, resampled with premultiplied alpha."""
    alpha = view[..., 3:].astype(np.float32) / 255
    premultiplied = np.concatenate([view[..., :3] * alpha, alpha * 255], -1)
    shift = [(s - 1) / 2 + t for s, t in (wide, tall)]  # pixel centres
    matrix = np.array([[wide[0], 0, shift[0]], [0, tall[0], shift[1]]], np.float32)
    moved = cv2.warpAffine(premultiplied, matrix, view.shape[1::-1], flags=cv2.INTER_LINEAR)
    colour = moved[..., :3] * 255 / moved[..., 3:].clip(1)
    return (np.concatenate([colour, moved[..., 3:]], -1).clip(0, 255) + 0.5).astype(np.uint8)


def _blurred(image: npt.NDArray[np.floating] | UInt8Array, sigma: float) -> FloatArray:
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)
