"""The views of textured meshes: silhouettes, orientation, filtering and light, against what geometry says they must be."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.cameras import orbit_c2w, rig_c2w
from tetraview.engine.dataset.lighting import Light, corner_normals
from tetraview.engine.dataset.render import render_views
from tetraview.engine.dataset.textured_mesh import TexturedMesh
from tetraview.engine.imaging.colour import linear_to_srgb, srgb_to_linear
from tetraview.engine.rendering.embree import EmbreeMesh

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def _mesh(
    verts: np.ndarray, faces: np.ndarray, uvs: np.ndarray | None = None, texture: np.ndarray | None = None, nearest: bool = True
) -> TexturedMesh:
    return TexturedMesh(
        id="test",
        verts=np.asarray(verts, np.float32),
        faces=np.asarray(faces, np.int32),
        uvs=np.full((len(verts), 2), 0.5, np.float32) if uvs is None else np.asarray(uvs, np.float32),
        texture=np.full((1, 1, 3), 200, np.uint8) if texture is None else np.asarray(texture, np.uint8),
        nearest=nearest,
    )


def _quad_facing_front(texture: np.ndarray, nearest: bool = True, size: float = 0.6) -> TexturedMesh:
    """A square in the plane y = 0 with u to the right and v up as the front camera (on -Y) sees it."""
    corners = np.array([[-size, 0, -size], [size, 0, -size], [size, 0, size], [-size, 0, size]])
    return _mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), np.array([[0, 0], [1, 0], [1, 1], [0, 1]]), texture, nearest)


def test_sphere_fills_its_analytic_disc() -> None:
    sphere = trimesh.creation.icosphere(subdivisions=5, radius=0.8)
    px = 96
    views = render_views(_mesh(sphere.vertices, sphere.faces), orbit_c2w([10.0, 200.0], [20.0, -35.0]), 30.0, px, supersample=4)
    centre = (np.arange(px) + 0.5) / px * 2 - 1
    radius = np.tan(np.arcsin(0.8 / 4)) / np.tan(np.deg2rad(15))  # of the disc, in half image heights
    from_centre = np.hypot(centre[:, None], centre[None, :])
    alpha = views.rgba[..., 3]
    assert (alpha[:, from_centre < radius - 2 / px] == 255).all()
    assert (alpha[:, from_centre > radius + 2 / px] == 0).all()
    covered = alpha.mean((1, 2)) / 255
    np.testing.assert_allclose(covered, np.pi * radius**2 / 4, rtol=5e-3)
    np.testing.assert_allclose(views.depth.min((1, 2)), 3.2, atol=2e-3)
    assert (np.isinf(views.depth) | (views.depth < 4)).all()
    assert (views.rgba[alpha > 0][:, :3] == 200).all()


def test_texture_is_upright_and_not_mirrored_from_the_front() -> None:
    quad = _quad_facing_front(np.array([[RED, GREEN], [BLUE, YELLOW]]))  # row 0 of an image is its top, v = 1
    front, right, back, left = render_views(quad, rig_c2w(elevation_deg=0.0), 30.0, 64).rgba
    assert [tuple(front[y, x, :3]) for y, x in ((25, 25), (25, 39), (39, 25), (39, 39))] == [RED, GREEN, BLUE, YELLOW]
    assert [tuple(back[y, x, :3]) for y, x in ((25, 25), (25, 39), (39, 25), (39, 39))] == [GREEN, RED, YELLOW, BLUE]
    for edge_on in (right, left):
        assert (edge_on[..., 3] > 0).mean() < 0.02


def test_right_view_looks_from_plus_x() -> None:
    at_x, at_y = (trimesh.transformations.translation_matrix(at) for at in ((0.6, 0, 0), (0, 0.6, 0)))
    boxes = [trimesh.creation.box((0.2, 0.2, 0.2), at) for at in (at_x, at_y)]
    verts = np.concatenate([box.vertices for box in boxes])
    uvs = np.repeat([[0.25, 0.5], [0.75, 0.5]], 8, 0)  # the box on +X is red, that on +Y green
    mesh = _mesh(verts, np.concatenate([boxes[0].faces, boxes[1].faces + 8]), uvs, np.array([[RED, GREEN]]))
    front, right, back, left = render_views(mesh, rig_c2w(elevation_deg=0.0), 30.0, 64).rgba

    def red(view: np.ndarray) -> float:
        return float(np.argwhere(view[..., 0] == 255)[:, 1].mean())

    def green(view: np.ndarray) -> float:
        return float(np.argwhere(view[..., 1] == 255)[:, 1].mean())

    assert red(front) > 45 and 28 < green(front) < 36
    assert 28 < red(right) < 36 and green(right) > 45
    assert red(back) < 19 and green(left) < 19


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_skipping_pixels_loses_no_hit(seed: int) -> None:
    """Against a full frame of rays, for random triangles in and out of the frame, and random cameras."""
    rng = np.random.default_rng(seed)
    verts = rng.uniform(-1.5, 1.5, (rng.integers(1, 12) * 3, 3)).astype(np.float32)
    mesh = _mesh(verts, np.arange(len(verts)).reshape(-1, 3))
    c2w = orbit_c2w(rng.uniform(0, 360), rng.uniform(-80, 80), rng.uniform(0.5, 5.0))
    supersample = int(rng.integers(1, 4))
    views = render_views(mesh, c2w, 40.0, 48, supersample)
    hits = EmbreeMesh(verts, mesh.faces).rasterize(c2w[0], 40.0, 48, 48, supersample=supersample)
    expected = (hits.face_index >= 0).reshape(48, supersample, 48, supersample).mean((1, 3))
    # A ray along the edge of two triangles may fall either way when its direction differs in the last bit.
    assert (np.abs(views.rgba[0, ..., 3] / 255 - expected) > 0.01).mean() < 2e-3
    depth = hits.distance[supersample // 2 :: supersample, supersample // 2 :: supersample]
    assert (np.isinf(depth) != np.isinf(views.depth[0])).mean() < 2e-3


def test_colour_at_the_silhouette_is_not_darkened() -> None:
    quad = _quad_facing_front(np.full((2, 2, 3), 180), size=0.613)
    rgba = render_views(quad, rig_c2w(elevation_deg=0.0)[:1], 30.0, 50, supersample=4).rgba
    partial = (rgba[..., 3] > 0) & (rgba[..., 3] < 255)
    assert partial.sum() > 50
    assert (rgba[rgba[..., 3] > 0][:, :3] == 180).all()
    assert (rgba[rgba[..., 3] == 0] == 0).all()


def test_atlas_is_interpolated_and_palette_is_not() -> None:
    ramp = np.repeat(np.array([[0, 100, 200]])[..., None], 3, -1)
    camera = rig_c2w(elevation_deg=0.0)[:1]
    smooth = render_views(_quad_facing_front(ramp, nearest=False), camera, 30.0, 128).rgba[0, 64, :, :]
    stepped = render_views(_quad_facing_front(ramp, nearest=True), camera, 30.0, 128, supersample=1).rgba[0, 64, :, :]
    assert set(stepped[stepped[:, 3] > 0][:, 0].tolist()) == {0, 100, 200}
    inside = smooth[smooth[:, 3] == 255][:, 0].astype(int)
    assert len(set(inside.tolist())) > 20
    u = (np.arange(len(inside)) + 0.5) / len(inside)
    np.testing.assert_allclose(inside, np.clip(u * 3 - 0.5, 0, 2) * 100, atol=3.5)


def test_light_comes_from_its_direction_and_casts_shadows() -> None:
    floor = trimesh.creation.box((1.2, 1.2, 0.05), trimesh.transformations.translation_matrix((0, 0, -0.5)))
    lid = trimesh.creation.box((0.4, 0.4, 0.05), trimesh.transformations.translation_matrix((0, 0, 0.4)))
    scene = trimesh.util.concatenate([floor, lid])
    mesh = _mesh(scene.vertices, scene.faces)
    camera = orbit_c2w(0.0, 60.0)
    lamp = {"direction": (0, 0, 1), "ambient": 0.2, "diffuse": 0.6}
    flat = render_views(mesh, camera, 30.0, 64).rgba
    lit = render_views(mesh, camera, 30.0, 64, shading=Light(**lamp, shadows=False)).rgba
    shadowed = render_views(mesh, camera, 30.0, 64, shading=Light(**lamp)).rgba
    albedo = srgb_to_linear(np.float32(200 / 255))
    top, dark = (round(float(linear_to_srgb(albedo * np.float32(f))) * 255) for f in (0.8, 0.2))
    assert (flat[..., 3] == lit[..., 3]).all() and (flat[..., 3] == shadowed[..., 3]).all()
    assert set(np.unique(flat[flat[..., 3] == 255][:, :3])) == {200}
    column = shadowed[0, :, 32]  # up the middle: the lid, the floor, the lid's shadow on it, the floor
    values = column[column[:, 3] == 255][:, 0].astype(int)
    assert abs(int(values.max()) - top) <= 1 and abs(int(values.min()) - dark) <= 1
    darker = (lit[..., 0].astype(int) - shadowed[..., 0] > 20).mean()
    assert 0.01 < darker < 0.08  # about the lid's area, seen at 60 degrees and partly behind the lid
    assert (shadowed <= lit).all()


def test_corner_normals_are_smooth_on_a_sphere_and_sharp_on_a_box_whatever_the_winding() -> None:
    rng = np.random.default_rng(0)
    sphere, box = trimesh.creation.icosphere(subdivisions=3), trimesh.creation.box((1, 1, 1))
    for solid, expected in ((sphere, lambda c, f: c), (box, lambda c, f: np.repeat(f[:, None], 3, 1))):
        faces = np.where(rng.random(len(solid.faces))[:, None] < 0.5, solid.faces, solid.faces[:, ::-1])
        corners = solid.vertices[faces]
        normals = corner_normals(solid.vertices.astype(np.float32), faces.astype(np.int32))
        cosine = np.einsum("fkc,fkc->fk", normals, expected(corners, solid.face_normals))
        assert np.abs(cosine).min() > 0.999
        assert (np.sign(cosine) == np.sign(cosine[:, :1])).all()  # the three corners agree on the side


def test_wrong_cameras_are_refused() -> None:
    with pytest.raises(ValueError, match=r"c2w.*\(4, 4\)"):
        render_views(_quad_facing_front(np.array([[RED]])), rig_c2w()[0], 30.0, 8)
