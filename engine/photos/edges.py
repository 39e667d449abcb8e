"""From a hard, small mask to a soft alpha at full size, with the background's colour taken out of the edge pixels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]

REFINE_PX = 1024
"""Longest side at which edges are solved; the framed views are smaller than this."""


def soft_cut(rgb: UInt8Array, coverage: Float32Array) -> UInt8Array:
    """Cut the subject out along a coarse mask.

    In a narrow band around the mask's edge a pixel is taken as a mixture of the subject's and the background's nearby colours,
    solved for the share of each (alpha); where the two are alike, the smoothed mask decides.

    Args:
        rgb: uint8 [H, W, 3].
        coverage: float32 [h, w], 0..1, the mask at any size.

    Returns:
        uint8 [H, W, 4], straight alpha, edge colours free of background; fully transparent pixels keep the photo's colour.
    """
    height, width = rgb.shape[:2]
    result = np.dstack([rgb, np.zeros((height, width), np.uint8)])
    box = _padded_box(coverage > 0.5, height, width)
    if box is None:
        return result
    top, bottom, left, right = box
    crop = rgb[top:bottom, left:right]
    scale = min(1.0, REFINE_PX / max(crop.shape[:2]))
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))  # w, h
    picture = crop if scale == 1.0 else cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    mask, coarseness = _mask_at(coverage, box, (height, width), size)
    alpha, colour = _unmix(picture.astype(np.float32), mask, coarseness)
    if scale != 1.0:
        full = (crop.shape[1], crop.shape[0])
        alpha = cv2.resize(alpha, full, interpolation=cv2.INTER_LINEAR)
        colour = cv2.resize(colour, full, interpolation=cv2.INTER_LINEAR)
    edge = ((alpha > 0) & (alpha < 0.996))[..., None]
    result[top:bottom, left:right, :3] = np.where(edge, np.clip(colour + 0.5, 0, 255), crop).astype(np.uint8)
    result[top:bottom, left:right, 3] = np.clip(alpha * 255 + 0.5, 0, 255).astype(np.uint8)
    return result


def _padded_box(mask: npt.NDArray[np.bool_], height: int, width: int) -> tuple[int, int, int, int] | None:
    """top, bottom, left, right in pixels of the full photo, with a margin for the soft edge."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    scale_y, scale_x = height / mask.shape[0], width / mask.shape[1]
    top, bottom = int((rows[0] - 4) * scale_y), int((rows[-1] + 5) * scale_y) + 1
    left, right = int((columns[0] - 4) * scale_x), int((columns[-1] + 5) * scale_x) + 1
    return max(0, top), min(height, bottom), max(0, left), min(width, right)


def _mask_at(
    coverage: Float32Array, box: tuple[int, int, int, int], photo: tuple[int, int], size: tuple[int, int]
) -> tuple[Float32Array, float]:
    """The part `box` of the mask resampled to `size` (w, h), smooth, and how many of its pixels one mask pixel covers."""
    top, bottom, left, right = box
    scale_y, scale_x = coverage.shape[0] / photo[0], coverage.shape[1] / photo[1]
    step_y, step_x = (bottom - top) * scale_y / size[1], (right - left) * scale_x / size[0]
    affine = np.array(  # from a pixel centre of the result to one of the mask
        [[step_x, 0, left * scale_x + step_x / 2 - 0.5], [0, step_y, top * scale_y + step_y / 2 - 0.5]], np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    mask = cv2.warpAffine(coverage, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    coarseness = max(1.0, 1 / step_x)
    return cv2.GaussianBlur(mask, (0, 0), 0.6 * coarseness, borderType=cv2.BORDER_REPLICATE), coarseness


def _unmix(picture: Float32Array, mask: Float32Array, coarseness: float) -> tuple[Float32Array, Float32Array]:
    """Alpha [h, w] in 0..1 and the subject's own colour [h, w, 3] in 0..255."""
    radius = int(np.ceil(1.2 * coarseness)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    inside = (mask > 0.5).astype(np.uint8)
    core = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    outer = cv2.dilate(inside, kernel)
    subject = _nearby_mean(picture, core, inside, radius)
    background = _nearby_mean(picture, 1 - outer, 1 - inside, radius)
    axis = subject - background
    contrast = (axis * axis).sum(-1)
    mixture = ((picture - background) * axis).sum(-1) / (contrast + 1e-3)
    mixture = np.clip((mixture - 0.06) / 0.88, 0, 1)  # texture and noise around both ends are no half-transparency
    fallback = np.clip((mask - 0.5) * coarseness + 0.5, 0, 1)
    trust = contrast / (contrast + 14.0**2)
    alpha = trust * mixture + (1 - trust) * fallback
    alpha = np.where(core > 0, 1.0, np.where(outer == 0, 0.0, alpha)).astype(np.float32)
    share = alpha[..., None]
    unmixed = (picture - (1 - share) * background) / np.maximum(share, 0.15)
    colour = share * np.clip(unmixed, 0, 255) + (1 - share) * subject
    return alpha, np.where(core[..., None] > 0, picture, colour).astype(np.float32)


def _nearby_mean(picture: Float32Array, sure: UInt8Array, likely: UInt8Array, radius: int) -> Float32Array:
    """Mean colour [h, w, 3] of nearby pixels in `sure`; of `likely` or of a wider surrounding where there are none."""
    result = np.empty_like(picture)
    missing = np.ones(picture.shape[:2], bool)
    for members, reach in ((sure, 3 * radius), (likely, 3 * radius), (likely, 12 * radius), (likely, 4 * max(picture.shape[:2]))):
        if not missing.any():
            break
        size = (2 * reach + 1, 2 * reach + 1)
        if reach > max(picture.shape[:2]):
            chosen = picture[members > 0]
            result[missing] = chosen.mean(0) if len(chosen) else 0
            break
        weight = cv2.boxFilter(members.astype(np.float32), -1, size, normalize=True, borderType=cv2.BORDER_REPLICATE)
        total = cv2.boxFilter(picture * members[..., None], -1, size, normalize=True, borderType=cv2.BORDER_REPLICATE)
        found = missing & (weight > 1.5 / size[0] ** 2)
        result[found] = total[found] / weight[found][:, None]
        missing &= ~found
    return result
