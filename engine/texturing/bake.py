"""Surface points of texels, and the field's colour at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..rendering.rasterizer import CpuRasterizer, Rasterizer
from ..rendering.uv_raster import Texels
from .atlas import Atlas
from .normals import face_normals, vertex_normals

FloatArray = npt.NDArray[np.float32]

_BLOCK_TEXELS = 65_536
_FIELD_BATCH = 131_072


class ColourField(Protocol):
    """The interface that baking needs of a reconstruction (`Reconstructor.encode` returns one)."""

    def albedo(self, points: torch.Tensor) -> torch.Tensor:
        """sRGB colours 0..1 float [N, 3] at surface points [N, 3]."""
        ...


@dataclass(frozen=True)
class SurfaceTexels:
    """Covered texels and where they lie in space.

    Attributes:
        texels: Place in the image, face and barycentrics.
        points: float32 [T, 3], world.
        normals: float32 [T, 3], unit, interpolated from the vertices.
        face_normals: float32 [T, 3], unit, of the flat face.
    """

    texels: Texels
    points: FloatArray
    normals: FloatArray
    face_normals: FloatArray


def bake_surface(atlas: Atlas, texture_px: int) -> Iterator[SurfaceTexels]:
    """All covered texels of the atlas, in blocks of faces, so that memory stays bounded at any texture size."""
    surface = Surface(atlas, texture_px)
    for faces in surface.blocks():
        block = surface.texels(faces)
        if len(block.points):
            yield block


class Surface:
    """A mesh whose texels are asked for block by block, in any order and from any thread.

    Args:
        atlas: The unwrapped mesh.
        texture_px: Side of the texture.
        rasterizer: Finds the texels; None for that of the CPU.
    """

    def __init__(self, atlas: Atlas, texture_px: int, rasterizer: Rasterizer | None = None) -> None:
        self.atlas, self.texture_px = atlas, texture_px
        self._rasterizer = rasterizer or CpuRasterizer()
        self._at_verts = np.concatenate([atlas.verts, vertex_normals(atlas.verts, atlas.faces)], 1)  # [V, 6]
        self._flat = face_normals(atlas.verts, atlas.faces)[0].astype(np.float32)
        self._all = self._rasterizer.rasterize_uvs(atlas.uvs, atlas.uv_faces, texture_px) if self._rasterizer.at_once else None

    def blocks(self) -> list[npt.NDArray[np.int64]]:
        """The faces, split into runs of some `_BLOCK_TEXELS` texels each: int64 [F'] each."""
        count = -(-self.texture_px * self.texture_px // _BLOCK_TEXELS)
        return np.array_split(np.arange(len(self.atlas.faces)), min(count, len(self.atlas.faces)))

    def texels(self, faces: npt.NDArray[np.int64]) -> SurfaceTexels:
        """The texels that a run of faces covers; maybe none."""
        atlas = self.atlas
        if self._all is None:
            found = self._rasterizer.rasterize_uvs(atlas.uvs, atlas.uv_faces[faces], self.texture_px)
            texels = replace(found, face_index=found.face_index + faces[0])
        else:
            rows = slice(*np.searchsorted(self._all.face_index, [faces[0], faces[-1] + 1]))
            whole = self._all
            texels = Texels(whole.row[rows], whole.col[rows], whole.face_index[rows], whole.barycentrics[rows], self.texture_px)
        points, smooth = np.split(texels.interpolate(self._at_verts, atlas.faces), 2, axis=1)
        smooth = smooth / np.maximum(np.sqrt(np.einsum("tc,tc->t", smooth, smooth)), 1e-6)[:, None]
        return SurfaceTexels(texels, np.ascontiguousarray(points), smooth, self._flat[texels.face_index])


def sample_field(field: ColourField | Any, points: FloatArray) -> FloatArray:
    """The field's sRGB colour at surface points, in batches.

    Args:
        field: See `ColourField`; if it has a `device`, points are sent there.
        points: float32 [N, 3].

    Returns:
        float32 [N, 3] in 0..1.
    """
    device = getattr(field, "device", torch.device("cpu"))
    colours = np.zeros((len(points), 3), np.float32)
    with torch.no_grad():
        for start in range(0, len(points), _FIELD_BATCH):
            rows = slice(start, start + _FIELD_BATCH)
            batch = torch.from_numpy(np.ascontiguousarray(points[rows])).to(device)
            colours[rows] = field.albedo(batch).float().cpu().numpy()
    return np.clip(colours, 0, 1)
