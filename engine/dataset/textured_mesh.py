"""The form in which every object of the data set and of the evaluation reaches the renderer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cameras import FloatArray


@dataclass(frozen=True)
class TexturedMesh:
    """A triangle mesh with one base colour texture, two-sided, without light.

    Attributes:
        id: Name that is unique within its pack or folder.
        verts: float32 [V, 3], Blender axes (+Z up, front -Y).
        faces: int32 [F, 3]; winding as in the source, not always consistent.
        uvs: float32 [V, 2], one per vertex, origin bottom-left (image row 0 is v = 1), within 0..1.
        texture: uint8 [h, w, 3], sRGB.
        nearest: Whether the texture is a palette of flat colours, sampled without interpolation.
        meta: Metadata from the source (name, licence, source, scan, ...).
    """

    id: str
    verts: FloatArray
    faces: npt.NDArray[np.int32]
    uvs: FloatArray
    texture: npt.NDArray[np.uint8]
    nearest: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)


def unit_sphere_transform(verts: npt.NDArray[np.floating]) -> tuple[FloatArray, float]:
    """Centre float32 [3] and scale with which `(verts - centre) * scale` has its bounding box's centre at the origin and its
    farthest vertex at distance 1.

    Raises:
        ValueError: There are no vertices, one is not finite, or all are at one point.
    """
    if len(verts) == 0 or not np.isfinite(verts).all():
        broken = int((~np.isfinite(verts)).any(-1).sum())
        raise ValueError(f"expected finite vertices, got {len(verts)} of which {broken} are not finite")
    centre = ((verts.min(0) + verts.max(0)) / 2).astype(np.float32)
    radius = float(np.linalg.norm(verts - centre, axis=-1).max())
    if radius == 0:
        raise ValueError("all vertices are at one point")
    return centre, 1 / radius
