"""Asset files as the engine writes them, of a shape whose every number is known."""

from __future__ import annotations

import bpy
import numpy as np


def write_sphere_asset(ext, folder, *, rings: int = 24, segments: int = 48, texture_px: int = 64):
    """An `Asset` event whose files hold a sphere of radius 0.5 around (0.1, 0.2, 0.3) and a texture of two colours.

    Returns:
        The `Asset`, and its arrays verts [V, 3], faces [F, 3], uvs [U, 2], uv_faces [F, 3] with F = 2 * segments * (rings - 1).
    """
    polar = np.linspace(0, np.pi, rings + 1)[1:-1]
    around = np.arange(segments) * 2 * np.pi / segments
    inner = np.stack([np.outer(np.sin(polar), np.cos(around)), np.outer(np.sin(polar), np.sin(around))], -1).reshape(-1, 2)
    verts = np.concatenate([np.c_[inner, np.repeat(np.cos(polar), segments)], [[0, 0, 1], [0, 0, -1]]])
    index = np.arange(len(inner)).reshape(rings - 1, segments)
    following = np.roll(index, -1, 1)
    north, south = len(inner), len(inner) + 1
    upper, lower = index[:-1], index[1:]
    faces = np.concatenate(
        [
            np.stack([np.full(segments, north), index[0], following[0]], -1),
            np.stack([upper, lower, following[:-1]], -1).reshape(-1, 3),
            np.stack([following[:-1], lower, following[1:]], -1).reshape(-1, 3),
            np.stack([following[-1], index[-1], np.full(segments, south)], -1),
        ]
    )
    uv_faces = np.arange(faces.size).reshape(-1, 3)  # every corner has a coordinate of its own
    uvs = np.random.default_rng(0).random((faces.size, 2))
    verts = verts * 0.5 + [0.1, 0.2, 0.3]
    arrays = verts.astype(np.float32), faces.astype(np.int32), uvs.astype(np.float32), uv_faces.astype(np.int32)
    np.savez(folder / "asset.npz", **dict(zip(("verts", "faces", "uvs", "uv_faces"), arrays, strict=True)))
    write_albedo(folder / "albedo.png", texture_px)
    asset = ext.module("engine.types").Asset(
        glb=str(folder / "asset.glb"), mesh=str(folder / "asset.npz"), albedo=str(folder / "albedo.png"), roughness=0.7,
        metallic=0.1, n_verts=len(verts), n_faces=len(faces), timings={"total": 1.0}, engine_version="9.9.9",
        weights_sha256={"starter": "abc"},
    )  # fmt: skip
    return asset, arrays


def write_albedo(path, size_px: int) -> None:
    """A PNG whose upper half is red and whose lower half is blue."""
    image = bpy.data.images.new("fixture", size_px, size_px)
    pixels = np.zeros((size_px, size_px, 4), np.float32)
    pixels[..., 3] = 1
    pixels[size_px // 2 :, :, 0] = 1  # Blender's first row is the lowest
    pixels[: size_px // 2, :, 2] = 1
    image.pixels.foreach_set(pixels.ravel())
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
