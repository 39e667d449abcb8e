"""Small meshes and analytic colours, and their four views."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import trimesh
from tetraview.engine.cameras import RIG_FOVY_DEG, orbit_c2w, rig_c2w
from tetraview.engine.rendering.embree import EmbreeMesh, Hits
from tetraview.engine.texturing.atlas import Atlas
from tetraview.engine.types import VIEW_NAMES

ELEVATION_DEG = 20.0
Colour = Callable[[np.ndarray], np.ndarray]


def sphere(radius: float = 0.8, subdivisions: int = 4) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32)


def box(size: tuple[float, float, float], centre=(0.0, 0.0, 0.0), splits: int = 3) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.box(size)
    for _ in range(splits):
        mesh = mesh.subdivide()
    return np.asarray(mesh.vertices + np.array(centre), np.float32), np.asarray(mesh.faces, np.int32)


def joined(*parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0] + [len(verts) for verts, _ in parts])
    verts = np.concatenate([verts for verts, _ in parts])
    return verts, np.concatenate([faces + offset for (_, faces), offset in zip(parts, offsets, strict=False)]).astype(np.int32)


def waves(points: np.ndarray) -> np.ndarray:
    """A smooth colour in every direction, well inside 0..1."""
    return 0.5 + 0.35 * np.sin(np.asarray(points, np.float64) * np.array([5.0, 6.0, 7.0]) + np.array([0.3, 1.1, 2.0]))


class AnalyticField:
    """A field whose colour is a function of position."""

    def __init__(self, colour: Colour) -> None:
        self._colour = colour

    def albedo(self, points: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.array(self._colour(points.numpy()), np.float32))


def constant(rgb: tuple[float, float, float]) -> Colour:
    return lambda points: np.broadcast_to(np.array(rgb, np.float32), points.shape)


def rasterized(verts: np.ndarray, faces: np.ndarray, c2w: np.ndarray, side: int) -> tuple[Hits, np.ndarray]:
    """Hits at 2x2 samples a pixel, and coverage [side, side]."""
    hits = EmbreeMesh(verts, faces).rasterize(c2w, RIG_FOVY_DEG, side, side, supersample=2)
    return hits, (hits.face_index >= 0).reshape(side, 2, side, 2).mean((1, 3))


def photo(
    verts: np.ndarray, faces: np.ndarray, colour: Colour, c2w: np.ndarray, side: int = 384, background: float = 1.0
) -> np.ndarray:
    """Unlit photo, uint8 [side, side, 4] straight RGBA over a transparent background of the given grey."""
    hits, alpha = rasterized(verts, faces, c2w, side)
    inside = (hits.face_index >= 0)[..., None]
    rgb = np.where(inside, colour(hits.interpolate(verts, faces)), background).reshape(side, 2, side, 2, 3).mean((1, 3))
    return np.round(np.concatenate([rgb, alpha[..., None]], -1) * 255).astype(np.uint8)


def four_views(verts: np.ndarray, faces: np.ndarray, colour: Colour, side: int = 384) -> dict[str, np.ndarray]:
    """Their edges carry white in the colour, as those of careless cut-outs do."""
    return {name: photo(verts, faces, colour, c2w, side) for name, c2w in zip(VIEW_NAMES, rig_c2w(ELEVATION_DEG), strict=True)}


def sample_texture(image: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Bilinear colours float32 [N, 3] in 0..1 at uvs [N, 2]."""
    side = len(image)
    grid = np.stack([uvs[:, 0] * side - 0.5, (1 - uvs[:, 1]) * side - 0.5], -1).astype(np.float32)
    padded = np.zeros((-(-len(grid) // 1024) * 1024, 2), np.float32)
    padded[: len(grid)] = grid
    found = cv2.remap(
        image.astype(np.float32) / 255, padded.reshape(-1, 1024, 2), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found.reshape(-1, 3)[: len(grid)]


def textured_psnr(
    atlas: Atlas,
    image: np.ndarray,
    colour: Colour,
    azimuth_deg: float,
    elevation_deg: float,
    among: Callable[[np.ndarray], np.ndarray] | None = None,
) -> float:
    """PSNR in dB between texture and true colour over the object's pixels (`among` picks surface points), from a novel camera."""
    c2w = orbit_c2w([azimuth_deg], elevation_deg)[0]
    hits = EmbreeMesh(atlas.verts, atlas.faces).rasterize(c2w, RIG_FOVY_DEG, 256, 256)
    inside = hits.face_index >= 0
    points = hits.interpolate(atlas.verts, atlas.faces)
    if among is not None:
        inside[inside] &= among(points[inside])
    truth = colour(points[inside])
    shown = sample_texture(image, hits.interpolate(atlas.uvs, atlas.uv_faces)[inside])
    return float(-10 * np.log10(np.mean((truth - shown) ** 2)))
