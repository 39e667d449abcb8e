"""Reader of object packs: thousands of textured meshes in one `.npz` file of a few megabytes.

A pack is an npz file (zip members may be LZMA-compressed) with these members:

    meta     UTF-8 JSON bytes: a list of dicts in object order, with at least `id`, `mode`, `nv`, `nf` (vertices, faces) and
             `nt` (bytes of the texture file)
    pos, uv  per-object streams of 3 or 2 components, concatenated. A component is an integer, round((p + 1) / 2 * 8191) or
             round(u * 4095); stored as its difference to the previous vertex (the first: to 0), zig-zag coded to uint16;
             per component all low bytes, then all high bytes
    tri      3 * nf corner codes an object: (number of vertices seen so far) - index, so 0 is the next new vertex; all low
             bytes, then all high bytes
    tex      image files, one after another: mode `palette` (nearest sampling) or `atlas` (bilinear)
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import EngineError
from .textured_mesh import TexturedMesh

POSITION_STEPS = 8191
UV_STEPS = 4095

_MEMBERS = ("meta", "pos", "uv", "tri", "tex")


def _join_bytes(stream: npt.NDArray[np.uint8], components: int) -> npt.NDArray[np.int64]:
    """uint16 values as int64 [components, N] from per-component (low bytes, high bytes)."""
    pairs = stream.reshape(components, 2, -1).astype(np.int64)
    return pairs[:, 0] + 256 * pairs[:, 1]


def _undo_zigzag(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0, 1, 2, 3, 4, ... -> 0, -1, 1, -2, 2, ..."""
    return np.where(codes % 2 == 0, codes // 2, -(codes + 1) // 2)


def _decode_corners(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Vertex indices, int32 [nf, 3], from the corner codes of one object."""
    is_new = codes == 0
    seen_before = np.cumsum(is_new) - is_new
    return (seen_before - codes).reshape(-1, 3).astype(np.int32)


@contextlib.contextmanager
def _open_pack(path: str | Path) -> Iterator[Any]:
    """The archive of a pack; whatever goes wrong while it is read becomes an EngineError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in _MEMBERS if name not in archive]
            if missing:
                raise EngineError(f"{path} is not an object pack: it has no member {missing[0]!r}.")
            yield archive
    except FileNotFoundError as error:
        raise EngineError(f"There is no pack at {path}.") from error
    except (OSError, ValueError, zipfile.BadZipFile, lzma.LZMAError, EOFError) as error:
        raise EngineError(f"{path} is not a whole object pack ({error}).") from error


def read_metas(path: str | Path) -> list[dict[str, Any]]:
    """The meta of every object of a pack, in its order, without decoding any.

    Raises:
        EngineError: The file is missing or is not a pack; the message names it.
    """
    with _open_pack(path) as archive:
        metas: list[dict[str, Any]] = json.loads(archive["meta"].tobytes().decode())
    return metas


def load_objects(
    path: str | Path, only: Collection[str] | Callable[[Mapping[str, Any]], bool] | None = None
) -> Iterator[TexturedMesh]:
    """Yield the objects of a pack, in its order, decoding each as it is asked for.

    Args:
        path: A pack; see the module docstring for its format.
        only: Ids to yield, or a predicate on an object's meta; None for all.

    Yields:
        TexturedMesh, positions within the unit sphere.

    Raises:
        EngineError: The file is missing or is not a whole pack; the message names it.
    """
    with _open_pack(path) as archive:
        metas = json.loads(archive["meta"].tobytes().decode())
        steps = {"pos": _undo_zigzag(_join_bytes(archive["pos"], 3)), "uv": _undo_zigzag(_join_bytes(archive["uv"], 2))}
        corner_codes, textures = _join_bytes(archive["tri"], 1)[0], archive["tex"]
    totals = {key: sum(meta[key] for meta in metas) for key in ("nv", "nf", "nt")}
    found = {"nv": steps["pos"].shape[1], "nf": len(corner_codes) // 3, "nt": len(textures)}
    if totals != found:
        raise EngineError(f"{path} is damaged: its objects need {totals}, it holds {found}.")

    vert_at = face_at = texture_at = 0
    for meta in metas:
        verts_end, faces_end, texture_end = vert_at + meta["nv"], face_at + meta["nf"], texture_at + meta["nt"]
        if only is None or (only(meta) if callable(only) else meta["id"] in only):
            grid = np.cumsum(steps["pos"][:, vert_at:verts_end], axis=1).T
            uv_grid = np.cumsum(steps["uv"][:, vert_at:verts_end], axis=1).T
            with Image.open(io.BytesIO(textures[texture_at:texture_end].tobytes())) as image:
                texture = np.asarray(image.convert("RGB"))
            yield TexturedMesh(
                id=meta["id"],
                verts=(grid.astype(np.float32) / POSITION_STEPS * 2 - 1).astype(np.float32),
                faces=_decode_corners(corner_codes[3 * face_at : 3 * faces_end]),
                uvs=(uv_grid.astype(np.float32) / UV_STEPS).astype(np.float32),
                texture=texture,
                nearest=meta["mode"] == "palette",
                meta=meta,
            )
        vert_at, face_at, texture_at = verts_end, faces_end, texture_end
