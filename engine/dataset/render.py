"""Views of textured meshes by Embree, fast enough to render a data set on the way to its first epoch.

Only pixels that the projection of a triangle can touch are traced; everything is float32 and one gather per quantity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..cameras import ORTHOGRAPHIC, ORTHOGRAPHIC_HALF_EXTENT, FloatArray, pixel_rays
from ..imaging.colour import linear_to_srgb, srgb_to_linear
from ..rendering.embree import EmbreeMesh
from .lighting import Light, corner_normals
from .textured_mesh import TexturedMesh

Paint = Callable[[FloatArray, FloatArray], FloatArray]
"""Takes points float32 [N, 3] and their albedo [N, 3], sRGB 0..255, and returns the albedo to show."""

_MARGIN_PX = 0.01  # added to the projected extents of a triangle against rounding


@dataclass(frozen=True)
class RenderedViews:
    """Pictures of one object.

    Attributes:
        rgba: uint8 [V, px, px, 4], sRGB with straight alpha; colour is 0 where alpha is 0.
        depth: float32 [V, px, px], distance along the ray to the first hit, inf where there is none. It is that of the sample
            at or next (by half a sample, right and down) to the pixel's centre.
    """

    rgba: npt.NDArray[np.uint8]
    depth: FloatArray


@lru_cache(maxsize=4)
def _camera_rays(fovy_deg: float, px: int, supersample: int) -> tuple[FloatArray, FloatArray]:
    """Origins and unit directions in camera axes, float32 [px * px, s * s, 3] each, samples of a pixel row-major."""
    rays = pixel_rays(np.eye(4), fovy_deg, px, px, supersample=supersample)
    tiled = [a.reshape(px, supersample, px, supersample, 3).swapaxes(1, 2).reshape(px * px, supersample**2, 3) for a in rays]
    return np.ascontiguousarray(tiled[0]), np.ascontiguousarray(tiled[1])


def _touched_pixels(
    verts: FloatArray, faces: npt.NDArray[np.int32], c2w: FloatArray, fovy_deg: float, px: int
) -> npt.NDArray[np.intp]:
    """Flat indices of the pixels in the bounding rectangle of any projected triangle; all if one reaches behind the camera."""
    camera = (verts - c2w[:3, 3]) @ c2w[:3, :3]
    if camera[:, 2].max() > -1e-3:
        return np.arange(px * px)
    if fovy_deg == ORTHOGRAPHIC:
        scale = np.full(len(camera), 0.5 * px / ORTHOGRAPHIC_HALF_EXTENT, np.float32)
    else:
        scale = -0.5 * px / (np.tan(np.deg2rad(fovy_deg) / 2) * camera[:, 2])
    pixels = np.stack([0.5 * px + camera[:, 0] * scale, 0.5 * px - camera[:, 1] * scale])  # [2, V], x and y down
    corners = pixels[:, faces.T]  # [2, 3, F]
    x0, y0 = np.clip(np.floor(corners.min(1) - _MARGIN_PX), 0, px).astype(np.int64)
    x1, y1 = np.clip(np.floor(corners.max(1) + _MARGIN_PX) + 1, 0, px).astype(np.int64)
    # Each rectangle is +1 at two opposite corners and -1 at the others; sums along both axes count the cover of each pixel.
    width = px + 1
    plus = np.concatenate([y0 * width + x0, y1 * width + x1])
    minus = np.concatenate([y0 * width + x1, y1 * width + x0])
    change = np.bincount(plus, minlength=width**2) - np.bincount(minus, minlength=width**2)
    cover = change.reshape(width, width).cumsum(0).cumsum(1)
    return np.flatnonzero(cover[:px, :px])


class _Albedo:
    """Texture lookups at hits, values 0..255."""

    def __init__(self, mesh: TexturedMesh) -> None:
        self._height, self._width = mesh.texture.shape[:2]
        self._texels = mesh.texture.reshape(-1, 3).astype(np.float32)
        self._nearest = mesh.nearest
        corner_uvs = mesh.uvs[mesh.faces].astype(np.float32)  # [F, 3, 2]
        x, y = corner_uvs[..., 0] * self._width, (1 - corner_uvs[..., 1]) * self._height
        self._edges = np.stack([x[:, 0], x[:, 1] - x[:, 0], x[:, 2] - x[:, 0], y[:, 0], y[:, 1] - y[:, 0], y[:, 2] - y[:, 0]], -1)

    def __call__(self, face_index: npt.NDArray[np.int64], b1: FloatArray, b2: FloatArray) -> FloatArray:
        """float32 [N, 3] at barycentrics (1 - b1 - b2, b1, b2) of faces [N]."""
        edges = self._edges[face_index]
        x = edges[:, 0] + b1 * edges[:, 1] + b2 * edges[:, 2]
        y = edges[:, 3] + b1 * edges[:, 4] + b2 * edges[:, 5]
        if self._nearest:
            column = np.clip(x, 0, self._width - 1).astype(np.int32)
            row = np.clip(y, 0, self._height - 1).astype(np.int32)
            return self._texels[row * self._width + column]
        x = np.clip(x - 0.5, 0, self._width - 1)
        y = np.clip(y - 0.5, 0, self._height - 1)
        column, row = x.astype(np.int32), y.astype(np.int32)
        x, y = (x - column)[:, None], (y - row)[:, None]
        right = np.minimum(column + 1, self._width - 1)
        top, bottom = row * self._width, np.minimum(row + 1, self._height - 1) * self._width
        upper = self._texels[top + column] * (1 - x) + self._texels[top + right] * x
        lower = self._texels[bottom + column] * (1 - x) + self._texels[bottom + right] * x
        return upper * (1 - y) + lower * y


def render_views(
    mesh: TexturedMesh, c2w: npt.ArrayLike, fovy_deg: float, px: int, supersample: int = 2, shading: Light | None = None,
    paint: Paint | None = None,
) -> RenderedViews:  # fmt: skip
    """Render an object from several cameras.

    Args:
        mesh: The object; both sides of its faces are seen.
        c2w: [V, 4, 4], see `cameras`.
        fovy_deg: Vertical field of view, degrees; 0 for orthographic cameras.
        px: Side of the square images, pixels.
        supersample: Rays per pixel side; samples are averaged in sRGB, as premultiplied colour.
        shading: Light of the scene; None renders the bare albedo.
        paint: Changes the albedo by where a point lies, before the light; None keeps the texture's.

    Returns:
        RenderedViews of V images.

    Raises:
        ValueError: `c2w` is not [V, 4, 4], or the mesh has no faces.
    """
    cameras = np.asarray(c2w, np.float32)
    if cameras.ndim != 3 or cameras.shape[1:] != (4, 4):
        raise ValueError(f"c2w: expected [V, 4, 4], got {cameras.shape}")
    scene = EmbreeMesh(mesh.verts, mesh.faces)
    albedo = _Albedo(mesh)
    normals = corner_normals(mesh.verts, mesh.faces) if shading is not None else None
    samples = supersample**2
    centre_sample = (supersample // 2) * (supersample + 1)
    start_grid, grid = _camera_rays(float(fovy_deg), px, supersample)
    rgba = np.zeros((len(cameras), px * px, 4), np.uint8)
    depth = np.full((len(cameras), px * px), np.inf, np.float32)
    for view, camera in enumerate(cameras):
        pixels = _touched_pixels(mesh.verts, mesh.faces, camera, fovy_deg, px)
        if len(pixels) == 0:
            continue
        directions = grid[pixels].reshape(-1, 3) @ camera[:3, :3].T  # [P * s * s, 3]
        origins = start_grid[pixels].reshape(-1, 3) @ camera[:3, :3].T + camera[:3, 3]
        hits = scene.first_hits(origins, directions)
        hit = np.flatnonzero(hits.face_index >= 0)
        face_index, weights = hits.face_index[hit], hits.barycentrics[hit]
        colour = albedo(face_index, weights[:, 1], weights[:, 2])  # [H, 3]
        if paint is not None:
            colour = paint(origins[hit] + directions[hit] * hits.distance[hit, None], colour)
        if shading is not None and normals is not None and len(hit):
            normal = np.einsum("nk,nkc->nc", weights, normals[face_index])
            normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-20)
            normal *= -np.sign(np.einsum("nc,nc->n", normal, directions[hit]))[:, None]
            points = origins[hit] + directions[hit] * hits.distance[hit, None]
            colour = linear_to_srgb(srgb_to_linear(colour / 255) * shading.factors(view, points, normal, scene)) * 255
        premultiplied = np.zeros((len(directions), 3), np.float32)
        premultiplied[hit] = colour
        count = (hits.face_index >= 0).reshape(-1, samples).sum(1)  # [P]
        mean = premultiplied.reshape(-1, samples, 3).sum(1) / np.maximum(count, 1)[:, None]
        rgba[view, pixels, :3] = mean + 0.5
        rgba[view, pixels, 3] = count * (255 / samples) + 0.5
        depth[view, pixels] = hits.distance.reshape(-1, samples)[:, centre_sample]
    return RenderedViews(rgba.reshape(-1, px, px, 4), depth.reshape(-1, px, px))
