"""Rasterise a mesh for a camera or a UV layout: one interface over all implementations.

On a CPU these are Embree (`embree.EmbreeMesh`) and the scan lines of `uv_raster`; on a device that runs our kernels,
`kernels.raster`. Both render both sides of faces, and they agree except for rounding at the borders of faces.
"""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...kernels import raster
from ..cameras import FloatArray
from .embree import EmbreeMesh, Hits
from .uv_raster import Texels, image_pixels, rasterize_uvs


class MeshRasterizer(Protocol):
    """A triangle mesh, ready to be looked at; two-sided. `embree.EmbreeMesh` is one."""

    def rasterize(self, c2w: npt.ArrayLike, fovy_deg: float, height: int, width: int, *, supersample: int = 1) -> Hits:
        """First hits of all pixels of one camera: fields are [height * supersample, width * supersample, ...].

        Args:
            c2w: [4, 4], see `cameras`.
            fovy_deg: Vertical field of view, degrees.
            height, width: Size of the image, pixels.
            supersample: Samples per pixel side.
        """

    def first_hits(self, origins: FloatArray, directions: FloatArray) -> Hits:
        """Nearest hits of rays; origins and unit directions float32 [..., 3]."""

    def occluded(
        self, origins: FloatArray, directions: FloatArray, max_distance: npt.NDArray[np.floating] | float
    ) -> npt.NDArray[np.bool_]:
        """Whether anything lies on each ray [N, 3] nearer than `max_distance` ([N] or scalar)."""


class Rasterizer(Protocol):
    """Makes meshes ready to be looked at, and rasterises UV layouts.

    Attributes:
        at_once: Whether rasterising a whole layout costs hardly more than a few of its faces.
    """

    at_once: bool

    def mesh(self, verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> MeshRasterizer:
        """A mesh of verts float [V, 3] and faces int [F, 3], F >= 1.

        Raises:
            ValueError: A shape is wrong, or there are no faces.
        """

    def rasterize_uvs(self, uvs: npt.NDArray[np.floating], uv_faces: npt.NDArray[np.integer], texture_px: int) -> Texels:
        """The texels whose centres an atlas covers, in the order of the faces.

        Args:
            uvs: [U, 2], origin bottom-left.
            uv_faces: int [F, 3].
            texture_px: Side of the image.
        """


class CpuRasterizer:
    """Embree for cameras, scan lines for UVs (where faces overlap, a texel occurs once for each); see `Rasterizer`."""

    at_once = False

    def mesh(self, verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> EmbreeMesh:
        return EmbreeMesh(verts, faces)

    def rasterize_uvs(self, uvs: npt.NDArray[np.floating], uv_faces: npt.NDArray[np.integer], texture_px: int) -> Texels:
        return rasterize_uvs(uvs, uv_faces, texture_px)


class KernelRasterizer:
    """`kernels.raster` for both (where faces overlap, a texel goes to the first of them); see `Rasterizer`.

    Args:
        device: Device to compute on; fast if the kernels run there.
    """

    at_once = True

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)

    def mesh(self, verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> KernelMesh:
        return KernelMesh(verts, faces, self._device)

    def rasterize_uvs(self, uvs: npt.NDArray[np.floating], uv_faces: npt.NDArray[np.integer], texture_px: int) -> Texels:
        places = image_pixels(uvs, texture_px)
        points = np.concatenate([places, np.ones((len(places), 1))], 1)
        seen = raster.rasterize(_to(points, self._device), _to(uv_faces, self._device), texture_px, texture_px)
        face, pixel = _by_face(seen.face_index.reshape(-1))
        barycentrics = seen.barycentrics.reshape(-1, 3)[pixel].cpu().numpy()
        where = pixel.cpu().numpy()
        return Texels(where // texture_px, where % texture_px, face.cpu().numpy(), barycentrics, texture_px)


class KernelMesh:
    """A mesh for `kernels.raster`; see `MeshRasterizer`. Single rays are few, and go to Embree on the CPU."""

    def __init__(self, verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], device: torch.device) -> None:
        if verts.ndim != 2 or verts.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0:
            raise ValueError(f"expected verts [V, 3] and faces [F >= 1, 3], got {verts.shape} and {faces.shape}")
        self._host = np.asarray(verts, np.float32), faces
        self._verts = _to(self._host[0].astype(np.float64), device)
        self._faces = _to(faces, device)

    def rasterize(self, c2w: npt.ArrayLike, fovy_deg: float, height: int, width: int, *, supersample: int = 1) -> Hits:
        rows, columns = height * supersample, width * supersample
        matrix = _to(np.asarray(c2w, np.float64), self._verts.device)
        camera = (self._verts - matrix[:3, 3]) @ matrix[:3, :3]  # [V, 3], x right, y up, looking along -z
        focal = rows / (2 * float(np.tan(np.deg2rad(fovy_deg) / 2)))  # pixels
        depth = -camera[:, 2]
        points = torch.stack([camera[:, 0] * focal + depth * (columns / 2), depth * (rows / 2) - camera[:, 1] * focal, depth], 1)
        seen = raster.rasterize(points, self._faces, rows, columns)
        x = (torch.arange(columns, device=points.device) + 0.5 - columns / 2) / focal
        y = (torch.arange(rows, device=points.device) + 0.5 - rows / 2) / focal
        distance = seen.depth * (x.square() + y.square()[:, None] + 1).sqrt()  # along the pixel's ray, not the axis
        return Hits(seen.face_index.cpu().numpy(), seen.barycentrics.cpu().numpy(), distance.float().cpu().numpy())

    def first_hits(self, origins: FloatArray, directions: FloatArray) -> Hits:
        return self._embree.first_hits(origins, directions)

    def occluded(
        self, origins: FloatArray, directions: FloatArray, max_distance: npt.NDArray[np.floating] | float
    ) -> npt.NDArray[np.bool_]:
        return self._embree.occluded(origins, directions, max_distance)

    @functools.cached_property
    def _embree(self) -> EmbreeMesh:
        return EmbreeMesh(*self._host)


def rasterizer_for(device: torch.device | str) -> Rasterizer:
    """The rasteriser of a device: our kernels where they run, else that of the CPU."""
    device = torch.device(device)
    return KernelRasterizer(device) if raster.runs_on(device) else CpuRasterizer()


def _to(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    wide = np.int64 if np.issubdtype(array.dtype, np.integer) else np.float64
    return torch.from_numpy(np.ascontiguousarray(array, wide)).to(device)


def _by_face(face_index: Tensor) -> tuple[Tensor, Tensor]:
    """Faces [T] and pixels [T] of the covered pixels, ordered by face, and then as they lie in the image."""
    pixel = (face_index >= 0).nonzero()[:, 0]
    face, order = face_index[pixel].sort(stable=True)
    return face, pixel[order]
