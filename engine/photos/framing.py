"""Bring one to four cut-outs to one frame, as the canonical rig would have seen one object.

Views that already come from the rig (an artist's own renders, or views of an earlier run) are left as they are. Hand-held
photos differ in distance and aim: each is scaled and shifted so that its silhouette's bounding box is where the rig would
see it. For a camera at eye level that is equal vertical extents and one common centre. From above, a deep object
looks taller in the view that shows its depth. By how much depends on its roundness, so a few simple solids are tried, and the one
that makes the silhouettes most coherent is kept. A side without a photo is assumed to be as wide as the other. This first guess
is then refined by the planes that touch two silhouettes at once (`tangents`), which need no solid.

A photo that replaces one of four framed views is fitted to the others, which do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from ..cameras import CANONICAL_RIG, Rig, project
from ..errors import PhotoError
from ..types import VIEW_NAMES
from .coherence import coherence
from .tangents import align_by_tangents

UInt8Array = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]

FILL = 0.95
"""Largest distance of the subject from the frame's centre, as a share of half the frame; a unit sphere's outline is at 0.964."""

_RIG_RADIUS = 0.985  # a unit sphere's outline, and a soft edge
_RIG_COHERENCE = 0.97  # the lowest of 80 true sets of rendered views was 0.971; one view a quarter too small falls below
_RIG_REACH, _RIG_OFF_X, _RIG_OFF_Y = 0.6, 0.08, (-0.12, 0.2)  # of 700 renders of 175 objects, over 95 % are within each
_CLEARLY_BETTER = 0.01  # in coherence, before a rounder solid takes the place of the box
_COARSE_PX = 128
_SPECK = 0.01


@dataclass(frozen=True)
class Box:
    """A silhouette's bounding box in pixels of its cut-out: edges, not pixel centres."""

    top: float
    bottom: float
    left: float
    right: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left


@dataclass(frozen=True)
class Placement:
    """Place of a cut-out in a frame that spans -1..1 (y down): centre of its bounding box, and frame units per pixel."""

    x: float
    y: float
    scale: float


def subject_box(rgba: UInt8Array) -> Box | None:
    """Bounding box of the subject, or None if there is none.

    Args:
        rgba: uint8 [H, W, 4]; the subject is where alpha is at least one half, without specks below 0.1 % of it.
    """
    mask = rgba[..., 3] >= 128
    if not mask.any():
        return None
    ends = []
    for axis in (1, 0):
        counts = mask.sum(axis)
        enough = np.flatnonzero(counts > min(1, counts.max() - 1))  # a line of one pixel is a speck, unless all are thin
        ends += [float(enough[0]), float(enough[-1] + 1)]
    return Box(*ends)


def without_specks(rgba: UInt8Array) -> UInt8Array:
    """A cut-out uint8 [H, W, 4] without the parts that are below `_SPECK` of the largest: leftovers of the background."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((rgba[..., 3] >= 128).astype(np.uint8), connectivity=8)
    if count <= 2:
        return rgba
    areas = stats[:, cv2.CC_STAT_AREA]
    specks = areas < _SPECK * areas[1:].max()
    specks[0] = False
    if not specks.any():
        return rgba
    lost = cv2.dilate(specks[labels].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    result = rgba.copy()
    result[lost & ~((labels > 0) & ~specks[labels]), 3] = 0
    return result


def frame_views(cutouts: Mapping[str, UInt8Array], view_px: int = 512, *, rig: Rig = CANONICAL_RIG) -> dict[str, UInt8Array]:
    """Bring cut-outs to one frame.

    Args:
        cutouts: uint8 [H, W, 4] of one to four views, straight alpha; sizes may differ.
        view_px: Side of the square result.
        rig: The cameras that took the photos.

    Returns:
        uint8 [view_px, view_px, 4] of each view that was given, straight alpha.

    Raises:
        PhotoError: A cut-out is empty; names the view.
        ValueError: There are no cut-outs.
    """
    if not cutouts:
        raise ValueError(f"expected cut-outs of some of {VIEW_NAMES}, got none")
    boxes = _boxes(cutouts)
    if is_rig(cutouts, rig):
        return {name: resized(cutouts[name], view_px) for name in boxes}
    placements = _best_placements(cutouts, boxes, rig)
    return {name: _to_frame(cutouts[name], boxes[name], placements[name], view_px) for name in boxes}


def frame_beside(
    cutouts: Mapping[str, UInt8Array], framed: Mapping[str, UInt8Array], *, rig: Rig = CANONICAL_RIG
) -> dict[str, UInt8Array]:
    """Bring cut-outs to the frame of views that are already framed.

    Each takes the height and place of the opposite view or, if that view is missing, the average of the framed ones.

    Args:
        cutouts: uint8 [H, W, 4], straight alpha, keyed by name.
        framed: uint8 [N, N, 4] of other views; empty ones are ignored.
        rig: The cameras of all of them.

    Returns:
        uint8 [N, N, 4] of each cut-out.

    Raises:
        PhotoError: A cut-out is empty; names the view.
        ValueError: None of the framed views shows anything.
    """
    seen = {name: view for name, view in framed.items() if subject_box(view) is not None}
    if not seen:
        raise ValueError(f"expected framed views that show something, got {list(framed)}")
    view_px = next(iter(seen.values())).shape[0]
    result = {}
    for name, box in _boxes(cutouts).items():
        same_size = resized(cutouts[name], view_px) if cutouts[name].shape[0] == cutouts[name].shape[1] else None
        if same_size is not None and is_rig({**seen, name: same_size}, rig):
            result[name] = same_size
        else:
            result[name] = _to_frame(cutouts[name], box, _placement_beside(name, box, _boxes(seen), view_px), view_px)
    return result


def is_rig(cutouts: Mapping[str, UInt8Array], rig: Rig = CANONICAL_RIG) -> bool:
    """Whether cut-outs are already framed: square, of one size, within the unit sphere's outline, and coherent.

    With fewer than four views, coherence says less; they must then also lie where nearly all renders of the rig do.
    """
    shapes = {view.shape for view in cutouts.values()}
    if len(shapes) != 1:
        return False
    height, width, _ = next(iter(shapes))
    if height != width or any(_reach(view) > _RIG_RADIUS for view in cutouts.values()):
        return False
    if len(cutouts) < len(VIEW_NAMES) and not all(_is_placed_like_renders(view) for view in cutouts.values()):
        return False
    return min(coherence({name: view[..., 3] for name, view in cutouts.items()}, rig).values()) >= _RIG_COHERENCE


def resized(rgba: UInt8Array, px: int) -> UInt8Array:
    """A square view at another size, uint8 [px, px, 4], resampled with premultiplied alpha."""
    if rgba.shape[:2] == (px, px):
        return rgba.copy()
    # Pillow premultiplies RGBA by itself before it resamples, and divides afterwards.
    return np.asarray(Image.fromarray(rgba).resize((px, px), Image.Resampling.BICUBIC), np.uint8)


def _boxes(cutouts: Mapping[str, UInt8Array]) -> dict[str, Box]:
    """The bounding box of each cut-out, in the order of `VIEW_NAMES`."""
    boxes: dict[str, Box] = {}
    for name in VIEW_NAMES:
        if name not in cutouts:
            continue
        box = subject_box(cutouts[name])
        if box is None:
            raise PhotoError(f"No subject was found in the {name} photo: use a plain background that differs from the object.")
        boxes[name] = box
    return boxes


def _is_placed_like_renders(rgba: UInt8Array) -> bool:
    """Whether a square view's subject has the size and the place of nearly all renders of the rig."""
    box, half = subject_box(rgba), rgba.shape[0] / 2
    if box is None or _reach(rgba) < _RIG_REACH:
        return False
    x, y = (box.left + box.right) / 2 / half - 1, (box.top + box.bottom) / 2 / half - 1
    return abs(x) <= _RIG_OFF_X and _RIG_OFF_Y[0] <= y <= _RIG_OFF_Y[1]


def _placement_beside(name: str, box: Box, framed: Mapping[str, Box], view_px: int) -> Placement:
    """Placement of a cut-out that matches the boxes of framed views of `view_px` pixels."""
    opposite = VIEW_NAMES[(VIEW_NAMES.index(name) + 2) % 4]
    like = [framed[opposite]] if opposite in framed else list(framed.values())
    half = view_px / 2
    x = 1 - (like[0].left + like[0].right) / 2 / half if opposite in framed else 0.0  # the opposite view is mirrored
    y = float(np.mean([(other.top + other.bottom) / 2 for other in like])) / half - 1
    height = float(np.mean([other.height for other in like])) / half
    scale = min(height / box.height, 2 * _RIG_RADIUS / box.width)
    room = _RIG_RADIUS - box.width * scale / 2
    return Placement(float(np.clip(x, -room, room)), y, scale)


def _reach(rgba: UInt8Array) -> float:
    """Largest distance of the subject from the image's centre, in half sides of the (square) image."""
    rows, columns = np.nonzero(rgba[..., 3] >= 128)
    half = rgba.shape[0] / 2
    return float(np.hypot(rows + 0.5 - half, columns + 0.5 - half).max() / half) if len(rows) else 0.0


def _best_placements(cutouts: Mapping[str, UInt8Array], boxes: Mapping[str, Box], rig: Rig) -> dict[str, Placement]:
    """The placements whose silhouettes agree best, refined by common tangent planes if there are several views."""
    best: tuple[float, dict[str, Placement]] = (-1.0, {})
    # Place the cut-outs as if the object were a box, a cylinder or an ellipsoid; keep the most coherent placement.
    for solid in _SOLIDS:
        placements = _scaled_to_fill(cutouts, boxes, _placements_for_solid(solid, boxes, rig))
        alphas = {name: _to_frame(cutouts[name], box, placements[name], _COARSE_PX)[..., 3] for name, box in boxes.items()}
        score = float(np.mean(list(coherence(alphas, rig).values())))
        if score > best[0] + _CLEARLY_BETTER:
            best = (score, placements)
    return _scaled_to_fill(cutouts, boxes, _aligned_by_tangents(cutouts, boxes, best[1], rig)) if len(boxes) > 1 else best[1]


def _aligned_by_tangents(
    cutouts: Mapping[str, UInt8Array], boxes: Mapping[str, Box], placements: Mapping[str, Placement], rig: Rig
) -> dict[str, Placement]:
    """The placements, corrected by the planes that touch two silhouettes at once."""
    outlines = {}
    # Convex outline of each silhouette, in frame units.
    for name, box in boxes.items():
        mask = (cutouts[name][..., 3] >= 128).astype(np.uint8)
        window = mask[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
        hull = cv2.convexHull(cv2.findNonZero(window))[:, 0].astype(np.float64) + 0.5
        place = placements[name]
        outlines[name] = (hull - (box.width / 2, box.height / 2)) * place.scale + (place.x, place.y)
    # Move and scale the outlines so that each tangent plane touches them all.
    moves = align_by_tangents(outlines, rig)
    return {
        name: Placement(place.x + moves[name].right, place.y + moves[name].down, place.scale * moves[name].scale)
        for name, place in placements.items()
    }


def _placements_for_solid(solid: Float64Array, boxes: Mapping[str, Box], rig: Rig) -> dict[str, Placement]:
    """Placements at which the silhouettes' boxes equal those of a solid [N, 3] in -1..1, stretched to their proportions."""
    wanted = {name: box.width / box.height for name, box in boxes.items()}
    # The width along x is seen from the front and the back, the width along y from the sides.
    across = [wanted[name] for name in ("front", "back") if name in wanted]
    along = [wanted[name] for name in ("right", "left") if name in wanted]
    aspect_x, aspect_y = (float(np.exp(np.mean(np.log(aspects)))) for aspects in (across or along, along or across))
    size = np.array([aspect_x, aspect_y, 1.0])
    cameras = rig.c2w()
    # Stretch the solid, step by step, until its silhouettes have the proportions of the cut-outs.
    for _ in range(20):
        points = solid * size
        points = points / np.linalg.norm(points, axis=1).max()
        seen = [project(points, camera, rig.fovy_deg)[:, :2] for camera in cameras]
        low, high = np.array([s.min(0) for s in seen]), np.array([s.max(0) for s in seen])  # [4, 2] each
        extent = high - low
        # An aspect that no such solid has (a wide thing seen as flat as a coin from above) ends at a thin solid.
        size = size * np.array([aspect_x * extent[0, 1] / extent[0, 0], aspect_y * extent[1, 1] / extent[1, 0], 1.0])
        size = np.clip(size / size.max(), 0.02, 1.0)
    # Each cut-out gets the place and height of the solid's silhouette in its view.
    centre = (low + high) / 2
    return {
        name: Placement(float(centre[i, 0]), float(centre[i, 1]), float(extent[i, 1]) / boxes[name].height)
        for i, name in enumerate(VIEW_NAMES)
        if name in boxes
    }


def _scaled_to_fill(
    cutouts: Mapping[str, UInt8Array], boxes: Mapping[str, Box], placements: Mapping[str, Placement]
) -> dict[str, Placement]:
    """The placements, enlarged or reduced together so that the subject reaches `FILL` of the frame's inscribed disc."""
    # The farthest opaque pixel of all views, from the centre of the frame.
    reach = 0.0
    for name, box in boxes.items():
        place = placements[name]
        step = 2 if box.height > 64 else 1
        rows, columns = np.nonzero(cutouts[name][::step, ::step, 3] >= 128)
        x = place.x + ((columns + 0.5) * step - (box.left + box.right) / 2) * place.scale
        y = place.y + ((rows + 0.5) * step - (box.top + box.bottom) / 2) * place.scale
        reach = max(reach, float(np.hypot(x, y).max()))
    factor = FILL / reach
    return {name: Placement(p.x * factor, p.y * factor, p.scale * factor) for name, p in placements.items()}


def _to_frame(rgba: UInt8Array, box: Box, place: Placement, view_px: int) -> UInt8Array:
    """The cut-out [view_px, view_px, 4] with its box where `place` puts it, resampled with premultiplied alpha."""
    # The frame as a window in the cut-out's pixels.
    span = 2 / place.scale  # pixels of the cut-out that the frame spans
    left = (box.left + box.right) / 2 - (place.x + 1) / place.scale
    top = (box.top + box.bottom) / 2 - (place.y + 1) / place.scale
    x0, y0 = int(np.floor(left)) - 1, int(np.floor(top)) - 1
    side = int(np.ceil(span)) + 3
    # Copy the part of the cut-out under the window to a canvas, transparent outside the photo.
    canvas = np.zeros((side, side, 4), np.uint8)
    height, width = rgba.shape[:2]
    from_y, to_y, from_x, to_x = max(0, y0), min(height, y0 + side), max(0, x0), min(width, x0 + side)
    canvas[from_y - y0 : to_y - y0, from_x - x0 : to_x - x0] = rgba[from_y:to_y, from_x:to_x]
    window = (left - x0, top - y0, left - x0 + span, top - y0 + span)
    # As in `resized`, Pillow premultiplies by itself.
    return np.asarray(Image.fromarray(canvas).resize((view_px, view_px), Image.Resampling.BICUBIC, box=window), np.uint8)


def _box_solid() -> Float64Array:
    return np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def _ellipsoid_solid() -> Float64Array:
    polar, around = np.meshgrid(np.linspace(0, np.pi, 25), np.linspace(0, 2 * np.pi, 48, endpoint=False), indexing="ij")
    sphere = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)
    return np.asarray(sphere.reshape(-1, 3))


def _cylinder_solid() -> Float64Array:
    around = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rim = np.stack([np.cos(around), np.sin(around)], -1)
    return np.concatenate([np.column_stack([rim, np.full(len(rim), z)]) for z in (-1.0, 1.0)])


_SOLIDS: tuple[Float64Array, ...] = (_box_solid(), _cylinder_solid(), _ellipsoid_solid())
