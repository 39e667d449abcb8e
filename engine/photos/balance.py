"""One white balance and one exposure for the photos of one object, estimated from its surroundings.

A plain background has one colour. If it could be white or grey paper under some lamp, it is assumed to be, and the lamp's tint is
removed from every photo. If it has a colour of its own, the photos are only matched to each other. Nothing changes if the
backgrounds are busy, differ in more than their lamp, or are already close to neutral, or if the object's colours contradict the
change.

Grey pixels as witnesses of the lamp: Yang et al. 2015, Efficient Illuminant Estimation for Color Constancy Using Grey Pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..imaging.colour import linear_to_srgb, srgb_to_linear

UInt8Array = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_PX = 128  # longest side at which colours are measured
_EVEN = 0.12  # median distance of a plain background's log chroma from its median
_CLEAR = 0.12  # log chroma by which a photo must be off before anything is done: 12 % in one channel against another
_CLEAR_EXPOSURE = 0.15
_TINTED = 0.3  # log chroma above which a background is more likely paper under a warm or cold lamp than a beige wall
_TINT = 0.2  # how far from the black body's curve a lamp may be, log chroma
_FEW = 60  # fewer pixels of an object say nothing about its colours
_GREY = 0.08  # log chroma of what counts as grey on the object
# Log of red and of blue against green, of white paper under black bodies of 2,200, 2,500, 2,800, 3,200, 3,600, 4,100, 4,700,
# 5,400, 6,500, 8,000, 10,000 and 14,000 K to a camera set to 6,500 K; Kim et al. 2002.
_LAMPS = np.array([
    [1.131, -2.421], [0.926, -1.751], [0.767, -1.369], [0.602, -1.029], [0.473, -0.787], [0.344, -0.560], [0.224, -0.361],
    [0.118, -0.190], [0.0, 0.0], [-0.104, 0.170], [-0.189, 0.313], [-0.278, 0.467],
])  # fmt: skip
_ACROSS = np.array([0.90, 0.43])  # roughly perpendicular to the curve of lamps


@dataclass(frozen=True)
class Surround:
    """Statistics of a photo's surroundings: medians of log red and blue against green [2] and of log luminance, and the median
    distances from these."""

    chroma: Float64Array
    luminance: float
    spread: float
    luminance_spread: float


def balance_photos(photos: Mapping[str, UInt8Array], cutouts: Mapping[str, UInt8Array]) -> dict[str, UInt8Array]:
    """The cut-outs with the tints and exposures of their photos equalised, if the backgrounds reveal them.

    Args:
        photos: uint8 [H, W, 4] as loaded, keyed by view.
        cutouts: uint8 [H, W, 4], straight alpha, of the same photos.

    Returns:
        uint8 [H, W, 4] of each; unchanged where nothing is clearly wrong.
    """
    gains = white_balance_gains(photos, cutouts)
    return {name: cutout if gains is None else _multiplied(cutout, gains[name]) for name, cutout in cutouts.items()}


def white_balance_gains(photos: Mapping[str, UInt8Array], cutouts: Mapping[str, UInt8Array]) -> dict[str, Float64Array] | None:
    """Gains of each photo's linear red, green and blue; None if no photo needs correction."""
    surrounds = [_surround(photos[name], cutout) for name, cutout in cutouts.items()]
    found = [surround for surround in surrounds if surround is not None and surround.spread < _EVEN]
    if not found or len(found) < len(surrounds):
        return None
    subjects = [_chroma(_subject(cutout)) for cutout in cutouts.values()]
    chroma = np.stack([surround.chroma for surround in found])  # [n, 2]
    shift = np.zeros_like(chroma)
    tinted = np.linalg.norm(chroma, axis=1).max() > _TINTED
    if tinted and (_off_lamps(chroma) < _TINT).all() and _more_grey(subjects, -chroma):
        shift = -chroma
    elif (np.abs((chroma - chroma.mean(0)) @ _ACROSS) < _TINT).all():
        shift = chroma.mean(0) - chroma
    if np.linalg.norm(shift, axis=1).max() < _CLEAR or _agreement(subjects, shift) < _agreement(subjects, 0 * shift) - 0.05:
        shift = np.zeros_like(chroma)
    same_place = np.linalg.norm(chroma + shift - (chroma + shift).mean(0), axis=1).max() < _CLEAR
    luminance = np.array([surround.luminance for surround in found])
    same_place &= max(surround.luminance_spread for surround in found) < _CLEAR_EXPOSURE / 2
    exposure = np.median(luminance) - luminance if same_place and np.ptp(luminance) > _CLEAR_EXPOSURE else 0 * luminance
    if not shift.any() and not exposure.any():
        return None
    return {name: _gains(c, s, float(e)) for name, c, s, e in zip(cutouts, chroma, shift, exposure, strict=True)}


def _gains(chroma: Float64Array, shift: Float64Array, exposure: float) -> Float64Array:
    """Factors [3] that move a background's log chroma by `shift` and its log luminance by `exposure`."""
    before, gains = (np.exp(np.array([red, 0.0, blue])) for red, blue in (chroma, shift))
    return np.asarray(gains * (before @ _LUMINANCE) / (before * gains @ _LUMINANCE) * np.exp(exposure))


def _multiplied(rgba: UInt8Array, gains: Float64Array) -> UInt8Array:
    """A cut-out in other light."""
    levels = _linear(np.arange(256, dtype=np.uint8)) * gains[:, None]  # [3, 256]
    table = (linear_to_srgb(levels) * 255 + 0.5).astype(np.uint8)
    return np.dstack([*(table[channel][rgba[..., channel]] for channel in range(3)), rgba[..., 3]])


def _surround(photo: UInt8Array, cutout: UInt8Array) -> Surround | None:
    """The background of an opaque photo; None if there is too little of it, or too dark, to tell."""
    if photo[..., 3].min() < 255:
        return None
    scale = min(1.0, _PX / max(photo.shape[:2]))
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    rgb = cv2.resize(np.ascontiguousarray(photo[..., :3]), size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(np.ascontiguousarray(cutout[..., 3]), size, interpolation=cv2.INTER_AREA)
    clear = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    pixels = _linear(rgb[clear])
    if len(pixels) < 0.05 * alpha.size or np.median(pixels.max(1)) < 0.01:
        return None
    chroma = _chroma(pixels)
    middle = np.median(chroma, axis=0)
    luminance = np.log(np.maximum(pixels @ _LUMINANCE, 1e-3))
    spread = float(np.median(np.linalg.norm(chroma - middle, axis=1)))
    level = float(np.median(luminance))
    return Surround(middle, level, spread, float(np.median(np.abs(luminance - level))))


def _subject(cutout: UInt8Array) -> Float64Array:
    """Linear colours [N, 3] of the object that are not too dark, and clipped in no channel; at most some thousands."""
    step = max(1, max(cutout.shape[:2]) // _PX)
    small = cutout[::step, ::step]
    pixels = small[small[..., 3] > 250][:, :3]
    return _linear(pixels[(pixels.max(1) > 40) & (pixels.max(1) < 254) & (pixels.min(1) > 12)])


def _linear(srgb: UInt8Array) -> Float64Array:
    return np.asarray(srgb_to_linear(srgb.astype(np.float64) / 255), np.float64)


def _chroma(linear: Float64Array) -> Float64Array:
    """Log of red and of blue against green, [N, 2]."""
    log = np.log(np.maximum(linear, 2e-3))
    return np.asarray(log[:, [0, 2]] - log[:, 1:2])


def _off_lamps(chroma: Float64Array) -> Float64Array:
    """Distance [n] of log chroma [n, 2] from the curve of lamps."""
    start, end = _LAMPS[:-1], _LAMPS[1:]
    along = end - start
    share = (((chroma[:, None] - start) * along).sum(-1) / (along**2).sum(-1)).clip(0, 1)  # [n, segments]
    nearest = start + share[..., None] * along
    return np.asarray(np.linalg.norm(chroma[:, None] - nearest, axis=-1).min(1))


def _more_grey(subjects: list[Float64Array], shift: Float64Array) -> bool:
    """Whether the objects' colours allow the shift: it does not turn grey things, which are the commonest, into tinted ones."""
    if min(map(len, subjects)) < _FEW:
        return True
    before = np.mean([(np.linalg.norm(s, axis=1) < _GREY).mean() for s in subjects])
    after = np.mean([(np.linalg.norm(s + move, axis=1) < _GREY).mean() for s, move in zip(subjects, shift, strict=True)])
    return bool(before <= 2 * after + 0.03)


def _agreement(subjects: list[Float64Array], shift: Float64Array) -> float:
    """Similarity of the objects' palettes after the shift: mean correlation of smoothed histograms of log chroma, 0..1."""
    if len(subjects) < 2 or min(map(len, subjects)) < _FEW:
        return 1.0
    edges = np.linspace(-3, 3, 76)
    histograms = []
    for subject, move in zip(subjects, shift, strict=True):
        across, along = (subject + move).clip(-2.99, 2.99).T
        counts = np.histogram2d(across, along, bins=(edges, edges))[0]
        smooth = cv2.GaussianBlur(counts, (0, 0), 1.5).ravel()
        histograms.append(smooth / max(float(np.linalg.norm(smooth)), 1e-9))
    pairs = np.stack(histograms) @ np.stack(histograms).T
    return float(pairs[np.triu_indices(len(histograms), 1)].mean())
