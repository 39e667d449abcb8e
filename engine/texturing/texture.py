"""The albedo texture: photo detail where the views see the surface, the field's colour everywhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ..cameras import Rig
from ..rendering.rasterizer import rasterizer_for
from .atlas import Atlas
from .back_projection import BackProjector
from .bake import ColourField, Surface, sample_field
from .gutters import fill_gutters
from .normals import face_normals, vertex_normals

_MATCH_POINTS = 20_000

T = TypeVar("T")
R = TypeVar("R")


def paint_texture(
    field: ColourField | Any,
    atlas: Atlas,
    views: Mapping[str, npt.NDArray[np.uint8]],
    rig: Rig,
    texture_px: int,
    on_progress: Callable[[float], None] | None = None,
) -> npt.NDArray[np.uint8]:
    """Paint the albedo of a mesh.

    Args:
        field: Colour where no view saw the surface; see `bake.ColourField`. If it has a `device`, meshes are rasterised there.
        atlas: The unwrapped mesh.
        views: uint8 [H, H, 4] straight RGBA, framed, keyed by `VIEW_NAMES`; empty to bake the field alone.
        rig: The views' cameras.
        texture_px: Side of the texture.
        on_progress: Called with the share done, 0..1, after each block of texels; may raise to cancel.

    Returns:
        uint8 [texture_px, texture_px, 3] sRGB, row 0 = top = v 1; no texel is left unpainted.

    Raises:
        ValueError: A view has the wrong shape, or the atlas covers no texel.
    """
    report = on_progress or (lambda share: None)
    rasterizer = rasterizer_for(getattr(field, "device", "cpu"))
    projector = BackProjector(atlas.verts, atlas.faces, views, rig, rasterizer) if views else None
    if projector is not None:
        projector.match_views(*_spread_points(atlas))
    report(0.1)
    surface = Surface(atlas, texture_px, rasterizer)

    def paint_block(faces: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        block = surface.texels(faces)
        if projector is None:
            colour = sample_field(field, block.points)
        else:
            seen = projector.sample(block.points, block.normals, block.face_normals)
            colour = seen.colour
            rest = np.flatnonzero(seen.confidence < 0.999)
            share = seen.confidence[rest, None]
            colour[rest] = share * colour[rest] + (1 - share) * sample_field(field, block.points[rest])
        return block.texels.flat_index, np.round(colour * 255).astype(np.uint8)

    image = np.zeros((texture_px * texture_px, 3), np.uint8)
    covered = np.zeros(texture_px * texture_px, bool)
    blocks = surface.blocks()
    with contextlib.closing(_side_by_side(paint_block, blocks, field)) as painted_blocks:
        for done, (at, colour) in enumerate(painted_blocks):
            image[at] = colour
            covered[at] = True
            report(0.1 + 0.85 * (done + 1) / len(blocks))
    painted = fill_gutters(image.reshape(texture_px, texture_px, 3), covered.reshape(texture_px, texture_px))
    report(1.0)
    return painted


def _side_by_side(work: Callable[[T], R], items: Sequence[T], field: ColourField | Any) -> Generator[R, None, None]:
    """`work` of each item, in their order, on all of torch's threads: each worker computes on one core.

    Much of a block is numpy's and OpenCV's, which use one core at a time. On MPS, which several threads may not use, it is one
    block at a time.
    """
    cores = torch.get_num_threads()
    if cores == 1 or torch.device(getattr(field, "device", "cpu")).type == "mps":
        yield from map(work, items)
        return
    torch.set_num_threads(1)  # for all threads that start from now on
    try:
        with ThreadPoolExecutor(cores, "tetraview-texture") as pool:
            try:
                yield from pool.map(work, items)
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(cores)


def _spread_points(atlas: Atlas) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Face centres (at most `_MATCH_POINTS`) with smooth and flat normals, float32 [N, 3] each."""
    faces = atlas.faces[:: -(-len(atlas.faces) // _MATCH_POINTS)]
    smooth = vertex_normals(atlas.verts, atlas.faces)[faces].mean(1)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-6)
    return atlas.verts[faces].mean(1), smooth, face_normals(atlas.verts, faces)[0].astype(np.float32)
