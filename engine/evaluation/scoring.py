"""The protocol: the views of an object shown to the engine, and the measurement of its result.

Inputs are the four views of a rig (the canonical one unless told otherwise), without light, on a transparent ground, rendered
by Embree from the object scaled to the unit sphere. The result is measured from 16 other cameras: azimuth 22.5 + 45 k for k =
0..7, elevations 0 and 40, same distance and field of view, all composed on white. An object's mean is over its 16 views; a
run's mean is over its objects' means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..cameras import CANONICAL_RIG, RIG_FOVY_DEG, FloatArray, Rig, orbit_c2w
from ..dataset.meshes import load_mesh_file
from ..dataset.render import render_views
from ..dataset.textured_mesh import TexturedMesh
from ..imaging.colour import on_white
from ..imaging.compare import psnr
from ..types import VIEW_NAMES
from .lpips import Lpips
from .metrics import compare_surfaces, normal_error_deg, sample_surface, ssim

NOVEL_AZIMUTHS_DEG: tuple[float, ...] = tuple(22.5 + 45.0 * k for k in range(8))
NOVEL_ELEVATIONS_DEG: tuple[float, ...] = (0.0, 40.0)
SUPERSAMPLE = 2
SURFACE_SAMPLES = 16_384
NORMAL_PX = 128
FSCORE_THRESHOLD = 0.02

STATEMENT = (
    "PSNR per view from the mean squared error of sRGB in 0..1 on white, at most 60 dB; SSIM with an 11 px Gaussian window; each "
    "the mean over 16 novel views (azimuth 22.5 + 45 k, elevations 0 and 40), then over objects. Chamfer distance (mean of the "
    "two mean distances) and F-score at 0.02 from 16,384 area-weighted samples of the whole surfaces, seen or not, in radii of "
    "the truth's bounding sphere. Normal error in degrees, between faces, over the pixels of the 16 views at 128 px that show "
    "both; an object without a result counts as white images, F-score 0 and no Chamfer distance."
)


def novel_c2w() -> FloatArray:
    """The 16 cameras of the measurement, float32 [16, 4, 4], elevation by elevation."""
    return np.concatenate([orbit_c2w(NOVEL_AZIMUTHS_DEG, elevation) for elevation in NOVEL_ELEVATIONS_DEG])


def input_views(mesh: TexturedMesh, px: int, rig: Rig = CANONICAL_RIG) -> dict[str, npt.NDArray[np.uint8]]:
    """The views shown to the engine: uint8 [px, px, 4] RGBA, straight alpha, keyed by name of the view."""
    rgba = render_views(mesh, rig.c2w(), rig.fovy_deg, px, SUPERSAMPLE).rgba
    return dict(zip(VIEW_NAMES, rgba, strict=True))


def mesh_images(mesh: TexturedMesh, px: int) -> FloatArray:
    """The 16 novel views of a mesh on white, float32 [16, px, px, 3]."""
    return on_white(render_views(mesh, novel_c2w(), RIG_FOVY_DEG, px, SUPERSAMPLE).rgba)


def field_images(field: Any, px: int) -> FloatArray:
    """The 16 novel views of a volumetric field on white, float32 [16, px, px, 3]."""
    from ..rendering.volumetric import render_field

    images = []
    for c2w in novel_c2w():
        rgba = np.clip(np.asarray(render_field(field, c2w, RIG_FOVY_DEG, px), np.float32), 0, 1)
        images.append(on_white(rgba))
    return np.stack(images)


def read_asset(glb: Path) -> TexturedMesh:
    """The mesh that the engine exported, as any program would read it; positions are not touched."""
    return load_mesh_file(glb, normalise=False)


@dataclass(frozen=True)
class ImageScore:
    """Means over the novel views; `lpips` is None where its weights are missing."""

    psnr: float
    ssim: float
    lpips: float | None
    psnr_by_view: tuple[float, ...]


def score_images(images: FloatArray, truth: FloatArray, metric: Lpips | None) -> ImageScore:
    """Compare images float32 [V, px, px, 3] with the truth."""
    psnrs = [psnr(image, target) for image, target in zip(images, truth, strict=True)]
    ssims = [ssim(image, target) for image, target in zip(images, truth, strict=True)]
    perceptual = None
    if metric is not None:
        tensors = [torch.from_numpy(stack).permute(0, 3, 1, 2) for stack in (images, truth)]
        with torch.inference_mode():
            perceptual = float(np.mean([metric(a[None], b[None]).item() for a, b in zip(*tensors, strict=True)]))
    return ImageScore(float(np.mean(psnrs)), float(np.mean(ssims)), perceptual, tuple(psnrs))


def score_surface(mesh: TexturedMesh, truth: TexturedMesh, seed: int) -> dict[str, float | None]:
    """Chamfer distance, F-score, precision, recall and normal error of a mesh; see `STATEMENT`."""
    rng = np.random.default_rng(seed)
    score = compare_surfaces(
        sample_surface(mesh.verts, mesh.faces, SURFACE_SAMPLES, rng),
        sample_surface(truth.verts, truth.faces, SURFACE_SAMPLES, rng),
        FSCORE_THRESHOLD,
    )
    normal = normal_error_deg((mesh.verts, mesh.faces), (truth.verts, truth.faces), novel_c2w(), RIG_FOVY_DEG, NORMAL_PX)
    return {
        "chamfer": score.chamfer, "fscore": score.fscore, "precision": score.precision, "recall": score.recall,
        "normal_deg": normal,
    }  # fmt: skip


def no_surface() -> Mapping[str, float | None]:
    """The scores of an object without a mesh, with the keys of `score_surface`."""
    return {"chamfer": None, "fscore": 0.0, "precision": 0.0, "recall": 0.0, "normal_deg": None}
