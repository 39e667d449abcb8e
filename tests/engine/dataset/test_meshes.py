"""Model files with every kind of colour, against what is seen of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from tetraview.engine.cameras import orbit_c2w, rig_c2w
from tetraview.engine.dataset.meshes import load_mesh_file
from tetraview.engine.dataset.render import render_views
from tetraview.engine.errors import EngineError
from trimesh.visual.material import PBRMaterial, SimpleMaterial

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def _y_up_quad(material: object | None, uv_scale: float = 1.0) -> trimesh.Trimesh:
    """A unit square whose front is glTF's: in the plane z = 0, seen from +Z, u right and v up."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    quad = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)
    if material is not None:
        quad.visual = trimesh.visual.TextureVisuals(uv=(corners[:, :2] + 1) / 2 * uv_scale, material=material)
    return quad


def _front(path: Path) -> np.ndarray:
    """The front view at 64 px, uint8 [64, 64, 4]."""
    return render_views(load_mesh_file(path), rig_c2w(elevation_deg=0.0)[:1], 30.0, 64).rgba[0]


@pytest.mark.parametrize("suffix", ["glb", "obj"])
def test_y_up_files_stand_up_and_face_the_front_camera(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(np.kron(np.array([[RED, GREEN], [BLUE, YELLOW]], np.uint8), np.ones((16, 16, 1), np.uint8)))
    material = PBRMaterial(baseColorTexture=image) if suffix == "glb" else SimpleMaterial(image=image)
    path = tmp_path / f"quad.{suffix}"
    _y_up_quad(material).export(path)
    front = _front(path)
    assert [tuple(front[y, x, :3]) for y, x in ((22, 22), (22, 42), (42, 22), (42, 42))] == [RED, GREEN, BLUE, YELLOW]
    mesh = load_mesh_file(path)
    assert mesh.id == "quad" and len(mesh.verts) == 4
    np.testing.assert_allclose(np.linalg.norm(mesh.verts, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(mesh.verts[:, 1], 0, atol=1e-6)


def test_normalise_off_keeps_positions(tmp_path: Path) -> None:
    quad = _y_up_quad(None)
    quad.apply_translation((3, 5, 7))
    quad.export(tmp_path / "quad.glb")
    np.testing.assert_allclose(load_mesh_file(tmp_path / "quad.glb", normalise=False).verts.mean(0), (3, -7, 5), atol=1e-5)
    mesh = load_mesh_file(tmp_path / "quad.glb")
    np.testing.assert_allclose(mesh.verts.max(0) + mesh.verts.min(0), 0, atol=1e-6)


def test_repeated_texture(tmp_path: Path) -> None:
    image = Image.fromarray(np.kron(np.array([[RED, GREEN]], np.uint8), np.ones((32, 16, 1), np.uint8)))
    _y_up_quad(PBRMaterial(baseColorTexture=image), uv_scale=2.0).export(tmp_path / "quad.glb")
    row = _front(tmp_path / "quad.glb")[28]
    inside = np.flatnonzero(row[:, 3] == 255)
    quarter = len(inside) // 4
    for index, colour in enumerate((RED, GREEN, RED, GREEN)):
        assert tuple(row[inside[index * quarter + quarter // 2], :3]) == colour


def test_scene_of_many_materials_and_transforms(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((64, 48, 3), (10, 200, 30), np.uint8))
    scene = trimesh.Scene()
    looks = [
        PBRMaterial(baseColorTexture=image),
        PBRMaterial(baseColorFactor=[1.0, 0.0, 0.0, 1.0]),
        PBRMaterial(baseColorFactor=[0.2, 0.2, 0.2, 1.0]),  # linear: sRGB 124
        PBRMaterial(baseColorTexture=image, baseColorFactor=[1.0, 0.5, 1.0, 1.0]),
    ]
    for index, look in enumerate(looks):
        move = trimesh.transformations.translation_matrix((index % 2 * 3.0, -(index // 2) * 3.0, 0))
        scene.add_geometry(_y_up_quad(look), node_name=f"n{index}", geom_name=f"g{index}", transform=move)
    scene.export(tmp_path / "scene.glb")
    front = _front(tmp_path / "scene.glb").astype(int)
    seen = [front[y, x, :3] for y, x in ((18, 18), (18, 46), (46, 18), (46, 46))]  # left to right, top to bottom
    expected = [(10, 200, 30), (255, 0, 0), (124, 124, 124), (10, 146, 30)]
    np.testing.assert_allclose(seen, expected, atol=2)


def test_vertex_colours_are_interpolated_linearly(tmp_path: Path) -> None:
    quad = _y_up_quad(None)
    quad.visual.vertex_colors = np.array([[0, 0, 0, 255], [255, 0, 0, 255], [255, 255, 0, 255], [0, 255, 0, 255]], np.uint8)
    quad.export(tmp_path / "quad.ply")
    front = _front(tmp_path / "quad.ply").astype(int)
    inside = np.argwhere(front[..., 3] == 255)
    low, high = inside.min(0), inside.max(0) + 1
    for y, x in ((20, 20), (32, 40), (44, 24), (30, 18)):
        red = (x + 0.5 - low[1]) / (high[1] - low[1]) * 255
        green = (1 - (y + 0.5 - low[0]) / (high[0] - low[0])) * 255
        np.testing.assert_allclose(front[y, x, :3], (red, green, 0), atol=6)


def test_glb_vertex_colours_are_linear_and_tinted(tmp_path: Path) -> None:
    quad = _y_up_quad(None)
    quad.visual.vertex_colors = np.full((4, 4), 128, np.uint8)
    quad.export(tmp_path / "quad.glb")
    np.testing.assert_allclose(_front(tmp_path / "quad.glb")[32, 32, :3], 188, atol=1)


def test_obj_without_material_is_white_and_kd_is_srgb(tmp_path: Path) -> None:
    _y_up_quad(None).export(tmp_path / "plain.obj")
    assert (_front(tmp_path / "plain.obj")[32, 32] == 255).all()
    (tmp_path / "m.mtl").write_text("newmtl a\nKd 0.5 0.25 0.0\n")
    (tmp_path / "kd.obj").write_text("mtllib m.mtl\nv -1 -1 0\nv 1 -1 0\nv 0 1 0\nusemtl a\nf 1 2 3\n")
    np.testing.assert_allclose(_front(tmp_path / "kd.obj")[32, 32, :3], (128, 64, 0), atol=2)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "noise.glb").write_bytes(b"glTF but not really")
    (tmp_path / "empty.obj").write_text("# nothing\n")
    (tmp_path / "point.obj").write_text("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n")
    for name in ("noise.glb", "empty.obj", "point.obj", "absent.obj"):
        with pytest.raises(EngineError, match=name):
            load_mesh_file(tmp_path / name)


def test_inside_of_a_glb_is_seen_from_all_sides(tmp_path: Path) -> None:
    box = trimesh.creation.box((2, 1, 1))
    box.export(tmp_path / "box.glb")
    views = render_views(load_mesh_file(tmp_path / "box.glb"), orbit_c2w([0, 90, 180, 270], 0.0), 30.0, 64).rgba
    widths = [(view[..., 3] > 0).any(0).sum() for view in views]
    assert widths[0] == widths[2] and widths[1] == widths[3] and widths[0] > 1.6 * widths[1]
