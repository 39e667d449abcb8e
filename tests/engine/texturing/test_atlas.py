from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tetraview.engine.rendering.uv_raster import Texels, overlapping_texels, rasterize_uvs
from tetraview.engine.texturing.atlas import Atlas, unwrap
from tetraview.engine.texturing.charts import connected_charts, face_adjacency
from tetraview.engine.texturing.normals import face_normals, vertex_normals
from tetraview.engine.texturing.packing import GUTTER_PX

from .scenes import box, joined, sphere


def charts_of(atlas: Atlas) -> np.ndarray:
    return connected_charts(np.zeros(len(atlas.faces), np.int64), face_adjacency(atlas.uv_faces))


def coverage(texels: Texels) -> float:
    return len(np.unique(texels.flat_index)) / texels.texture_px**2


def check(atlas: Atlas, verts: np.ndarray, faces: np.ndarray, texture_px: int) -> Texels:
    np.testing.assert_array_equal(atlas.faces, faces)
    np.testing.assert_allclose(atlas.verts, verts, rtol=1e-6)
    assert atlas.uvs.dtype == np.float32 and atlas.uv_faces.dtype == np.int32 and atlas.uv_faces.shape == faces.shape
    assert np.isfinite(atlas.uvs).all() and atlas.uvs.min() >= 0 and atlas.uvs.max() <= 1
    assert len(np.unique(atlas.uv_faces)) == len(atlas.uvs)
    texels = rasterize_uvs(atlas.uvs, atlas.uv_faces, texture_px)
    assert len(overlapping_texels(texels)) == 0
    return texels


def bumpy(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    verts, faces = sphere(1.0, n)
    rng = np.random.default_rng(seed)
    push = 0.75 + sum(0.1 * np.sin(verts @ rng.normal(size=3) * 4 + rng.random() * 6) for _ in range(6))
    return (verts * push[:, None]).astype(np.float32) * 0.8, faces


@pytest.mark.parametrize("texture_px", [256, 1024, 2048])
def test_charts_fill_the_square_and_keep_apart(texture_px):
    verts, faces = joined(bumpy(4, 3), box((0.3, 0.3, 1.5), (1.2, 0, 0), 2))
    atlas = unwrap(verts, faces, texture_px)
    texels = check(atlas, verts, faces, texture_px)
    charts = charts_of(atlas)
    assert charts.max() + 1 <= 50
    assert coverage(texels) >= (0.6 if texture_px > 256 else 0.45)
    owner = np.full((texture_px, texture_px), -1)
    owner[texels.row, texels.col] = charts[texels.face_index]
    for dy in range(GUTTER_PX):  # nothing of another chart within the gutter
        for dx in range(-GUTTER_PX, GUTTER_PX + 1):
            if np.hypot(dy, dx) >= GUTTER_PX:
                continue
            here = owner[: texture_px - dy, max(-dx, 0) : texture_px - max(dx, 0)]
            there = owner[dy:, max(dx, 0) : texture_px + min(dx, 0)]
            assert not ((here >= 0) & (there >= 0) & (here != there)).any()


def test_texels_are_spread_evenly():
    verts, faces = bumpy(4, 5)
    atlas = unwrap(verts, faces, 1024)
    _, areas = face_normals(verts, faces)
    a, b, c = np.moveaxis(atlas.uvs[atlas.uv_faces].astype(np.float64), 1, 0)
    signed = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert (signed > 0).all()  # nothing is mirrored
    density = signed / areas * areas.sum() / signed.sum()
    assert np.quantile(density, 0.02) > 0.7 and np.quantile(density, 0.98) < 1.4


def test_a_box_unfolds_into_its_six_sides():
    verts, faces = box((1.0, 0.6, 0.4), splits=3)
    atlas = unwrap(verts, faces, 512)
    texels = check(atlas, verts, faces, 512)
    charts = charts_of(atlas)
    assert charts.max() + 1 == 6
    normals, _ = face_normals(verts, faces)
    for chart in range(6):
        assert np.ptp(normals[charts == chart], axis=0).max() < 1e-5
    assert coverage(texels) > 0.6


def test_a_spiral_ramp_is_cut_where_it_covers_itself():
    turns, n = 2.5, 200  # seen along its axis every normal points up, and it lies over itself
    t = np.linspace(0, turns * 2 * np.pi, n)
    inner = np.stack([0.4 * np.cos(t), 0.4 * np.sin(t), 0.05 * t], -1)
    outer = np.stack([0.9 * np.cos(t), 0.9 * np.sin(t), 0.05 * t], -1)
    verts = np.concatenate([inner, outer]).astype(np.float32)
    i = np.arange(n - 1)
    faces = np.concatenate([np.stack([i, n + i, i + 1], -1), np.stack([i + 1, n + i, n + i + 1], -1)]).astype(np.int32)
    atlas = unwrap(verts, faces, 1024)
    check(atlas, verts, faces, 1024)
    assert 2 <= charts_of(atlas).max() + 1 <= 8


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 60))
@example(240, 4)  # a needle that fills 7 % of the square
def test_random_hulls(seed, n):
    points = np.random.default_rng(seed).normal(size=(n, 3)) * np.array([1, 0.5, 0.1 + seed % 3])
    hull = trimesh.convex.convex_hull(points)
    verts, faces = np.asarray(hull.vertices, np.float32), np.asarray(hull.faces, np.int32)
    texels = check(unwrap(verts, faces, 256), verts, faces, 256)
    longest = np.linalg.norm(verts[:, None] - verts, axis=-1).max()
    fair = min(1.0, hull.area / longest**2)  # a flat needle cannot fill a square: its length bounds the scale
    assert coverage(texels) > 0.25 * fair


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 15))
def test_random_soups_with_degenerate_and_shared_faces(seed, n_faces, n_verts):
    rng = np.random.default_rng(seed)
    verts = rng.uniform(-1, 1, (n_verts, 3)).astype(np.float32)
    faces = rng.integers(0, n_verts, (n_faces, 3)).astype(np.int32)
    check(unwrap(verts, faces, 256), verts, faces, 256)


@pytest.mark.parametrize(
    ("verts", "faces", "message"),
    [
        (np.zeros((3, 2)), np.zeros((1, 3), int), "expected verts"),
        (np.zeros((3, 3)), np.zeros((0, 3), int), "F >= 1"),
        (np.zeros((3, 3)), np.array([[0, 1, 3]]), "3 verts"),
        (np.full((3, 3), np.nan), np.array([[0, 1, 2]]), "not finite"),
    ],
)
def test_bad_meshes_are_refused(verts, faces, message):
    with pytest.raises(ValueError, match=message):
        unwrap(verts, faces, 256)


def test_vertex_normals_of_a_sphere_and_of_lonely_vertices():
    verts, faces = sphere(0.5, 3)
    verts = np.concatenate([verts, np.ones((1, 3), np.float32)])
    normals = vertex_normals(verts, faces)
    assert ((normals[:-1] * verts[:-1]).sum(1) / 0.5).min() > 0.999
    assert normals[-1].tolist() == [0, 0, 1]
