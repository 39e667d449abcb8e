"""Align a result with the truth, because hand-held photos reveal neither an object's size nor its place.

The alignment is one uniform scale and one shift, fitted so that the silhouettes of the exported mesh match the truth's in half of
the measurement's cameras. It has no rotation and ignores colours, and is the same for every kind of photo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from torch import Tensor

from ...cameras import RIG_FOVY_DEG, FloatArray, project
from ...dataset.textured_mesh import TexturedMesh
from ..metrics import sample_surface
from ..scoring import novel_c2w

STATEMENT = (
    "Aligned figures: the result is scaled and shifted (no rotation) so that its mesh's silhouettes match the truth's best in 8 "
    "of the 16 cameras, for every kind alike; unaligned figures: the mesh as the engine put it."
)

_GRID_PX = 64
_SAMPLES = 12_000
_SMOOTH_PX = 1.0
_SCALE_RANGE = (0.6, 1.7)


@dataclass(frozen=True)
class Alignment:
    """A place `x` of the result becomes `scale * x + shift` in the truth's frame; overlaps are of silhouettes, 0..1."""

    scale: float
    shift: tuple[float, float, float]
    overlap_before: float
    overlap: float

    def mesh(self, mesh: TexturedMesh) -> TexturedMesh:
        """The result's mesh in the truth's frame."""
        return replace(mesh, verts=(mesh.verts * np.float32(self.scale) + np.asarray(self.shift, np.float32)).astype(np.float32))

    def field(self, field: Any) -> AlignedField:
        """The result's field in the truth's frame, to be rendered."""
        return AlignedField(field, self.scale, self.shift)


class AlignedField:
    """A field moved to the frame of the truth, for `render_field`; empty outside the field's own unit sphere."""

    def __init__(self, field: Any, scale: float, shift: tuple[float, float, float]) -> None:
        self._field, self._scale, self._shift = field, scale, shift
        self.device = field.device

    def inside_hull(self, points: Tensor) -> Tensor:
        """bool [N] of points [N, 3]."""
        own = self._own(points)
        return self._field.inside_hull(own) & (own.square().sum(-1) < 1)

    def density(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density [N] per unit of the truth's frame and albedo [N, 3] of points [N, 3]."""
        density, albedo = self._field.density(self._own(points))
        return density / self._scale, albedo

    def _own(self, points: Tensor) -> Tensor:
        return (points - points.new_tensor(self._shift)) / self._scale


def align(result: TexturedMesh, truth: TexturedMesh, seed: int) -> Alignment:
    """The alignment with the greatest overlap of silhouettes; never worse than none.

    Args:
        result: The exported mesh.
        truth: The object.
        seed: Seed of the surface samples that represent both shapes.
    """
    rng = np.random.default_rng(seed)
    points = sample_surface(result.verts, result.faces, _SAMPLES, rng)
    true_points = sample_surface(truth.verts, truth.faces, _SAMPLES, rng)
    cameras = novel_c2w()[::2]
    wanted = _silhouettes(true_points, cameras)

    def overlap(parameters: npt.NDArray[np.float64]) -> float:
        return _overlap(_silhouettes(np.exp(parameters[0]) * points + parameters[1:], cameras), wanted)

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        return 1 - overlap(np.array([np.clip(parameters[0], *np.log(_SCALE_RANGE)), *parameters[1:]]))

    low, high = np.percentile(points, (1, 99), axis=0)
    true_low, true_high = np.percentile(true_points, (1, 99), axis=0)
    scale = np.clip(np.linalg.norm(true_high - true_low) / max(float(np.linalg.norm(high - low)), 1e-6), *_SCALE_RANGE)
    boxed = np.array([np.log(scale), *((true_low + true_high) / 2 - scale * (low + high) / 2)])
    start = min((np.zeros(4), boxed), key=loss)
    simplex = np.vstack([start, start + 0.05 * np.eye(4)])
    options = {"maxfev": 140, "xatol": 5e-4, "fatol": 1e-5, "initial_simplex": simplex}
    found = minimize(loss, start, method="Nelder-Mead", options=options)
    before, after = overlap(np.zeros(4)), 1 - float(found.fun)
    if after <= before:
        return Alignment(1.0, (0.0, 0.0, 0.0), before, before)
    best = found.x
    return Alignment(
        float(np.exp(np.clip(best[0], *np.log(_SCALE_RANGE)))), (float(best[1]), float(best[2]), float(best[3])), before, after
    )


def _silhouettes(points: npt.NDArray[np.floating], cameras: FloatArray) -> FloatArray:
    """Soft silhouettes [V, n, n] of a surface given by samples [N, 3]."""
    masks = np.zeros((len(cameras), _GRID_PX * _GRID_PX), np.uint8)
    for mask, camera in zip(masks, cameras, strict=True):
        seen = project(points, camera, RIG_FOVY_DEG)[:, :2]
        cell = ((seen + 1) / 2 * _GRID_PX).astype(np.int64)
        cell = cell[((cell >= 0) & (cell < _GRID_PX)).all(1)]
        mask[cell[:, 1] * _GRID_PX + cell[:, 0]] = 1
    kernel = np.ones((3, 3), np.uint8)
    closed = [cv2.morphologyEx(mask.reshape(_GRID_PX, _GRID_PX), cv2.MORPH_CLOSE, kernel).astype(np.float32) for mask in masks]
    return np.stack([cv2.GaussianBlur(mask, (0, 0), _SMOOTH_PX) for mask in closed])


def _overlap(one: FloatArray, other: FloatArray) -> float:
    """Soft intersection over union, mean over the views."""
    both = np.minimum(one, other).sum((1, 2)) / np.maximum(np.maximum(one, other).sum((1, 2)), 1e-6)
    return float(both.mean())
