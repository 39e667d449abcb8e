"""The engine's asset files -> a Blender object: data API only, so it works in any mode, without a selection, in background."""

import json
from collections.abc import Mapping

import bpy
import numpy as np
from mathutils import Vector

from ..engine.types import Asset, GenerateRequest
from .provenance import keep_request, keep_views, packed_image

ASSET_ARRAYS = {"verts": (3, np.float32), "faces": (3, np.int32), "uvs": (2, np.float32), "uv_faces": (3, np.int32)}


def build_object(asset: Asset, request: GenerateRequest, name: str, views: Mapping[str, str]) -> bpy.types.Object:
    """The object of a finished asset, in no collection yet.

    Args:
        asset: The engine's last event; its files are read here.
        request: The request that made it; stored on the object, without its paths, so that it can be made again.
        name: Name of the object, its mesh, material and texture.
        views: PNG of each of the four views it was made from; kept in the .blend with the object.

    Returns:
        Mesh object with its origin at the centre of its base, smooth, one UV layer, one material with the packed texture.

    Raises:
        OSError: A file of the asset cannot be read.
        ValueError: An array of `asset.npz` has another shape or dtype than `Asset.mesh` promises.
    """
    mesh = build_mesh(name, *read_arrays(asset.mesh))
    mesh.materials.append(build_material(name, asset))
    obj = bpy.data.objects.new(name, mesh)
    keep_request(obj, request)
    obj["tetraview_seed"] = request.seed
    obj["tetraview_engine_version"] = asset.engine_version
    obj["tetraview_weights_sha256"] = json.dumps(dict(asset.weights_sha256), sort_keys=True)
    keep_views(obj, views)
    return obj


def read_arrays(path: str):
    """verts float32 [V, 3], faces int32 [F, 3], uvs float32 [U, 2], uv_faces int32 [F, 3] of an `asset.npz`."""
    arrays = []
    with np.load(path, allow_pickle=False) as stored:
        for key, (width, dtype) in ASSET_ARRAYS.items():
            array = stored[key]
            if array.ndim != 2 or array.shape[1] != width:
                raise ValueError(f"{key} in {path}: expected [N, {width}], got {array.shape}")
            arrays.append(np.ascontiguousarray(array, dtype))
    if len(arrays[1]) == 0 or len(arrays[1]) != len(arrays[3]):
        raise ValueError(f"{path}: {len(arrays[1])} faces and {len(arrays[3])} uv faces")
    return arrays


def build_mesh(name: str, verts, faces, uvs, uv_faces) -> bpy.types.Mesh:
    """A smooth triangle mesh whose origin is the centre of the bottom of its bounding box.

    Args:
        verts: float32 [V, 3], Blender axes.
        faces: int32 [F, 3], counter-clockwise from outside.
        uvs: float32 [U, 2], origin bottom-left.
        uv_faces: int32 [F, 3], a row of `uvs` for each corner.
    """
    low, high = verts.min(0), verts.max(0)
    base_centre = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(verts))
    mesh.vertices.foreach_set("co", (verts - base_centre).ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    layer = mesh.uv_layers.new(name="UVMap", do_init=False)
    layer.uv.foreach_set("vector", uvs[uv_faces].ravel())  # [F, 3, 2]
    mesh.update(calc_edges=True)
    return mesh


def build_material(name: str, asset: Asset) -> bpy.types.Material:
    """Principled BSDF with the albedo texture, packed into the .blend, and the asset's roughness and metallic."""
    image = packed_image(name, asset.albedo)
    image.colorspace_settings.name = "sRGB"
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True  # always on, and deprecated, from 5.0
    tree = material.node_tree
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
    texture = tree.nodes.new("ShaderNodeTexImage")
    output.location, shader.location, texture.location = (300, 0), (0, 0), (-300, 0)
    texture.image = image
    shader.inputs["Roughness"].default_value = asset.roughness
    shader.inputs["Metallic"].default_value = asset.metallic
    tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    material.roughness, material.metallic = asset.roughness, asset.metallic
    return material


def place_object(context, obj: bpy.types.Object, scene: bpy.types.Scene, location: Vector, *, select: bool) -> None:
    """Put the object into a new collection of its own in `scene`. No mode is changed.

    Args:
        context: Where it is selected.
        obj: The object, in no collection yet.
        scene: Where it goes.
        location: Where it stands.
        select: Make it the one selected object; done only in Object Mode, if that scene is the one shown.
    """
    collection = bpy.data.collections.new(obj.name)
    obj.location = location
    collection.objects.link(obj)
    scene.collection.children.link(collection)  # last: nothing of it can be seen before it is whole
    if select and context.scene == scene and context.mode == "OBJECT":
        for other in context.view_layer.objects.selected[:]:
            other.select_set(False)
        obj.select_set(True)
        context.view_layer.objects.active = obj
