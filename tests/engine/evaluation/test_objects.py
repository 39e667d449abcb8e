"""Which objects a run measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from tetraview.engine.dataset.textured_mesh import TexturedMesh
from tetraview.engine.errors import EngineError, InvalidRequestError
from tetraview.engine.evaluation.objects import choose_objects, find_objects, load_all

from ..dataset.pack_writer import write_pack


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """A pack of five tetrahedra off the origin, and a folder with two files, one of them broken."""
    rng = np.random.default_rng(0)
    corners = np.array([[100, 200, 300], [900, 250, 310], [400, 800, 350], [450, 400, 1200]])
    tetrahedron = {"faces": np.array([[0, 1, 2], [0, 1, 3], [1, 2, 3], [0, 2, 3]]), "uvs": np.zeros((4, 2), np.int64)}
    look = {"texture": np.zeros((4, 4, 3), np.uint8), "mode": "palette"}
    pack = tmp_path / "pack.npz"
    write_pack(pack, [{"id": f"t{i}", "verts": corners + rng.integers(0, 5000, 3), **tetrahedron, **look} for i in range(5)])
    folder = tmp_path / "models"
    (folder / "deep").mkdir(parents=True)
    trimesh.creation.box((4, 2, 2)).export(folder / "deep" / "box.glb")
    (folder / "broken.obj").write_text("# nothing\n")
    (folder / "readme.txt").write_text("not a model")
    return [pack, folder]


def test_keys_in_order(paths: list[Path]) -> None:
    keys = [ref.key for ref in find_objects(paths)]
    assert keys == ["pack/t0", "pack/t1", "pack/t2", "pack/t3", "pack/t4", "models/broken.obj", "models/deep/box.glb"]
    assert [ref.key for ref in find_objects([paths[1] / "deep" / "box.glb"])] == ["box.glb"]


def test_loaded_objects_fill_the_unit_sphere_and_errors_come_through(paths: list[Path]) -> None:
    refs = find_objects(paths)
    loaded = list(load_all([refs[3], refs[1], *refs[5:]]))
    assert sorted(ref.key for ref, _ in loaded) == ["models/broken.obj", "models/deep/box.glb", "pack/t1", "pack/t3"]
    for ref, mesh in loaded:
        if ref.key == "models/broken.obj":
            assert isinstance(mesh, EngineError) and "broken.obj" in str(mesh)
            continue
        assert isinstance(mesh, TexturedMesh)
        np.testing.assert_allclose(np.linalg.norm(mesh.verts, axis=-1).max(), 1, atol=1e-6)
        np.testing.assert_allclose(mesh.verts.max(0), -mesh.verts.min(0), atol=1e-6)


def test_limit_draws_the_same_objects_for_the_same_seed(paths: list[Path]) -> None:
    refs = find_objects(paths)
    draws = {seed: [ref.key for ref in choose_objects(refs, limit=3, seed=seed)] for seed in range(8)}
    assert draws[4] == [ref.key for ref in choose_objects(refs, limit=3, seed=4)]
    assert len({tuple(draw) for draw in draws.values()}) > 3
    order = [ref.key for ref in refs]
    for draw in draws.values():
        assert len(set(draw)) == 3 and draw == sorted(draw, key=order.index)
    assert choose_objects(refs, limit=100) == refs


def test_ids(paths: list[Path]) -> None:
    refs = find_objects(paths)
    assert [ref.key for ref in choose_objects(refs, ids=["t2", "models/deep/box.glb"])] == ["pack/t2", "models/deep/box.glb"]
    with pytest.raises(InvalidRequestError, match="t9"):
        choose_objects(refs, ids=["t2", "t9"])
    with pytest.raises(InvalidRequestError, match="limit of 0"):
        choose_objects(refs, limit=0)


def test_wrong_paths_are_named(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match="absent"):
        find_objects([tmp_path / "absent"])
    with pytest.raises(EngineError, match="empty holds no object"):
        find_objects([tmp_path / "empty"])
    with pytest.raises(EngineError, match="pack/t0"):
        find_objects([paths[0], paths[0]])
