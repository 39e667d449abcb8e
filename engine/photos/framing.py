"""Bring four cut-outs to one frame, as the canonical rig would have seen one object.

Views that already come from the rig (an artist's own renders, or views of an earlier run) are left as they are. Hand-held
photos differ in distance and aim: each is scaled and shifted so that its silhouette's bounding box is where the rig would
see it. For a camera at eye level that is equal vertical extents and one common centre. From above, a deep object
looks taller in the view that shows its depth; how much depends on its roundness, so a few simple solids are tried and the one
is taken with which the four silhouettes agree best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..cameras import RIG_ELEVATION_DEG, RIG_FOVY_DEG, project, rig_c2w
from ..errors import PhotoError
from ..types import VIEW_NAMES
from .silhouettes import coherence

UInt8Array = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]

FILL = 0.95
"""Largest distance of the subject from the frame's centre, as a share of half the frame; a unit sphere's outline is at 0.964."""

_RIG_RADIUS = 0.985  # a unit sphere's outline, and a soft edge
_RIG_COHERENCE = 0.97  # the lowest of 80 true sets of rendered views was 0.971; one view a quarter too small falls below
_CLEARLY_BETTER = 0.01  # in coherence, before a rounder solid takes the place of the box
_COARSE_PX = 128


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
    """Where a cut-out goes in a frame that spans -1..1 (y down): centre of its bounding box, and frame units per pixel."""

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


def frame_views(
    cutouts: Mapping[str, UInt8Array], view_px: int = 512, *, elevation_deg: float = RIG_ELEVATION_DEG
) -> dict[str, UInt8Array]:
    """Bring the four cut-outs to one frame.

    Args:
        cutouts: uint8 [H, W, 4] of each of the four views, straight alpha; sizes may differ.
        view_px: Side of the square result.
        elevation_deg: Elevation the photos were taken at.

    Returns:
        uint8 [view_px, view_px, 4] of each view, straight alpha.

    Raises:
        PhotoError: A cut-out is empty; names the view.
        ValueError: A view is missing.
    """
    missing = [name for name in VIEW_NAMES if name not in cutouts]
    if missing:
        raise ValueError(f"expected cut-outs of {VIEW_NAMES}, got none of {missing}")
    boxes: dict[str, Box] = {}
    for name in VIEW_NAMES:
        box = subject_box(cutouts[name])
        if box is None:
            raise PhotoError(f"No subject was found in the {name} photo: use a plain background that differs from the object.")
        boxes[name] = box
    if is_rig(cutouts, elevation_deg):
        return {name: _resized(cutouts[name], view_px) for name in VIEW_NAMES}
    placements = _best_placements(cutouts, boxes, elevation_deg)
    return {name: _placed(cutouts[name], boxes[name], placements[name], view_px) for name in VIEW_NAMES}


def is_rig(cutouts: Mapping[str, UInt8Array], elevation_deg: float = RIG_ELEVATION_DEG) -> bool:
    """Whether the four cut-outs are already framed: square, of one size, within the unit sphere's outline, and coherent."""
    shapes = {cutouts[name].shape for name in VIEW_NAMES}
    if len(shapes) != 1:
        return False
    height, width, _ = next(iter(shapes))
    if height != width or any(_reach(cutouts[name]) > _RIG_RADIUS for name in VIEW_NAMES):
        return False
    return min(coherence({name: cutouts[name][..., 3] for name in VIEW_NAMES}, elevation_deg).values()) >= _RIG_COHERENCE


def _reach(rgba: UInt8Array) -> float:
    """Largest distance of the subject from the image's centre, in half sides of the (square) image."""
    rows, columns = np.nonzero(rgba[..., 3] >= 128)
    half = rgba.shape[0] / 2
    return float(np.hypot(rows + 0.5 - half, columns + 0.5 - half).max() / half) if len(rows) else 0.0


def _best_placements(cutouts: Mapping[str, UInt8Array], boxes: Mapping[str, Box], elevation_deg: float) -> dict[str, Placement]:
    best: tuple[float, dict[str, Placement]] = (-1.0, {})
    for solid in _SOLIDS:
        placements = _filled(cutouts, boxes, _placements_of(solid, boxes, elevation_deg))
        alphas = {name: _placed(cutouts[name], boxes[name], placements[name], _COARSE_PX)[..., 3] for name in VIEW_NAMES}
        score = float(np.mean(list(coherence(alphas, elevation_deg).values())))
        if score > best[0] + _CLEARLY_BETTER:
            best = (score, placements)
    return best[1]


def _placements_of(solid: Float64Array, boxes: Mapping[str, Box], elevation_deg: float) -> dict[str, Placement]:
    """Placements at which the silhouettes' boxes equal those of a solid [N, 3] in -1..1, stretched to their proportions."""
    wanted = {name: boxes[name].width / boxes[name].height for name in VIEW_NAMES}
    aspect_x = np.sqrt(wanted["front"] * wanted["back"])
    aspect_y = np.sqrt(wanted["right"] * wanted["left"])
    size = np.array([aspect_x, aspect_y, 1.0])
    cameras = rig_c2w(elevation_deg)
    for _ in range(20):
        points = solid * size
        points = points / np.linalg.norm(points, axis=1).max()
        seen = [project(points, camera, RIG_FOVY_DEG)[:, :2] for camera in cameras]
        low, high = np.array([s.min(0) for s in seen]), np.array([s.max(0) for s in seen])  # [4, 2] each
        extent = high - low
        # An aspect that no such solid has (a wide thing seen as flat as a coin from above) ends at a thin solid.
        size = size * np.array([aspect_x * extent[0, 1] / extent[0, 0], aspect_y * extent[1, 1] / extent[1, 0], 1.0])
        size = np.clip(size / size.max(), 0.02, 1.0)
    centre = (low + high) / 2
    return {
        name: Placement(float(centre[i, 0]), float(centre[i, 1]), float(extent[i, 1]) / boxes[name].height)
        for i, name in enumerate(VIEW_NAMES)
    }


def _filled(
    cutouts: Mapping[str, UInt8Array], boxes: Mapping[str, Box], placements: Mapping[str, Placement]
) -> dict[str, Placement]:
    """The placements, enlarged or reduced together so that the subject reaches `FILL` of the frame's inscribed disc."""
    reach = 0.0
    for name in VIEW_NAMES:
        box, place = boxes[name], placements[name]
        step = 2 if box.height > 64 else 1
        rows, columns = np.nonzero(cutouts[name][::step, ::step, 3] >= 128)
        x = place.x + ((columns + 0.5) * step - (box.left + box.right) / 2) * place.scale
        y = place.y + ((rows + 0.5) * step - (box.top + box.bottom) / 2) * place.scale
        reach = max(reach, float(np.hypot(x, y).max()))
    factor = FILL / reach
    return {name: Placement(p.x * factor, p.y * factor, p.scale * factor) for name, p in placements.items()}


def _placed(rgba: UInt8Array, box: Box, place: Placement, view_px: int) -> UInt8Array:
    """The cut-out [view_px, view_px, 4] with its box where `place` puts it, resampled with premultiplied alpha."""
    span = 2 / place.scale  # pixels of the cut-out that the frame spans
    left = (box.left + box.right) / 2 - (place.x + 1) / place.scale
    top = (box.top + box.bottom) / 2 - (place.y + 1) / place.scale
    x0, y0 = int(np.floor(left)) - 1, int(np.floor(top)) - 1
    side = int(np.ceil(span)) + 3
    canvas = np.zeros((side, side, 4), np.uint8)
    height, width = rgba.shape[:2]
    from_y, to_y, from_x, to_x = max(0, y0), min(height, y0 + side), max(0, x0), min(width, x0 + side)
    canvas[from_y - y0 : to_y - y0, from_x - x0 : to_x - x0] = rgba[from_y:to_y, from_x:to_x]
    window = (left - x0, top - y0, left - x0 + span, top - y0 + span)
    # Pillow premultiplies RGBA by itself before it resamples, and divides afterwards.
    return np.asarray(Image.fromarray(canvas).resize((view_px, view_px), Image.Resampling.BICUBIC, box=window), np.uint8)


def _resized(rgba: UInt8Array, view_px: int) -> UInt8Array:
    if rgba.shape[:2] == (view_px, view_px):
        return rgba.copy()
    return np.asarray(Image.fromarray(rgba).resize((view_px, view_px), Image.Resampling.BICUBIC), np.uint8)


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
