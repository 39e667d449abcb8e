"""Exact first hits on a triangle mesh with Embree: the CPU rasteriser of the artist's path and of the data set.

Wald et al. 2014, Embree: A Kernel Framework for Efficient CPU Ray Tracing. Binding: `embreex`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh

from ..cameras import FloatArray, pixel_rays

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Hits:
    """First hits of rays, or of the rays through an image's pixels.

    Attributes:
        face_index: int64 [...], index into `faces`; -1 where nothing is hit.
        barycentrics: float32 [..., 3], weights of the face's three corners.
        distance: float32 [...], along the unit ray direction; inf where nothing is hit.
    """

    face_index: IntArray
    barycentrics: FloatArray
    distance: FloatArray

    def flat(self) -> Hits:
        """The same with the leading dimensions made one."""
        return Hits(self.face_index.reshape(-1), self.barycentrics.reshape(-1, 3), self.distance.reshape(-1))

    def interpolate(self, values: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> FloatArray:
        """Values [V, C] given at the corners `faces` [F, 3], at the hits: float32 [..., C], zero where nothing is hit."""
        corners = values[faces[self.face_index]]  # [..., 3, C]; the rows of misses are masked below
        mixed = np.einsum("...k,...kc->...c", self.barycentrics, corners)
        return np.where(self.face_index[..., None] >= 0, mixed, 0).astype(np.float32)


class EmbreeMesh:
    """A triangle mesh ready for ray queries; two-sided.

    Args:
        verts: float [V, 3].
        faces: int [F, 3], F >= 1.

    Raises:
        ValueError: A shape is wrong, or there are no faces.
    """

    def __init__(self, verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> None:
        if verts.ndim != 2 or verts.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0:
            raise ValueError(f"expected verts [V, 3] and faces [F >= 1, 3], got {verts.shape} and {faces.shape}")
        self._scene = rtcore_scene.EmbreeScene()
        self._mesh = TriangleMesh(self._scene, np.ascontiguousarray(verts, np.float32), np.ascontiguousarray(faces, np.int32))

    def first_hits(self, origins: FloatArray, directions: FloatArray) -> Hits:
        """Nearest hits of rays; origins and unit directions float32 [..., 3]."""
        shape = origins.shape[:-1]
        flat_origins = np.ascontiguousarray(origins.reshape(-1, 3), np.float32)
        flat_directions = np.ascontiguousarray(directions.reshape(-1, 3), np.float32)
        found = self._scene.run(flat_origins, flat_directions, output=1)
        index = found["primID"].astype(np.int64)
        u, v = found["u"], found["v"]
        barycentrics = np.stack([1 - u - v, u, v], -1).astype(np.float32)
        distance = np.where(index >= 0, found["tfar"], np.inf).astype(np.float32)
        return Hits(index.reshape(shape), barycentrics.reshape(*shape, 3), distance.reshape(shape))

    def occluded(
        self, origins: FloatArray, directions: FloatArray, max_distance: npt.NDArray[np.floating] | float
    ) -> npt.NDArray[np.bool_]:
        """Whether anything lies on each ray [N, 3] nearer than `max_distance` ([N] or scalar)."""
        limit = np.broadcast_to(np.asarray(max_distance, np.float32), origins.shape[:-1]).reshape(-1)
        hits = self.first_hits(origins, directions)
        return (hits.distance.reshape(-1) < limit).reshape(origins.shape[:-1])

    def rasterize(self, c2w: npt.ArrayLike, fovy_deg: float, height: int, width: int, *, supersample: int = 1) -> Hits:
        """First hits of all pixels of one camera: fields are [height * supersample, width * supersample, ...]."""
        return self.first_hits(*pixel_rays(c2w, fovy_deg, height, width, supersample=supersample))
