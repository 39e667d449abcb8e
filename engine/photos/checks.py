"""Warnings about photos that would harm the result, in sentences for an artist, before time is spent."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from ..types import VIEW_NAMES
from .cutout import Cutout
from .framing import Box, subject_box

UInt8Array = npt.NDArray[np.uint8]

_SMALLEST_SHARE = 0.15  # of the photo's longest side
_SMALLEST_PX = 100
_BLURRED_EDGE_PX = 7.0  # width of the outline's colour step when the subject is 512 px; a sharp photo has 2 to 4
_WIDTH_RATIO = 1.4  # opposite views of 80 real objects on the rig differ by 1.28 at most
_MIRRORED_OVERLAP = 0.55


def check_photo(name: str, photo: UInt8Array, cut: Cutout) -> list[str]:
    """Warnings about one photo.

    Args:
        name: The view: "front", "right", "back" or "left".
        photo: uint8 [H, W, 4] as loaded.
        cut: The subject cut out of it.

    Returns:
        Sentences that name the view; empty if the photo is good, or without a subject (an error elsewhere).
    """
    box = subject_box(cut.rgba)
    if box is None:
        return []
    found = [cut.note] if cut.note else []
    sides = _touched_sides(cut)
    if sides:
        edges = " and ".join(sides)
        found.append(f"The {name} photo cuts the object off at the {edges}: step back so that all of it is in the picture.")
    if not cut.is_plain and cut.method == "starter":
        found.append(
            f"The background of the {name} photo is busy, so the cut-out may be wrong: check it, and if it is wrong, use a plain "
            "wall or a sheet of paper."
        )
    elif not cut.is_plain:
        found.append(f"The background of the {name} photo is too busy for a clean cut-out: use a plain wall or a sheet of paper.")
    extent = max(box.height, box.width)
    if extent < max(_SMALLEST_PX, _SMALLEST_SHARE * max(photo.shape[:2])):
        found.append(f"The object is only {extent:.0f} pixels large in the {name} photo: move closer or use a larger photo.")
    elif _edge_width_px(photo, cut.rgba[..., 3], box) > _BLURRED_EDGE_PX:
        found.append(f"The {name} photo looks blurred: hold the camera still and focus on the object.")
    return found


def _touched_sides(cut: Cutout) -> list[str]:
    """Sides of the photo that cut the subject off."""
    alpha = cut.rgba[..., 3]
    # A cut-out saved with transparency is often cropped to its bounding box: then it touches all four.
    if cut.method == "alpha" and all((line >= 8).any() for line in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])):
        return []
    opaque = alpha >= 128
    return [
        side
        for side, line in (("top", opaque[0]), ("bottom", opaque[-1]), ("left", opaque[:, 0]), ("right", opaque[:, -1]))
        if line.sum() > max(2, 0.015 * len(line))
    ]


def _edge_width_px(photo: UInt8Array, alpha: UInt8Array, box: Box) -> float:
    """Width of the outline's colour step, in pixels, with the subject scaled to 512 px; 0 where nothing tells.

    A transparent background may have been cut soft although the photo is sharp: there, the sharpest details inside tell.
    """
    margin = round(0.05 * max(box.height, box.width)) + 4
    window = np.s_[
        max(0, int(box.top) - margin) : int(box.bottom) + margin, max(0, int(box.left) - margin) : int(box.right) + margin
    ]
    grey = cv2.cvtColor(np.ascontiguousarray(photo[window][..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    cut = np.ascontiguousarray(alpha[window])
    scale = 512 / max(box.height, box.width)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cut = cv2.resize(cut, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_AREA)
    small = (cut >= 128).astype(np.uint8)
    if photo[..., 3].min() < 255:
        inside = cv2.erode((cut >= 250).astype(np.uint8), np.ones((27, 27), np.uint8)) > 0
        return _step_width_px(grey, inside, 10)
    outline = cv2.dilate(small, np.ones((3, 3), np.uint8)) != small
    return _step_width_px(grey, outline, 50)


def _step_width_px(grey: npt.NDArray[np.float32], where: npt.NDArray[np.bool_], percentile: float) -> float:
    """A percentile of the widths of the steps of grey [H, W] `where` it has contrast, pixels; 0 if that is hardly anywhere."""
    reach = np.ones((25, 25), np.uint8)
    contrast = cv2.dilate(grey, reach) - cv2.erode(grey, reach)
    slope = np.hypot(cv2.Sobel(grey, -1, 1, 0, scale=0.125), cv2.Sobel(grey, -1, 0, 1, scale=0.125))
    steepest = cv2.dilate(slope, np.ones((13, 13), np.uint8))
    clear = where & (contrast > 40)
    if clear.sum() < 40:
        return 0.0
    return float(np.percentile(contrast[clear] / np.maximum(steepest[clear], 1e-3), percentile))


def check_views(views: Mapping[str, UInt8Array]) -> list[str]:
    """Warnings about framed views that contradict each other.

    Args:
        views: uint8 [N, N, 4] of each given view, framed.

    Returns:
        Sentences; empty if the views may show one object.
    """
    found = []
    for one, other in (("front", "back"), ("right", "left")):
        if one not in views or other not in views:
            continue
        first, second = subject_box(views[one]), subject_box(views[other])
        if first is None or second is None:
            continue
        ratio = max(first.width, second.width) / min(first.width, second.width)
        if ratio > _WIDTH_RATIO:
            wide, narrow = (one, other) if first.width > second.width else (other, one)
            found.append(
                f"The object is {ratio:.1f} times as wide in the {wide} photo as in the {narrow} photo: "
                "take both straight on, from the same height."
            )
        elif _mirrored_overlap(views[one], first, views[other], second) < _MIRRORED_OVERLAP:
            found.append(
                f"The outlines of the {one} and {other} photos are not mirror images of each other: "
                "check that each photo is in its place and that nothing moved between them."
            )
    return found


def check_repeats(photos: Mapping[str, UInt8Array]) -> list[str]:
    """Warnings about one picture used for several views; photos are uint8 [H, W, 4] as loaded."""
    found = []
    left = [name for name in VIEW_NAMES if name in photos]
    while left:
        same = [name for name in left if np.array_equal(photos[left[0]], photos[name])]
        left = [name for name in left if name not in same]
        if len(same) > 1:
            names = f"{', '.join(same[:-1])} and {same[-1]}"
            found.append(f"The {names} photos are the same picture: keep it only if the object looks the same from those sides.")
    return found


def _mirrored_overlap(one: UInt8Array, box: Box, other: UInt8Array, other_box: Box) -> float:
    """Intersection over union of one outline and the other mirrored, after aligning their bounding boxes."""
    first = _cropped(one, box)
    second = _cropped(other, other_box)[:, ::-1]
    return float((first & second).sum() / max(1, (first | second).sum()))


def _cropped(rgba: UInt8Array, box: Box) -> npt.NDArray[np.bool_]:
    part = rgba[int(box.top) : int(box.bottom), int(box.left) : int(box.right), 3]
    return np.asarray(cv2.resize(part, (96, 96), interpolation=cv2.INTER_AREA) >= 128)
