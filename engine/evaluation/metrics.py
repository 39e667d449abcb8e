"""Metrics of pictures and surfaces against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from ..cameras import FloatArray, pixel_rays
from ..rendering.embree import EmbreeMesh, Hits
from ..texturing.normals import face_normals

_SSIM_SIGMA, _SSIM_RADIUS = 1.5, 5  # the 11 x 11 Gaussian window of the paper
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2


def ssim(image: npt.NDArray[np.floating], truth: npt.NDArray[np.floating]) -> float:
    """Structural similarity with the Gaussian window of Wang et al. 2004, mean over the channels and the pixels whose window
    lies inside the image.

    Args:
        image, truth: float [H, W, C], 0..1, at least 11 px a side.

    Raises:
        ValueError: The shapes differ, or the images are smaller than the window.
    """
    if image.shape != truth.shape or image.ndim != 3:
        raise ValueError(f"expected two images [H, W, C] of one shape, got {image.shape} and {truth.shape}")
    if min(image.shape[:2]) < 2 * _SSIM_RADIUS + 1:
        raise ValueError(f"expected at least {2 * _SSIM_RADIUS + 1} px a side, got {image.shape}")
    a, b = image.astype(np.float64), truth.astype(np.float64)

    def blur(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        wide = gaussian_filter(values, (_SSIM_SIGMA, _SSIM_SIGMA, 0), radius=(_SSIM_RADIUS, _SSIM_RADIUS, 0))
        return wide[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS]

    mean_a, mean_b = blur(a), blur(b)
    variance = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _SSIM_C1) / (mean_a**2 + mean_b**2 + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (variance + _SSIM_C2)
    return float(np.mean(luminance * structure))


@dataclass(frozen=True)
class SurfaceScore:
    """Distances between two surfaces, in units of the radius of the truth's bounding sphere.

    Attributes:
        chamfer: Mean of the two mean distances (not squared) from each surface's samples to the other's nearest.
        fscore: Harmonic mean of precision and recall, 0..1.
        precision: Share of the result's samples within the threshold of the truth.
        recall: Share of the truth's samples within the threshold of the result.
    """

    chamfer: float
    fscore: float
    precision: float
    recall: float


def sample_surface(
    verts: npt.NDArray[np.floating], faces: npt.NDArray[np.integer], count: int, rng: np.random.Generator
) -> FloatArray:
    """Points spread evenly over the area of all faces, whether they can be seen from outside or not: float32 [count, 3].

    Raises:
        ValueError: The mesh has no area.
    """
    corners = np.asarray(verts, np.float64)[faces]  # [F, 3, 3]
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.linalg.norm(np.cross(edge1, edge2), axis=-1)
    total = areas.sum()
    if not total > 0:
        raise ValueError(f"expected a mesh with an area, got {len(faces)} faces of area {total:g}")
    chosen = rng.choice(len(areas), count, p=areas / total)
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)  # fold the parallelogram onto the triangle
    return (corners[chosen, 0] + u * edge1[chosen] + v * edge2[chosen]).astype(np.float32)


def compare_surfaces(points: FloatArray, truth: FloatArray, threshold: float) -> SurfaceScore:
    """Chamfer distance and F-score of samples [N, 3] of the result and [M, 3] of the truth."""
    to_truth = cKDTree(truth).query(points)[0]
    to_result = cKDTree(points).query(truth)[0]
    precision, recall = float((to_truth < threshold).mean()), float((to_result < threshold).mean())
    fscore = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return SurfaceScore(float((to_truth.mean() + to_result.mean()) / 2), fscore, precision, recall)


def normal_error_deg(
    result: tuple[FloatArray, npt.NDArray[np.int32]], truth: tuple[FloatArray, npt.NDArray[np.int32]], c2w: FloatArray,
    fovy_deg: float, px: int,
) -> float | None:  # fmt: skip
    """Mean angle between the normals of two surfaces, degrees, over the pixels of all views in which both are seen.

    The normals are those of the faces, turned towards the camera, so that smooth shading hides nothing and a mesh's winding does
    not matter.

    Args:
        result, truth: Vertices float32 [V, 3] and faces int32 [F, 3] of each.
        c2w: Cameras, float32 [N, 4, 4].
        fovy_deg: Their vertical field of view, degrees.
        px: Side of the images.

    Returns:
        None if no pixel shows both.
    """
    scenes = [(EmbreeMesh(verts, faces), face_normals(verts, faces)[0]) for verts, faces in (result, truth)]
    total, count = 0.0, 0
    for camera in c2w:
        hits = [scene.rasterize(camera, fovy_deg, px, px).flat() for scene, _ in scenes]
        both = (hits[0].face_index >= 0) & (hits[1].face_index >= 0)
        _, directions = pixel_rays(camera, fovy_deg, px, px)
        ours, true = (
            _facing(normals, seen, directions.reshape(-1, 3), both) for (_, normals), seen in zip(scenes, hits, strict=True)
        )
        total += float(np.rad2deg(np.arccos(np.einsum("nc,nc->n", ours, true).clip(-1, 1))).sum())
        count += int(both.sum())
    return total / count if count else None


def _facing(normals: npt.NDArray[np.floating], hits: Hits, directions: FloatArray, chosen: npt.NDArray[np.bool_]) -> FloatArray:
    """The normals at the chosen hits, turned against the rays' directions."""
    found = normals[hits.face_index[chosen]]
    against = np.where(np.einsum("nc,nc->n", found, directions[chosen]) > 0, -1.0, 1.0)
    return np.asarray(found * against[:, None], np.float32)
