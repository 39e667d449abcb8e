"""Asset files -> Blender object: every number arrives, in any mode, fast."""

from __future__ import annotations

import dataclasses
import json

import bpy
import numpy as np
import pytest
from mathutils import Vector

from .asset_files import write_sphere_asset
from .conftest import PHOTOS


@pytest.fixture
def built(ext, tmp_path):
    asset, arrays = write_sphere_asset(ext, tmp_path)
    request = ext.module("engine.types").GenerateRequest(photos=PHOTOS, output_dir=str(tmp_path), seed=5)
    return ext.module("operators.mesh_builder").build_object(asset, request, "Ball", PHOTOS), arrays, request


def corner_uvs(mesh) -> np.ndarray:
    values = np.empty(len(mesh.loops) * 2, np.float32)
    mesh.uv_layers.active.uv.foreach_get("vector", values)
    return values.reshape(-1, 3, 2)


def test_the_mesh_is_the_arrays_with_its_origin_at_the_base_centre(built):
    obj, (verts, faces, uvs, uv_faces), _ = built
    mesh = obj.data
    co = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", co)
    assert np.allclose(co.reshape(-1, 3), verts - [0.1, 0.2, -0.2], atol=1e-6)
    assert np.array_equal([list(polygon.vertices) for polygon in mesh.polygons], faces)
    assert np.array_equal(corner_uvs(mesh), uvs[uv_faces])
    low, high = np.array(obj.bound_box).min(0), np.array(obj.bound_box).max(0)
    assert np.allclose([*(low + high)[:2] / 2, low[2]], 0, atol=1e-6)


def test_the_mesh_is_valid_smooth_closed_and_faces_outwards(built):
    mesh = built[0].data
    assert mesh.validate(verbose=True) is False  # nothing had to be corrected
    assert all(polygon.use_smooth for polygon in mesh.polygons)
    assert all(polygon.loop_total == 3 for polygon in mesh.polygons)
    assert len(mesh.vertices) - len(mesh.edges) + len(mesh.polygons) == 2
    centre = Vector((0, 0, 0.5))
    assert all(polygon.normal.dot(polygon.center - centre) > 0 for polygon in mesh.polygons)


def test_the_material_shows_the_packed_texture(built):
    material = built[0].data.materials[0]
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    texture = shader.inputs["Base Color"].links[0].from_node
    output = material.node_tree.get_output_node("ALL")
    assert output.inputs["Surface"].links[0].from_node == shader
    assert shader.inputs["Roughness"].default_value == pytest.approx(0.7)
    assert shader.inputs["Metallic"].default_value == pytest.approx(0.1)
    assert texture.image.packed_file is not None
    assert texture.image.colorspace_settings.name == "sRGB"
    assert texture.image.filepath.startswith("//")  # no path of this computer
    pixels = np.array(texture.image.pixels).reshape(64, 64, 4)
    assert np.allclose(pixels[0, 0], [0, 0, 1, 1])
    assert np.allclose(pixels[-1, 0], [1, 0, 0, 1])


def test_the_object_remembers_how_it_was_made(ext, built):
    obj, _, request = built
    stored = ext.module("operators.provenance").stored_request(obj)
    assert stored == dataclasses.replace(request, output_dir="")  # it lies outside the data folder
    assert obj["tetraview_seed"] == 5
    assert obj["tetraview_engine_version"] == "9.9.9"
    assert json.loads(obj["tetraview_weights_sha256"]) == {"starter": "abc"}


@pytest.mark.parametrize("mode", ["OBJECT", "EDIT", "SCULPT", "no active object"])
def test_placing_works_from_every_mode(ext, built, mode):
    if mode != "no active object":
        bpy.ops.mesh.primitive_cube_add()
        bpy.ops.object.mode_set(mode=mode)
    was = bpy.context.mode
    active = bpy.context.view_layer.objects.active
    selected = list(bpy.context.view_layer.objects.selected)
    place = ext.module("operators.mesh_builder").place_object
    place(bpy.context, built[0], bpy.context.scene, Vector((1, 2, 3)), select=True)
    assert bpy.context.mode == was
    free = was == "OBJECT"
    assert bpy.context.view_layer.objects.active == (built[0] if free else active)
    assert list(bpy.context.view_layer.objects.selected) == ([built[0]] if free else selected)
    assert tuple(built[0].location) == (1, 2, 3)
    assert built[0].users_collection[0].name in bpy.context.scene.collection.children


def test_placing_in_a_scene_that_is_not_shown_leaves_the_shown_one_alone(ext, built):
    bpy.ops.mesh.primitive_cube_add()
    other = bpy.data.scenes.new("Other")
    ext.module("operators.mesh_builder").place_object(bpy.context, built[0], other, Vector(), select=True)
    assert built[0].name in other.objects
    assert built[0].name not in bpy.context.scene.objects
    assert bpy.context.view_layer.objects.active.name == "Cube"


def test_arrays_of_another_shape_are_refused(ext, tmp_path):
    asset, (verts, faces, uvs, uv_faces) = write_sphere_asset(ext, tmp_path)
    read = ext.module("operators.mesh_builder").read_arrays
    np.savez(asset.mesh, verts=verts[:, :2], faces=faces, uvs=uvs, uv_faces=uv_faces)
    with pytest.raises(ValueError, match="verts"):
        read(asset.mesh)
    np.savez(asset.mesh, verts=verts, faces=faces, uvs=uvs, uv_faces=uv_faces[1:])
    with pytest.raises(ValueError, match="uv faces"):
        read(asset.mesh)
