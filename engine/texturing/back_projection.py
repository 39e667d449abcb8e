"""Photo colour at surface points. Each of the four views is weighted by visibility, by the angle to the surface, and by the
distance from silhouettes and depth edges, where photo and mesh never match to the pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..cameras import ORTHOGRAPHIC, Rig, project
from ..rendering.rasterizer import CpuRasterizer, MeshRasterizer, Rasterizer
from ..types import VIEW_NAMES

FloatArray = npt.NDArray[np.float32]

_DEPTH_PX = 512
"""Largest side of the depth image that finds occluders and depth edges."""
_FAR = np.float32(1e3)
_DEPTH_JUMP = 0.03
"""Bend of the depth image that counts as an edge, world units."""
_EDGE_FADE_PX = 7.0
"""Distance from an edge, in pixels of a 512 px view, at which a view counts fully."""
_FACING_RANGE = (0.12, 0.45)
"""Cosines between normal and view direction where trust in a view begins and is complete."""
_MAX_OFFSET = 0.06


@dataclass(frozen=True)
class ViewColours:
    """The views' samples at points.

    Attributes:
        colour: float32 [N, 3], sRGB; zero where `confidence` is.
        confidence: float32 [N], 0 = no view saw the point, 1 = trust the views alone.
    """

    colour: FloatArray
    confidence: FloatArray


@dataclass(frozen=True)
class _View:
    c2w: FloatArray
    image: FloatArray  # [H, W, 4] premultiplied, 0..1
    nearest: FloatArray  # [D, D] smallest and largest ray distance in the 3x3 neighbourhood
    farthest: FloatArray
    trust: FloatArray  # [D, D] 0 on edges .. 1 away from them


class BackProjector:
    """The four views, ready to colour points of one mesh.

    Args:
        verts: float [V, 3]; the mesh that occludes itself.
        faces: int [F, 3].
        views: uint8 [H, H, 4] straight RGBA, keyed by the names of `VIEW_NAMES`; any subset, at least one.
        rig: The cameras.
        rasterizer: Finds what each camera sees; None for that of the CPU.

    Raises:
        ValueError: A view's name, shape or dtype is wrong, or there is none.
    """

    def __init__(
        self,
        verts: npt.NDArray[np.floating],
        faces: npt.NDArray[np.integer],
        views: Mapping[str, npt.NDArray[np.uint8]],
        rig: Rig,
        rasterizer: Rasterizer | None = None,
    ) -> None:
        if not views or set(views) - set(VIEW_NAMES):
            raise ValueError(f"expected views named {VIEW_NAMES}, got {tuple(views)}")
        for name, image in views.items():
            if image.ndim != 3 or image.shape[2] != 4 or image.shape[0] != image.shape[1] or image.dtype != np.uint8:
                raise ValueError(f"the {name} view is {image.dtype} {image.shape}, expected uint8 [H, H, 4]")
        self._mesh = (rasterizer or CpuRasterizer()).mesh(np.asarray(verts, np.float32), faces)
        cameras = dict(zip(VIEW_NAMES, rig.c2w(), strict=True))
        seen = [name for name in VIEW_NAMES if name in views]
        with ThreadPoolExecutor(len(seen), "tetraview-views") as pool:  # Embree and OpenCV let each other run
            self._views = list(pool.map(lambda name: _prepare(self._mesh, views[name], cameras[name], rig.fovy_deg), seen))
        self._fovy_deg = rig.fovy_deg
        self._offsets = np.zeros((len(self._views), 3), np.float32)

    def match_views(self, points: FloatArray, normals: FloatArray, face_normals: FloatArray) -> None:
        """Even out small differences of exposure: offsets per view that make views agree where they see the same points.

        Args:
            points, normals, face_normals: float32 [N, 3]; some thousand points spread over the surface.
        """
        self._offsets = np.zeros((len(self._views), 3), np.float32)
        weights, colours = self._weigh(points, normals, face_normals)
        n = len(self._views)
        system, right = np.eye(n) * 1e-6, np.zeros((n, 3))
        for i in range(n):
            for j in range(i + 1, n):
                both = np.sqrt(weights[i] * weights[j])
                seen = both > 1e-3
                if seen.sum() < 20:
                    continue
                difference = np.median(colours[j][seen] - colours[i][seen], axis=0)
                share = float(both.sum())
                system[[i, j], [i, j]] += share
                system[[i, j], [j, i]] -= share
                right[i] += share * difference
                right[j] -= share * difference
        system += np.eye(n) * (0.1 * np.trace(system) / n)
        self._offsets = np.clip(np.linalg.solve(system, right), -_MAX_OFFSET, _MAX_OFFSET).astype(np.float32)

    def sample(self, points: FloatArray, normals: FloatArray, face_normals: FloatArray) -> ViewColours:
        """Blend the views' colours at points.

        Args:
            points: float32 [N, 3], on the mesh.
            normals: float32 [N, 3], smooth, unit; they weigh the views.
            face_normals: float32 [N, 3], unit; they decide which side of a face a camera is on.
        """
        weights, colours = self._weigh(points, normals, face_normals)
        trust = weights.max(0)
        sharp = np.square(np.square(weights)) * weights  # how decidedly the view that faces a point best wins
        total = sharp.sum(0)
        colour = np.zeros((len(points), 3), np.float32)
        for k in range(len(self._views)):
            colour += (sharp[k] / np.maximum(total, 1e-30))[:, None] * np.clip(colours[k] + self._offsets[k], 0, 1)
        confidence = _smoothstep(trust, 0.02, 0.3)
        return ViewColours(np.where(confidence[:, None] > 0, colour, 0), confidence)

    def _weigh(self, points: FloatArray, normals: FloatArray, face_normals: FloatArray) -> tuple[FloatArray, list[FloatArray]]:
        """Weight 0..1 of each view at each point, float32 [V, N], and its colour there, V times float32 [N, 3]."""
        weights = np.zeros((len(self._views), len(points)), np.float32)
        colours = []
        for k, view in enumerate(self._views):
            to_camera = view.c2w[:3, 3] - points
            if self._fovy_deg == ORTHOGRAPHIC:  # parallel rays end on the camera's plane
                axis = view.c2w[:3, 2]
                distance, to_camera = np.asarray(to_camera @ axis, np.float32), np.tile(axis, (len(points), 1))
            else:
                distance = np.sqrt(np.einsum("nc,nc->n", to_camera, to_camera))
                to_camera /= distance[:, None]
            cosine = np.einsum("nc,nc->n", normals, to_camera)
            facing = _smoothstep(cosine, *_FACING_RANGE) * np.maximum(cosine, 0)
            seen = np.flatnonzero((facing > 0) & (np.einsum("nc,nc->n", face_normals, to_camera) > 0.02))
            xy = project(points[seen], view.c2w, self._fovy_deg)[:, :2]
            trust = _sample(view.trust, xy)
            sure = trust > 0
            seen, xy, trust = seen[sure], xy[sure], trust[sure]
            rgba = _sample(view.image, xy)
            hidden = self._hidden(view, xy, points, face_normals, to_camera, distance, seen)
            weights[k, seen] = facing[seen] * trust * ~hidden
            colour = np.zeros((len(points), 3), np.float32)
            colour[seen] = rgba[:, :3] / np.maximum(rgba[:, 3:], 1e-3)
            colours.append(colour)
        return weights, colours

    def _hidden(
        self,
        view: _View,
        xy: FloatArray,
        points: FloatArray,
        face_normals: FloatArray,
        to_camera: FloatArray,
        distance: FloatArray,
        rows: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.bool_]:
        """Whether the mesh stands between the camera and each of `points[rows]`: by depth image, by ray where that is unsure."""
        slack = 0.004
        reach = distance[rows]
        hidden = reach > _sample(view.farthest, xy, nearest=True) + 2 * slack
        unsure = np.flatnonzero(~hidden & (reach > _sample(view.nearest, xy, nearest=True) + slack))
        if len(unsure):
            at = rows[unsure]
            hidden[unsure] = self._mesh.occluded(points[at] + 2e-3 * face_normals[at], to_camera[at], distance[at])
        return hidden


def _prepare(mesh: MeshRasterizer, rgba: npt.NDArray[np.uint8], c2w: FloatArray, fovy_deg: float) -> _View:
    image = rgba.astype(np.float32) / np.float32(255)
    image[..., :3] *= image[..., 3:]
    side = min(len(rgba), _DEPTH_PX)
    depth = mesh.rasterize(c2w, fovy_deg, side, side).distance
    depth = np.where(np.isfinite(depth), depth, _FAR).astype(np.float32)
    alpha = cv2.resize(image[..., 3], (side, side), interpolation=cv2.INTER_AREA)
    return _View(c2w, image, cv2.erode(depth, np.ones((3, 3))), cv2.dilate(depth, np.ones((3, 3))), _edge_trust(depth, alpha))


def _edge_trust(depth: FloatArray, alpha: FloatArray) -> FloatArray:
    """0 on and beside depth edges and outside the silhouette, rising smoothly to 1: float32 [D, D]."""
    padded = np.pad(depth, 1, mode="edge")
    bend_x = np.abs(padded[1:-1, 2:] - 2 * depth + padded[1:-1, :-2])
    bend_y = np.abs(padded[2:, 1:-1] - 2 * depth + padded[:-2, 1:-1])
    edge = (np.maximum(bend_x, bend_y) > _DEPTH_JUMP) | (depth >= _FAR) | (alpha < 0.95)
    if not edge.any():
        return np.ones_like(depth)
    distance = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    per_px = len(depth) / 512
    return _smoothstep(distance, 1.0, 1.0 + max(_EDGE_FADE_PX * per_px, 1.5))


def _smoothstep(value: FloatArray, low: float, high: float) -> FloatArray:
    t = np.clip((value - low) / (high - low), 0, 1).astype(np.float32)
    return t * t * (3 - 2 * t)


def _sample(image: FloatArray, xy: FloatArray, *, nearest: bool = False) -> FloatArray:
    """An image [H, W] or [H, W, C] at `xy` [N, 2] (-1..1, y down): float32 [N] or [N, C]; zero outside."""
    height, width = image.shape[:2]
    n, columns = len(xy), 4096
    rows = -(-max(n, 1) // columns)
    grid = np.full((rows * columns, 2), -1e4, np.float32)  # cv2.remap wants an image of coordinates
    grid[:n] = (xy + 1) * (np.array([width, height], np.float32) / 2) - 0.5
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    found = cv2.remap(image, grid.reshape(rows, columns, 2), None, how, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return found.reshape(rows * columns, *image.shape[2:])[:n]
