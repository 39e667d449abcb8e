"""The albedo texture: photo detail where the views see the surface, the field's colour everywhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..cameras import Rig
from ..devices import side_by_side
from ..rendering.rasterizer import rasterizer_for
from .atlas import Atlas
from .back_projection import BackProjector
from .bake import ColourField, Surface, sample_field
from .gutters import fill_gutters
from .normals import face_normals, vertex_normals

_MATCH_POINTS = 20_000
_FIELD_POINTS = 16_384

FloatArray = npt.NDArray[np.float32]


def paint_texture(
    field: ColourField | Any,
    atlas: Atlas,
    views: Mapping[str, npt.NDArray[np.uint8]],
    rig: Rig,
    texture_px: int,
    on_progress: Callable[[float], None] | None = None,
    projector: BackProjector | None = None,
) -> npt.NDArray[np.uint8]:
    """Paint the albedo of a mesh.

    Args:
        field: Colour where no view saw the surface; see `bake.ColourField`. If it has a `device`, meshes are rasterised there.
        atlas: The unwrapped mesh.
        views: uint8 [H, H, 4] straight RGBA, framed, keyed by `VIEW_NAMES`; empty to bake the field alone.
        rig: The views' cameras.
        texture_px: Side of the texture.
        on_progress: Called with the share done, 0..1, after each block of texels; may raise to cancel.
        projector: What `projector_of` the mesh returns, if that was called before.

    Returns:
        uint8 [texture_px, texture_px, 3] sRGB, row 0 = top = v 1; no texel is left unpainted.

    Raises:
        ValueError: A view has the wrong shape, or the atlas covers no texel.
    """
    report = on_progress or (lambda share: None)
    projector = projector or projector_of(atlas.verts, atlas.faces, views, rig, field)
    report(0.1)
    device = getattr(field, "device", "cpu")
    surface = Surface(atlas, texture_px, rasterizer_for(device))
    image, asked_points = np.zeros((2, texture_px**2, 3), np.float32)
    field_share = np.full(texture_px**2, -1, np.float32)  # negative where no face is

    def look(faces: npt.NDArray[np.int64]) -> None:
        """Colour the texels of some faces from the views, as far as those can be trusted."""
        block = surface.texels(faces)
        at, share = block.texels.flat_index, np.ones(len(block.points), np.float32)
        if projector is not None:
            seen = projector.sample(block.points, block.normals, block.face_normals)
            share = np.where(seen.confidence < 0.999, 1 - seen.confidence, 0)
            image[at] = seen.colour * seen.confidence[:, None]
        field_share[at] = share
        asked_points[at] = block.points * (share > 0)[:, None]

    blocks = surface.blocks()
    with contextlib.closing(side_by_side(look, blocks, device)) as looked:
        for done, _ in enumerate(looked):
            report(0.1 + 0.5 * (done + 1) / len(blocks))
    square = (texture_px, texture_px)
    covered, field_share = field_share.reshape(square) >= 0, np.maximum(field_share.reshape(square), 0)
    image = image.reshape(*square, 3)
    image += field_share[..., None] * _smooth_field(field, asked_points.reshape(image.shape), field_share > 0, report)
    painted = fill_gutters(np.round(image * 255).astype(np.uint8), covered)
    report(1.0)
    return painted


def _smooth_field(
    field: ColourField | Any,
    points: FloatArray,
    asked: npt.NDArray[np.bool_],
    report: Callable[[float], None],
) -> FloatArray:
    """The field's colour at texels, which is smooth: asked for at the mean point of every 2 x 2 texels, linear in between.

    Args:
        field: See `bake.ColourField`.
        points: float32 [T, T, 3], zero where not asked for.
        asked: bool [T, T].
        report: Called with the share of the whole texture that is done.

    Returns:
        float32 [T, T, 3], with values everywhere; zero if nothing is asked for.
    """
    half = (-(-len(asked) // 2),) * 2
    weight = cv2.resize(asked.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    known = weight > 0
    if not known.any():
        return np.zeros_like(points)
    means = cv2.resize(points, half, interpolation=cv2.INTER_AREA)[known] / weight[known][:, None]
    parts = np.array_split(means, -(-len(means) // _FIELD_POINTS))
    colours: list[FloatArray] = []
    with contextlib.closing(
        side_by_side(lambda part: sample_field(field, part), parts, getattr(field, "device", "cpu"))
    ) as sampled:
        for part in sampled:
            colours.append(part)
            report(0.6 + 0.35 * len(colours) / len(parts))
    coarse = np.zeros((*half, 3), np.float32)
    coarse[known] = np.concatenate(colours)
    return np.asarray(cv2.resize(fill_gutters(coarse, known), asked.shape, interpolation=cv2.INTER_LINEAR), np.float32)


def projector_of(
    verts: FloatArray,
    faces: npt.NDArray[np.int32],
    views: Mapping[str, npt.NDArray[np.uint8]],
    rig: Rig,
    field: ColourField | Any,
) -> BackProjector | None:
    """The views, evened out and ready to colour a mesh, which needs no atlas yet; None without views.

    Args:
        verts, faces: float32 [V, 3] and int32 [F, 3].
        views, rig, field: As for `paint_texture`.
    """
    if not views:
        return None
    projector = BackProjector(verts, faces, views, rig, rasterizer_for(getattr(field, "device", "cpu")))
    some = slice(None, None, -(-len(faces) // _MATCH_POINTS))  # spread over the surface
    smooth = vertex_normals(verts, faces)[faces[some]].mean(1)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-6)
    projector.match_views(verts[faces[some]].mean(1), smooth, face_normals(verts, faces[some])[0].astype(np.float32))
    return projector
