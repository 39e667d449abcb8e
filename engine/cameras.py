"""Conventions of space and cameras, in one place.

World: Blender's. +Z up; the object's front looks along -Y. Objects are centred in the unit sphere.
`c2w`: float32 [..., 4, 4], camera axes x right, y up, looking along -z: a Blender camera's `matrix_world`.
`azimuth_deg`: 0 = camera on -Y (Blender's Front view), 90 = on +X (Right), 180 = Back, 270 = Left.
`elevation_deg`: positive up. Images: row 0 on top; pixel centres at half-integers.
Canonical rig: azimuths 0/90/180/270, elevation 20, distance 4, `fovy_deg` 30 (a unit sphere just fits).
`fovy_deg` 0 means an orthographic camera whose image shows `ORTHOGRAPHIC_HALF_EXTENT` world units on either side of its middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

RIG_AZIMUTH_DEG: tuple[float, ...] = (0.0, 90.0, 180.0, 270.0)
RIG_ELEVATION_DEG = 20.0
RIG_DISTANCE = 4.0
RIG_FOVY_DEG = 30.0
ORTHOGRAPHIC = 0.0
"""The field of view that stands for an orthographic lens."""
ORTHOGRAPHIC_HALF_EXTENT = RIG_DISTANCE * math.sin(math.radians(RIG_FOVY_DEG / 2))
"""Half the height of an orthographic image, world units: a unit sphere fits with the margin that it has in the canonical rig."""


@dataclass(frozen=True)
class Rig:
    """The four cameras that views are seen from: one elevation, one lens, azimuths 0/90/180/270, all looking at the origin.

    The distance follows from the lens, so that a unit sphere always fills the same share of the image.

    Attributes:
        elevation_deg: Elevation of all four cameras, degrees, in (-90, 90).
        fovy_deg: Vertical field of view, degrees; 0 for an orthographic lens.
    """

    elevation_deg: float = RIG_ELEVATION_DEG
    fovy_deg: float = RIG_FOVY_DEG

    @property
    def inverse_distance(self) -> float:
        """1 / distance of the cameras from the origin; 0 for an orthographic lens."""
        return math.sin(math.radians(self.fovy_deg) / 2) / ORTHOGRAPHIC_HALF_EXTENT

    @property
    def distance(self) -> float:
        """Distance of the cameras from the origin, world units; that of the canonical rig for an orthographic lens."""
        return RIG_DISTANCE if self.fovy_deg == ORTHOGRAPHIC else 1 / self.inverse_distance

    @property
    def half_extent(self) -> float:
        """Half the height that an image shows at the origin, world units."""
        return ORTHOGRAPHIC_HALF_EXTENT / math.cos(math.radians(self.fovy_deg) / 2)

    def c2w(self) -> FloatArray:
        """The four cameras, float32 [4, 4, 4], in the order of `VIEW_NAMES`."""
        return orbit_c2w(np.array(RIG_AZIMUTH_DEG), self.elevation_deg, self.distance)


CANONICAL_RIG = Rig()
TURNAROUND_RIG = Rig(0.0, ORTHOGRAPHIC)
"""The cameras of drawn turnarounds: eye level, without perspective."""


def orbit_c2w(azimuth_deg: npt.ArrayLike, elevation_deg: npt.ArrayLike, distance: npt.ArrayLike = RIG_DISTANCE) -> FloatArray:
    """Camera-to-world matrices of cameras on a sphere, looking at the origin.

    Args:
        azimuth_deg: [V], degrees; 0 is Blender's front view (-Y), 90 is +X.
        elevation_deg: [V] or scalar, degrees, in (-90, 90); at a pole the up vector is undefined.
        distance: [V] or scalar; distance from the origin, world units.

    Returns:
        float32 [V, 4, 4]; see the module docstring for the axes.
    """
    azimuth, elevation, radius = np.broadcast_arrays(
        np.deg2rad(np.atleast_1d(np.asarray(azimuth_deg, np.float64))),
        np.deg2rad(np.asarray(elevation_deg, np.float64)),
        np.asarray(distance, np.float64),
    )
    zero = np.zeros_like(azimuth)
    right = np.stack([np.cos(azimuth), np.sin(azimuth), zero], -1)
    back = np.stack(  # from the origin to the camera: the camera's +z
        [np.cos(elevation) * np.sin(azimuth), -np.cos(elevation) * np.cos(azimuth), np.sin(elevation)], -1
    )
    up = np.cross(back, right)
    c2w = np.zeros((*azimuth.shape, 4, 4))
    c2w[..., :3, 0], c2w[..., :3, 1], c2w[..., :3, 2] = right, up, back
    c2w[..., :3, 3] = back * radius[..., None]
    c2w[..., 3, 3] = 1.0
    return c2w.astype(np.float32)


def rig_c2w(elevation_deg: float = RIG_ELEVATION_DEG) -> FloatArray:
    """The four cameras of the canonical rig, float32 [4, 4, 4], in the order of `VIEW_NAMES`."""
    return orbit_c2w(np.array(RIG_AZIMUTH_DEG), elevation_deg, RIG_DISTANCE)


def pixel_rays(
    c2w: npt.ArrayLike, fovy_deg: float, height: int, width: int, *, supersample: int = 1
) -> tuple[FloatArray, FloatArray]:
    """Origins and unit directions of the rays through all pixels of one camera.

    Args:
        c2w: [4, 4].
        fovy_deg: Vertical field of view, degrees; 0 for an orthographic camera.
        height, width: Image size, pixels.
        supersample: Rays per pixel side; with s, the result is that of an image s times as large.

    Returns:
        origins, directions: float32 [height * s, width * s, 3].
    """
    rows, cols = height * supersample, width * supersample
    y = (np.arange(rows) + 0.5) / rows * 2 - 1
    x = ((np.arange(cols) + 0.5) / cols * 2 - 1) * (cols / rows)
    return rays_through(c2w, fovy_deg, np.stack(np.broadcast_arrays(x[None, :], y[:, None]), -1))


def rays_through(c2w: npt.ArrayLike, fovy_deg: float, xy: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Origins and unit directions of rays through places in images.

    Args:
        c2w: [4, 4], or [N, 4, 4] with one camera a place.
        fovy_deg: Vertical field of view, degrees; 0 for an orthographic camera.
        xy: [..., 2], or [N, 2]; y is -1..1 over the image's height, downward, and x has the same unit, to the right.

    Returns:
        origins, directions: float32 [..., 3], or [N, 3].
    """
    matrix, places = np.asarray(c2w, np.float64), np.asarray(xy, np.float64) * (1, -1)
    rotation, position = np.swapaxes(matrix[..., :3, :3], -1, -2), matrix[..., :3, 3]
    tan = ORTHOGRAPHIC_HALF_EXTENT if fovy_deg == ORTHOGRAPHIC else np.tan(np.deg2rad(fovy_deg) / 2)
    plane = np.concatenate([places * tan, np.zeros_like(places[..., :1])], -1)
    if fovy_deg == ORTHOGRAPHIC:  # parallel rays from the camera's own plane
        origins = _rotated(plane, rotation) + position
        directions = np.broadcast_to(-matrix[..., :3, 2], origins.shape)
    else:
        directions = _rotated(plane - (0, 0, 1), rotation)
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        origins = np.broadcast_to(position, directions.shape)
    return np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32)


def _rotated(vectors: npt.NDArray[np.float64], rotation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Vectors [..., 3] times one rotation [3, 3], or each of [N, 3] times its own of [N, 3, 3]."""
    if rotation.ndim == 2:
        return np.asarray(vectors @ rotation)
    return np.asarray((vectors[:, None] @ rotation)[:, 0])


def project(points: npt.ArrayLike, c2w: npt.ArrayLike, fovy_deg: float) -> FloatArray:
    """Project world points into one camera of square image.

    Args:
        points: [N, 3], world.
        c2w: [4, 4].
        fovy_deg: Vertical field of view, degrees; 0 for an orthographic camera.

    Returns:
        float32 [N, 3]: x and y in -1..1 over the image (x right, y DOWN, as `grid_sample` has them), and the depth along
        the optical axis (positive in front of the camera).
    """
    matrix = np.asarray(c2w, np.float64)
    camera = (np.asarray(points, np.float64) - matrix[:3, 3]) @ matrix[:3, :3]  # rows of R^T are the camera's axes
    depth = -camera[:, 2]
    if fovy_deg == ORTHOGRAPHIC:
        scale = np.full_like(depth, 1 / ORTHOGRAPHIC_HALF_EXTENT)
    else:
        scale = 1 / (np.tan(np.deg2rad(fovy_deg) / 2) * depth)
    return np.stack([camera[:, 0] * scale, -camera[:, 1] * scale, depth], -1).astype(np.float32)
