"""One textured mesh as a binary glTF 2.0 file, written whole or not at all."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..version import __version__
from .atlas import Atlas
from .normals import vertex_normals

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT32 = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963


def write_glb(
    path: str | os.PathLike[str],
    atlas: Atlas,
    albedo_png: bytes,
    roughness: float,
    metallic: float,
    *,
    name: str = "Tetraview",
) -> None:
    """Write the asset.

    Axes are turned from Blender's (+Z up, front -Y) to glTF's (+Y up, front +Z); importers turn them back.

    Args:
        path: File to write; first under a temporary name beside it, then renamed.
        atlas: Mesh and UVs. Vertices are split where the UVs are, with smooth normals across the split.
        albedo_png: The texture, sRGB, as a PNG file; embedded as it is.
        roughness, metallic: Constants 0..1, linear.
        name: Name of the object, its mesh and its material.

    Raises:
        ValueError: `albedo_png` is no PNG, or a constant is out of range.
        OSError: The file cannot be written.
    """
    if not albedo_png.startswith(b"\x89PNG"):
        raise ValueError(f"albedo_png begins with {albedo_png[:4]!r}, which no PNG does")
    if not (0 <= roughness <= 1 and 0 <= metallic <= 1):
        raise ValueError(f"roughness {roughness} and metallic {metallic} must lie in 0..1")
    positions, normals, uvs, indices = _split_at_seams(atlas)
    parts = [indices.tobytes(), positions.tobytes(), normals.tobytes(), uvs.tobytes(), albedo_png]
    views, offset = [], 0
    for part, target in zip(parts, [_ELEMENT_ARRAY_BUFFER, *[_ARRAY_BUFFER] * 3, None], strict=True):
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(part), **({"target": target} if target else {})})
        offset += len(part) + -len(part) % 4
    binary = b"".join(part + b"\0" * (-len(part) % 4) for part in parts)
    count = len(positions)
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"Tetraview {__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [
            {
                "name": name,
                "primitives": [{"attributes": {"POSITION": 1, "NORMAL": 2, "TEXCOORD_0": 3}, "indices": 0, "material": 0}],
            }
        ],
        "materials": [
            {
                "name": name,
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": float(metallic),
                    "roughnessFactor": float(roughness),
                },
            }
        ],
        "textures": [{"sampler": 0, "source": 0}],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "images": [{"bufferView": 4, "mimeType": "image/png", "name": f"{name} albedo"}],
        "accessors": [
            {"bufferView": 0, "componentType": _UINT32, "count": indices.size, "type": "SCALAR"},
            {
                "bufferView": 1,
                "componentType": _FLOAT,
                "count": count,
                "type": "VEC3",
                "min": positions.min(0).tolist(),
                "max": positions.max(0).tolist(),
            },
            {"bufferView": 2, "componentType": _FLOAT, "count": count, "type": "VEC3"},
            {"bufferView": 3, "componentType": _FLOAT, "count": count, "type": "VEC2"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<III", _MAGIC, 2, 12 + 8 + len(text) + 8 + len(binary))
    _replace(Path(path), header + struct.pack("<II", len(text), _JSON) + text + struct.pack("<II", len(binary), _BIN) + binary)


def _split_at_seams(
    atlas: Atlas,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
    """glTF positions, normals and UVs, one row per (vertex, UV) pair, and indices [F * 3]."""
    key = atlas.faces.astype(np.int64) * len(atlas.uvs) + atlas.uv_faces
    unique, indices = np.unique(key.reshape(-1), return_inverse=True)
    vert, uv = unique // len(atlas.uvs), unique % len(atlas.uvs)
    positions = _y_up(atlas.verts)[vert]
    normals = _y_up(vertex_normals(atlas.verts, atlas.faces))[vert]
    uvs = atlas.uvs[uv].astype(np.float32)
    uvs[:, 1] = 1 - uvs[:, 1]
    return positions, normals, uvs, indices.reshape(-1).astype(np.uint32)


def _y_up(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    x, y, z = np.asarray(vectors, np.float32).T
    return np.stack([x, z, -y], -1)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
