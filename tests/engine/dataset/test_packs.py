"""The pack reader against packs written here to the documented format."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.dataset.packs import load_objects, read_metas
from tetraview.engine.errors import EngineError

from .pack_writer import write_pack


def _random_object(rng: np.random.Generator, name: str, mode: str) -> dict:
    n_verts, n_faces = int(rng.integers(3, 400)), int(rng.integers(1, 300))
    return {
        "id": name,
        "mode": mode,
        "verts": rng.integers(0, 8192, (n_verts, 3)),
        "uvs": rng.integers(0, 4096, (n_verts, 2)),
        "faces": rng.integers(0, n_verts, (n_faces, 3)),
        "texture": rng.integers(0, 256, (int(rng.integers(1, 9)), 4, 3), dtype=np.uint8),
    }


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("packs") / "objects.npz"
    written = write_pack(path, [_random_object(rng, f"o{i}", ["palette", "atlas"][i % 2]) for i in range(count)])
    read = list(load_objects(path))
    assert [mesh.id for mesh in read] == [item["id"] for item in written]
    for mesh, item in zip(read, written, strict=True):
        np.testing.assert_array_equal(np.round((mesh.verts + 1) / 2 * 8191), item["verts"])
        np.testing.assert_array_equal(np.round(mesh.uvs * 4095), item["uvs"])
        np.testing.assert_array_equal(mesh.faces, item["faces"])
        np.testing.assert_array_equal(mesh.texture, item["texture"])
        assert (mesh.verts.dtype, mesh.faces.dtype, mesh.uvs.dtype) == (np.float32, np.int32, np.float32)
        assert mesh.nearest == (item["mode"] == "palette")
        assert mesh.meta["id"] == mesh.id


def test_only_selects_by_id_and_by_predicate(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "objects.npz"
    written = write_pack(path, [_random_object(rng, f"o{i}", ["palette", "atlas"][i % 2]) for i in range(4)])
    (chosen,) = load_objects(path, only={"o2"})
    np.testing.assert_array_equal(chosen.faces, written[2]["faces"])
    assert [meta["id"] for meta in read_metas(path)] == ["o0", "o1", "o2", "o3"]
    assert [mesh.id for mesh in load_objects(path, only=lambda meta: meta["mode"] == "atlas")] == ["o1", "o3"]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    write_pack(good, [_random_object(np.random.default_rng(1), "o", "atlas")])
    cut = tmp_path / "cut.npz"
    cut.write_bytes(good.read_bytes()[:-200])
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, verts=np.zeros(3))
    short = tmp_path / "short.npz"
    with np.load(good) as archive:
        np.savez(short, **{**archive, "tri": archive["tri"][:-12]})
    for path in (cut, foreign, short, tmp_path / "absent.npz"):
        with pytest.raises(EngineError, match=path.name):
            next(load_objects(path))
    with pytest.raises(EngineError, match="foreign"):
        read_metas(foreign)


def test_real_pack() -> None:
    folder = os.environ.get("TETRAVIEW_DATA")
    if not folder or not (Path(folder) / "val_00.npz").exists():
        pytest.skip("TETRAVIEW_DATA does not name a folder with val_00.npz")
    meshes = list(load_objects(Path(folder) / "val_00.npz"))
    assert len(meshes) == 175
    for mesh in meshes:
        assert mesh.faces.min() == 0 and mesh.faces.max() == len(mesh.verts) - 1
        assert 0.5 < np.linalg.norm(mesh.verts, axis=-1).max() < 1.01
        assert mesh.uvs.min() >= 0 and mesh.uvs.max() <= 1
