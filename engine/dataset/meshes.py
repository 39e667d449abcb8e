"""Objects from GLB, glTF, OBJ and PLY files, as one mesh with one texture, through trimesh.

Axes: these files are Y-up with the front along +Z (glTF's rule, and what Blender assumes of an OBJ); they become Blender's.
Every material gets its place in one texture: an image, a flat colour as a small square, and vertex colours as a 4 x 4 block a
face, with which bilinear interpolation reproduces the linear one (but for clipping along one edge). What the starter does not
model (transparency, metal, emission, the product of an image and vertex colours) is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import trimesh
from PIL import Image

from ..cameras import FloatArray
from ..errors import EngineError
from ..imaging.colour import linear_to_srgb, srgb_to_linear
from .textured_mesh import TexturedMesh, unit_sphere_transform

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply")

_MAX_TEXTURE_PX = 8192
_MAX_TILED_PX = 4096
_FLAT_PX = 4
_BLOCK_PX = 4

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Part:
    """One material's corners [F, 3, 3] and corner uvs [F, 3, 2] within its own image uint8 [h, w, 3]."""

    corners: FloatArray
    uvs: FloatArray
    image: Pixels


def load_mesh_file(path: str | Path, *, normalise: bool = True) -> TexturedMesh:
    """Read a model file.

    Args:
        path: A file with a suffix of `MESH_SUFFIXES`.
        normalise: Move the bounding box's centre to the origin and scale the farthest vertex to distance 1; without it,
            positions stay as they are in the file, in Blender's axes.

    Returns:
        TexturedMesh with the file's stem as id; vertices are split at every face unless the file holds one textured mesh.

    Raises:
        EngineError: The file cannot be read or holds no triangles; the message names it.
    """
    path = Path(path)
    try:
        scene = trimesh.load_scene(path)
    except Exception as error:  # trimesh's readers raise whatever their parsers do
        raise EngineError(f"{path} cannot be read as a 3D model ({type(error).__name__}: {error}).") from error
    linear_colours = path.suffix.lower() in (".glb", ".gltf")
    meshes: list[tuple[trimesh.Trimesh, npt.NDArray[np.floating]]] = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            meshes.append((geometry, trimesh.transform_points(geometry.vertices, transform)))
    if not meshes:
        raise EngineError(f"{path} holds no triangles.")
    if len(meshes) == 1 and (whole := _single_textured(*meshes[0])) is not None:
        verts, faces, uvs, texture = whole
    else:
        parts = [_part(geometry, verts, linear_colours) for geometry, verts in meshes]
        verts, faces, uvs, texture = _merge(parts)
    verts = np.stack([verts[:, 0], -verts[:, 2], verts[:, 1]], -1).astype(np.float32)
    if normalise:
        try:
            centre, scale = unit_sphere_transform(verts)
        except ValueError as error:
            raise EngineError(f"{path} cannot be scaled: {error}.") from error
        verts = ((verts - centre) * np.float32(scale)).astype(np.float32)
    meta = {"id": path.stem, "source": path.suffix[1:]}
    return TexturedMesh(path.stem, verts, faces.astype(np.int32), uvs.astype(np.float32), texture, meta=meta)


def _image_of(material: Any) -> Image.Image | None:
    image = getattr(material, "baseColorTexture", None)
    return image if image is not None else getattr(material, "image", None)


def _factor_of(material: Any) -> FloatArray:
    """Base colour factor, linear RGB 0..1."""
    factor = getattr(material, "baseColorFactor", None)
    if factor is not None:  # trimesh keeps the file's linear numbers as uint8
        return np.asarray(factor, np.float32)[:3] / np.float32(255 if np.asarray(factor).dtype == np.uint8 else 1)
    diffuse = getattr(material, "diffuse", None)
    if diffuse is not None and _image_of(material) is None:  # an OBJ's Kd is sRGB by custom; with a map it is left out
        return srgb_to_linear(np.asarray(diffuse, np.float32)[:3] / 255)
    return np.ones(3, np.float32)


def _material_image(material: Any) -> Pixels | None:
    """The base colour image times its factor, uint8 [h, w, 3]; None if the material has none."""
    image = _image_of(material)
    if image is None:
        return None
    pixels = np.asarray(image.convert("RGB"))
    factor = _factor_of(material)
    if np.allclose(factor, 1, atol=1 / 512):
        return pixels
    table = np.round(linear_to_srgb(srgb_to_linear(np.arange(256, dtype=np.float32)[:, None] / 255) * factor) * 255)  # [256, 3]
    return np.stack([table[pixels[..., channel], channel] for channel in range(3)], -1).astype(np.uint8)


def _single_textured(
    geometry: trimesh.Trimesh, verts: npt.NDArray[np.floating]
) -> tuple[FloatArray, npt.NDArray[np.int64], FloatArray, Pixels] | None:
    """The mesh as it is, if it has one image with all uvs inside it."""
    uvs = getattr(geometry.visual, "uv", None)
    image = _material_image(getattr(geometry.visual, "material", None))
    if uvs is None or image is None or len(uvs) != len(verts) or uvs.min() < -1e-6 or uvs.max() > 1 + 1e-6:
        return None
    return np.asarray(verts, np.float32), geometry.faces, np.clip(uvs, 0, 1), image


def _part(geometry: trimesh.Trimesh, verts: npt.NDArray[np.floating], linear_colours: bool) -> _Part:
    """A geometry and its colours, whatever form they have."""
    faces = geometry.faces
    corners = np.asarray(verts, np.float32)[faces]
    visual: Any = geometry.visual  # of colours, of a texture, or nothing
    material = getattr(visual, "material", None)
    uvs, image = getattr(visual, "uv", None), _material_image(material)
    if uvs is not None and image is not None:
        tiled_uvs, tiled = _tile(np.asarray(uvs, np.float32)[faces], image)
        return _Part(corners, tiled_uvs, tiled)
    if visual.kind == "face":
        colours = np.repeat(np.asarray(visual.face_colors)[:, None, :3], 3, 1)
    elif visual.kind == "vertex":
        colours = np.asarray(visual.vertex_colors)[faces][..., :3]
    elif "color" in geometry.vertex_attributes:
        colours = np.asarray(geometry.vertex_attributes["color"])[faces][..., :3]
    else:
        colours = None
    factor = _factor_of(material)
    if colours is None:
        flat = np.round(linear_to_srgb(factor) * 255).astype(np.uint8)
        return _Part(corners, np.full((*faces.shape, 2), 0.5, np.float32), np.tile(flat, (_FLAT_PX, _FLAT_PX, 1)))
    values = colours.astype(np.float32) / (255 if colours.dtype == np.uint8 else 65535 if colours.dtype == np.uint16 else 1)
    linear = values if linear_colours else srgb_to_linear(values)
    return _Part(corners, *_corner_colours(linear_to_srgb(linear * factor) * 255))


def _corner_colours(colours: FloatArray) -> tuple[FloatArray, Pixels]:
    """uvs [F, 3, 2] and an image in which each face's corners have `colours` [F, 3, 3] (0..255), linear in between."""
    count = len(colours)
    columns = int(np.ceil(np.sqrt(count)))
    rows = int(np.ceil(count / columns))
    side = _BLOCK_PX
    across, down = np.meshgrid(np.arange(side) / (side - 1), np.arange(side) / (side - 1))  # weights of corners 1 and 2
    weights = np.stack([1 - across - down, across, down], -1)  # [side, side, 3]
    blocks = np.zeros((rows * columns, side, side, 3), np.float32)
    blocks[:count] = np.einsum("ijk,fkc->fijc", weights, colours)
    image = blocks.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    face = np.arange(count)
    x = (face % columns * side)[:, None] + np.array([0.5, side - 0.5, 0.5])
    y = (face // columns * side)[:, None] + np.array([0.5, 0.5, side - 0.5])
    uvs = np.stack([x / (columns * side), 1 - y / (rows * side)], -1).astype(np.float32)
    return uvs, np.clip(np.round(image), 0, 255).astype(np.uint8)


def _tile(uvs: FloatArray, image: Pixels) -> tuple[FloatArray, Pixels]:
    """Corner uvs [F, 3, 2] of a repeating image brought into 0..1 of an image that repeats it as often as a face needs."""
    shifted = uvs - np.floor(uvs.min(1, keepdims=True) + 1e-6)
    repeats = np.maximum(np.ceil(shifted.max((0, 1)) - 1e-6), 1).astype(int)  # across and up
    height, width = image.shape[:2]
    if repeats.max() > 1:
        tile_width, tile_height = np.maximum(np.minimum((width, height), _MAX_TILED_PX // repeats), 1).tolist()
        if (tile_width, tile_height) != (width, height):
            image = np.asarray(Image.fromarray(image).resize((tile_width, tile_height), Image.Resampling.BOX))
        repeats = np.minimum(repeats, _MAX_TILED_PX)
        image = np.tile(image, (repeats[1], repeats[0], 1))
    return np.clip(shifted / repeats, 0, 1).astype(np.float32), image


def _merge(parts: list[_Part]) -> tuple[FloatArray, npt.NDArray[np.int64], FloatArray, Pixels]:
    """All parts with their images on shelves of one texture, each with a border of repeated pixels."""
    images = [np.pad(part.image, ((1, 1), (1, 1), (0, 0)), mode="edge") for part in parts]
    while sum(image.shape[0] * image.shape[1] for image in images) > _MAX_TEXTURE_PX**2 // 2:
        images = [_halve(image) for image in images]
    width = max(int(np.sqrt(sum(image.shape[0] * image.shape[1] for image in images)) * 1.1), max(i.shape[1] for i in images))
    places, x, y, shelf = {}, 0, 0, 0
    for index in sorted(range(len(images)), key=lambda i: -images[i].shape[0]):
        height, image_width = images[index].shape[:2]
        if x + image_width > width:
            x, y, shelf = 0, y + shelf, 0
        places[index] = (x, y)
        x, shelf = x + image_width, max(shelf, height)
    texture = np.zeros((y + shelf, width, 3), np.uint8)
    corner_uvs = []
    for index, (image, part) in enumerate(zip(images, parts, strict=True)):
        (x, y), (height, image_width) = places[index], image.shape[:2]
        texture[y : y + height, x : x + image_width] = image
        u = (x + 1 + part.uvs[..., 0] * (image_width - 2)) / texture.shape[1]
        v = 1 - (y + 1 + (1 - part.uvs[..., 1]) * (height - 2)) / texture.shape[0]
        corner_uvs.append(np.stack([u, v], -1).reshape(-1, 2))
    verts = np.concatenate([part.corners.reshape(-1, 3) for part in parts])
    return verts, np.arange(len(verts)).reshape(-1, 3), np.concatenate(corner_uvs), texture


def _halve(image: Pixels) -> Pixels:
    """Half the size of a bordered image, at least 1 px and its border."""
    inner = Image.fromarray(image[1:-1, 1:-1])
    smaller = inner.resize((max(1, inner.width // 2), max(1, inner.height // 2)), Image.Resampling.BOX)
    return np.pad(np.asarray(smaller), ((1, 1), (1, 1), (0, 0)), mode="edge")
