"""An encoder of object packs, written from the documented format, to test the reader against."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image


def _split_bytes(values: np.ndarray) -> bytes:
    """Non-negative integers [N] as all low bytes, then all high bytes."""
    return (values & 255).astype(np.uint8).tobytes() + (values >> 8).astype(np.uint8).tobytes()


def _zigzag(steps: np.ndarray) -> np.ndarray:
    return np.array([2 * s if s >= 0 else -2 * s - 1 for s in steps.tolist()], np.int64)


def write_pack(path: Path, objects: list[dict]) -> list[dict]:
    """Write objects (id, verts in grid steps [V, 3], uvs in grid steps [V, 2], faces [F, 3], texture uint8, mode) as a pack.

    Vertices are put in order of first use, as the format has it. Returns the objects as they were written.
    """
    metas, written = [], []
    columns: dict[str, list[np.ndarray]] = {"pos": [], "uv": []}
    tri: list[np.ndarray] = []
    tex = b""
    for item in objects:
        order = list(dict.fromkeys(item["faces"].ravel().tolist()))
        rank = {old: new for new, old in enumerate(order)}
        faces = np.array([rank[i] for i in item["faces"].ravel().tolist()]).reshape(-1, 3)
        item = {**item, "verts": item["verts"][order], "uvs": item["uvs"][order], "faces": faces}
        seen, codes = 0, []
        for index in faces.ravel().tolist():
            codes.append(seen - index)
            seen += index == seen
        buffer = io.BytesIO()
        Image.fromarray(item["texture"]).save(buffer, "WEBP", lossless=True)
        tex += buffer.getvalue()
        for key, values in (("pos", item["verts"]), ("uv", item["uvs"])):
            columns[key].append(np.diff(values, axis=0, prepend=np.zeros((1, values.shape[1]), np.int64)))
        tri.append(np.array(codes, np.int64))
        sizes = {"nv": len(order), "nf": len(faces), "nt": len(buffer.getvalue())}
        metas.append({**item.get("meta", {}), "id": item["id"], "mode": item["mode"], **sizes})
        written.append(item)
    members = {
        key: b"".join(_split_bytes(_zigzag(column)) for column in np.concatenate(steps).T) for key, steps in columns.items()
    }
    members |= {"tri": _split_bytes(np.concatenate(tri)), "tex": tex, "meta": json.dumps(metas).encode()}
    np.savez(path, **{key: np.frombuffer(value, np.uint8) for key, value in members.items()})
    return written
