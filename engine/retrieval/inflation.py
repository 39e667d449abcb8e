"""The solid that one outline suggests, and how it looks from the other sides.

Each row of the outline becomes discs: a run of solid pixels is a disc as deep as it is wide, so that whatever is round about an
upright axis comes out as it is, and legs come out round. Arms stretched out make a run wide and not deep: no place is deeper than
twice the largest circle that covers it within the outline. And an object that is much wider than high is less deep than wide: of
the stored examples, half are at least as deep as wide up to a width of 1.7 heights; at 2.4 heights, the median depth is 0.6 of
the width, at 5 heights 0.3. Seen from above, a disc shows above and below its row; what would stick out of the outline goes.
The four views of one solid agree with each other, which views that are guessed one by one do not.

Compare Igarashi et al. 1999, Teddy: A Sketching Interface for 3D Freeform Design, https://doi.org/10.1145/311535.311602
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..cameras import Rig, pixel_rays, project
from ..rendering.embree import EmbreeMesh
from ..types import VIEW_NAMES

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

CELLS = 128
"""Side of the grid that the solid is made on."""

SMOOTHING = 1.2
"""Standard deviation of the blur of depths, cells; without it, depths jump from row to row."""

DEPTH_PER_HEIGHT = 1.5
"""Largest depth of the solid, in heights."""

DEPTH_PER_RADIUS, CIRCLE_LEVELS = 2.0, 16
"""Largest half depth of a place, in radii of the largest circle that covers it; and the radii that are tried."""

FITS = 4
"""Rounds in which the solid is stretched until its outline is as high and as wide as the view's."""


@dataclass(frozen=True)
class Inflated:
    """The solid of one outline.

    Attributes:
        verts: float32 [2 V, 3], in the world of the view's rig as if the view were the front: the near sheet, then the far one.
        faces: int32 [F, 3].
        places: float32 [2 V, 2], column and row in the view at which each vertex takes its colour, 0..1 over its side; those of
            the far sheet are those of the near one.
    """

    verts: FloatArray
    faces: npt.NDArray[np.int32]
    places: FloatArray


def inflated_views(view: UInt8Array, plain: UInt8Array, rig: Rig) -> UInt8Array:
    """How the solid that a view suggests looks from all four sides.

    Args:
        view: uint8 [S, S, 4], straight alpha; it shows something.
        plain: uint8 [S, S, 4], the same without what belongs to this side alone; colours the far half.
        rig: The cameras.

    Returns:
        uint8 [4, S, S, 4], straight alpha: at the view's azimuth, and 90, 180 and 270 degrees further round.
    """
    view, plain = (np.concatenate([fill_transparent(image), image[..., 3:]], -1) for image in (view, plain))
    solid = inflate(view[..., 3], rig)
    mesh = EmbreeMesh(solid.verts, solid.faces)
    half = len(solid.verts) // 2
    side, fine = view.shape[0], 2 * view.shape[0]
    shown = np.zeros((len(VIEW_NAMES), side, side, 4), np.uint8)
    for index, camera in enumerate(rig.c2w()):
        # Trace four rays a pixel, and look up where each hit takes its colour.
        hits = mesh.first_hits(*pixel_rays(camera, rig.fovy_deg, side, side, supersample=2))
        hit = hits.face_index >= 0
        places = hits.interpolate(solid.places, solid.faces)[hit] * side
        column, row = np.clip(places.astype(np.int64), 0, side - 1).T
        is_far = solid.faces[hits.face_index[hit], 0] >= half
        colour = np.where(is_far[:, None], plain[row, column, :3], view[row, column, :3])
        # Average the rays of each pixel, as premultiplied colour.
        rays = np.zeros((fine, fine, 4), np.float32)
        rays[hit] = np.concatenate([colour, np.full((len(colour), 1), 255)], 1)
        pixels = rays.reshape(side, 2, side, 2, 4).sum((1, 3))
        rgb = pixels[..., :3] * 255 / pixels[..., 3:].clip(255)
        shown[index] = np.concatenate([rgb, pixels[..., 3:] / 4], -1) + 0.5
    return shown


def inflate(alpha: UInt8Array, rig: Rig) -> Inflated:
    """The solid of an outline, alpha uint8 [S, S], as the front camera of a rig sees it."""
    small = cv2.resize(alpha, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    inside = np.pad(small >= 128, 1)[1:-1, 1:-1]
    if not inside.any():  # thinner than a cell
        inside = small >= small.max()
    near_depth, far_depth = _within_outline(inside, _depths(inside), np.sin(np.deg2rad(rig.elevation_deg)))
    edges = np.nonzero(inside)
    inside = near_depth > 0
    rows, columns = np.nonzero(inside)
    places = np.stack([columns + 0.5, rows + 0.5], 1) / CELLS
    # A vertex in the middle of each cell, on the upright plane through the origin, and its depth to either side of it.
    reach = 2 * rig.half_extent
    flat = (places - 0.5) * (reach, -reach)
    sheets = [(flat[:, 0], depth[inside] * reach / CELLS, flat[:, 1]) for depth in (-near_depth, far_depth)]
    verts = np.concatenate([np.stack(sheet, 1) for sheet in sheets])
    faces = _two_sheets(inside)
    # Stretch and shift it until the camera sees its outline where it is in the view.
    camera = rig.c2w()[0]
    low, high = (np.array([f(edges[1]) + end, f(edges[0]) + end]) * 2 / CELLS - 1 for f, end in ((np.min, 0), (np.max, 1)))
    for _ in range(FITS):
        seen = project(verts, camera, rig.fovy_deg)[:, :2]
        scale = np.clip((high - low) / np.maximum(np.ptp(seen, axis=0), 1e-3), 0.25, 4)
        middle = (verts.max(0) + verts.min(0)) / 2
        verts = (verts - middle) * (scale[0], scale[0], scale[1]) + middle
        seen = project(verts, camera, rig.fovy_deg)[:, :2]
        off = (low + high) / 2 - (seen.max(0) + seen.min(0)) / 2
        verts += np.array([off[0], 0, -off[1] / np.cos(np.deg2rad(rig.elevation_deg))]) * rig.half_extent
    shown = project(verts[: len(rows)], camera, rig.fovy_deg)[:, :2] / 2 + 0.5
    return Inflated(verts.astype(np.float32), faces, np.tile(shown, (2, 1)).astype(np.float32))


def _depths(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Half the depth of each cell of an outline bool [N, N], cells: of a disc as wide as its run in the row."""
    columns = np.arange(inside.shape[1])
    first = np.maximum.accumulate(np.where(inside, -1, columns), 1) + 1  # of the run that each cell belongs to
    last = np.minimum.accumulate(np.where(inside, inside.shape[1], columns)[:, ::-1], 1)[:, ::-1]
    disc = np.sqrt(np.maximum(((last - first) / 2) ** 2 - (columns + 0.5 - (first + last) / 2) ** 2, 0.25))
    rows, filled = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    flatness = min(1.0, DEPTH_PER_HEIGHT * (np.ptp(rows) + 1) / (np.ptp(filled) + 1))
    depth = np.where(inside, np.minimum(disc * flatness, DEPTH_PER_RADIUS * _largest_circles(inside)), 0)
    weight = ndimage.gaussian_filter(inside.astype(np.float64), SMOOTHING)
    return np.where(inside, ndimage.gaussian_filter(depth, SMOOTHING) / np.maximum(weight, 1e-6), 0)


def _within_outline(
    inside: npt.NDArray[np.bool_], depth: npt.NDArray[np.float64], sine: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Depths of the near and of the far sheet, cells, 0 outside, so that the solid does not stick out of its own outline.

    Args:
        inside: bool [N, N], the outline.
        depth: [N, N], of discs.
        sine: Of the camera's elevation. Whatever lies d behind the middle shows d * sine higher, in front of it as much lower.
    """
    near, far = depth.copy(), depth.copy()
    if abs(sine) < 0.02:
        return near, far
    higher = far if sine > 0 else near
    top, bottom = inside.argmax(0), len(inside) - 1 - inside[::-1].argmax(0)  # of each column
    for row in np.flatnonzero(inside.any(1)):
        ends = np.flatnonzero(np.diff(np.concatenate([[0], inside[row].astype(np.int8), [0]])))
        for first, last in ends.reshape(-1, 2):
            run, reach = np.s_[row, first:last], float(depth[row, first:last].max()) * abs(sine)
            # A disc that would show below everything under it lies on the underside, which is flat: the object stands.
            if (bottom[first:last] - row).max() + 1 < reach:
                near[run] = far[run] = 0
            # One that would show above everything is cut short.
            higher[run] *= min(1.0, ((row - top[first:last]).max() + 1) / max(reach, 1e-6))
    if (near > 0).sum() < 0.1 * inside.sum():  # a plate: nothing of it is high enough to stand
        return depth, depth
    return near, far


def _largest_circles(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Radius, cells, of the largest circle within an outline bool [N, N] that covers each cell of it.

    Hildebrand and Rueegsegger 1997, A new method for the model-independent assessment of thickness.
    """
    to_edge = ndimage.distance_transform_edt(inside)
    radius = np.where(inside, 0.5, 0)
    for level in np.linspace(1, max(1.0, float(to_edge.max())), CIRCLE_LEVELS):
        covered = ndimage.distance_transform_edt(to_edge < level) < level
        radius[inside & covered] = level
    return radius


def _two_sheets(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Triangles int32 [F, 3] of two sheets over the cells of an outline, sewn together along its rim.

    Vertices are the cells in reading order, once for the near sheet and once more for the far one.
    """
    count = int(inside.sum())
    index = np.full(inside.shape, -1)
    index[inside] = np.arange(count)
    corners = [index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]]
    whole = np.all([corner >= 0 for corner in corners], axis=0)
    a, b, c, d = (corner[whole] for corner in corners)
    sheet = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    edges = np.sort(np.concatenate([sheet[:, [0, 1]], sheet[:, [1, 2]], sheet[:, [2, 0]]]), 1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    one, other = unique[uses == 1].T
    rim = np.concatenate([np.stack([one, other, other + count], 1), np.stack([one, other + count, one + count], 1)])
    return np.concatenate([sheet, sheet + count, rim]).astype(np.int32)


def fill_transparent(view: UInt8Array) -> UInt8Array:
    """The colours of a view, uint8 [S, S, 3], each transparent pixel with those of the nearest solid one."""
    solid = view[..., 3] >= 128
    if not solid.any():
        return np.ascontiguousarray(view[..., :3])
    rows, columns = ndimage.distance_transform_edt(~solid, return_distances=False, return_indices=True)
    return np.ascontiguousarray(view[rows, columns, :3])
