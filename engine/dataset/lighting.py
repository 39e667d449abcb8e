"""Light for training inputs: photos are lit, the target albedo is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..cameras import FloatArray
from ..rendering.embree import EmbreeMesh

_SHADOW_OFFSET = 2e-3  # start of a shadow ray above the surface, world units


@dataclass(frozen=True)
class Light:
    """One distant lamp and an even surround; reflection is Lambertian, two-sided.

    Attributes:
        direction: [3] or [V, 3] (one per view), towards the lamp, world axes, any length.
        ambient: Strength of the surround; 1 alone gives the albedo.
        diffuse: Strength of the lamp where it falls at right angles.
        colour: Linear RGB tint of the lamp.
        shadows: Whether the object casts shadows on itself.
    """

    direction: npt.ArrayLike
    ambient: float = 0.6
    diffuse: float = 0.5
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shadows: bool = True

    def factors(self, view: int, points: FloatArray, normals: FloatArray, mesh: EmbreeMesh) -> FloatArray:
        """Factors of linear albedo, float32 [N, 3], at points [N, 3] with unit normals [N, 3] towards the viewer."""
        towards = np.asarray(self.direction, np.float32).reshape(-1, 3)
        towards = towards[view if len(towards) > 1 else 0]
        towards = towards / np.linalg.norm(towards)
        cosine = np.maximum(normals @ towards, 0)
        if self.shadows:
            rays = np.flatnonzero(cosine)
            origins = points[rays] + normals[rays] * np.float32(_SHADOW_OFFSET)
            cosine[rays[mesh.occluded(origins, np.broadcast_to(towards, origins.shape), np.inf)]] = 0
        return (self.ambient + self.diffuse * cosine[:, None] * np.asarray(self.colour)).astype(np.float32)


def corner_normals(verts: FloatArray, faces: npt.NDArray[np.int32], crease_deg: float = 40.0) -> FloatArray:
    """Unit normals of each face's corners, float32 [F, 3, 3]: smooth within creases, whatever the winding.

    Vertices at one place count as one. A corner's normal is the area-weighted mean of the normals of the faces about its
    vertex that lie within `crease_deg` of its own face's, each turned to its own face's side.
    """
    cross = np.cross(verts[faces[:, 1]] - verts[faces[:, 0]], verts[faces[:, 2]] - verts[faces[:, 0]])  # [F, 3], twice the area
    unit = cross / np.maximum(np.linalg.norm(cross, axis=-1, keepdims=True), 1e-20)
    welded = np.unique(verts, axis=0, return_inverse=True)[1].reshape(-1)
    corners = welded[faces].reshape(-1)  # [3F], the place of each corner
    order = np.argsort(corners, kind="stable")
    degree = np.bincount(corners)
    start = np.cumsum(degree) - degree
    partners = degree[corners]  # [3F], corners at the same place
    own = np.repeat(np.arange(len(corners)), partners)  # [P], all pairs (own, other) at one place
    offset = np.arange(len(own)) - np.repeat(np.cumsum(partners) - partners, partners)
    other = order[start[corners[own]] + offset]
    cosine = np.einsum("pc,pc->p", unit[own // 3], unit[other // 3])
    weight = np.where(np.abs(cosine) >= np.cos(np.deg2rad(crease_deg)), np.sign(cosine), 0)
    weight[own == other] = 1
    terms = weight[:, None] * cross[other // 3]
    summed = np.stack([np.bincount(own, terms[:, axis], len(corners)) for axis in range(3)], -1)
    normals = summed / np.maximum(np.linalg.norm(summed, axis=-1, keepdims=True), 1e-20)
    return normals.reshape(-1, 3, 3).astype(np.float32)
