"""Solidity of examples: torn surfaces score low, scoring goes on where it was broken off, and the bank holds the scores."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tetraview.engine.cameras import RIG_FOVY_DEG, rig_c2w
from tetraview.engine.dataset.render import render_views
from tetraview.engine.models.loading import LoadedModel, ModelCache
from tetraview.engine.models.registry import STARTER_MODEL
from tetraview.engine.training.generator.grid_cache import GridCache
from tetraview.engine.training.retrieval import build_bank as examples
from tetraview.engine.training.retrieval import solidity
from tetraview.engine.training.retrieval.solidity import SolidityScores, agreement, depth_maps, score_missing

from .conftest import BOXES, box


def solidity_of(made, truth) -> float:
    """Solidity of one TexturedMesh measured against another."""
    return agreement(depth_maps(made.verts, made.faces), depth_maps(truth.verts, truth.faces)).solidity


def without(mesh, axis: int, side: float):
    """The mesh without its faces in the plane where a coordinate is `side`."""
    inside = (np.abs(mesh.verts[mesh.faces][..., axis] - side) > 1e-6).any(1)
    return dataclasses.replace(mesh, faces=mesh.faces[inside])


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return ModelCache().get(STARTER_MODEL, "cpu")


def test_a_box_is_solid_and_one_with_its_top_knocked_out_is_not():
    whole = box("whole", (0.5, 0.3, 0.6), (9, 9, 9), "black")
    torn = without(whole, 2, 0.6)
    assert solidity_of(whole, whole) > 0.999
    assert solidity_of(torn, whole) < 0.3
    assert solidity_of(whole, torn) < 0.8  # a lid on what is hollow is wrong, too
    assert solidity_of(whole, torn) > solidity_of(torn, whole) + 0.2  # but not as wrong as a hole
    assert solidity_of(dataclasses.replace(whole, faces=whole.faces[:0]), whole) == 0


def test_a_small_hole_counts():
    """A hole of a twentieth of the area of each view from above."""
    whole = box("whole", (0.6, 0.6, 0.05), (9, 9, 9), "black")
    depth = depth_maps(whole.verts, whole.faces)
    torn = depth.copy()
    for view in torn[4:]:
        rows, columns = np.nonzero(np.isfinite(view))
        half = round(np.sqrt(len(rows) / 20) / 2)
        y, x = round(rows.mean()), round(columns.mean())
        view[y - half : y + half, x - half : x + half] = np.inf
    assert 0.7 < agreement(torn, depth).solidity < 0.93


def test_a_thin_blade_need_not_lie_on_the_same_pixels_but_must_be_there():
    blade, thicker = (box("blade", (0.06, width, 0.9), (9, 9, 9), "black") for width in (0.002, 0.01))
    assert solidity_of(thicker, blade) > 0.9 and solidity_of(blade, thicker) > 0.9
    broken = dataclasses.replace(blade, verts=np.where(blade.verts[:, 2:] > 0, blade.verts * (1, 1, 0), blade.verts))
    assert solidity_of(broken, blade) < 0.3


def test_the_engines_mesh_of_a_boxs_views_is_the_box(model):
    truth = box("truth", (0.5, 0.4, 0.55), (204, 40, 40), "red")
    views = render_views(truth, rig_c2w(), RIG_FOVY_DEG, 128).rgba
    right = solidity.solidity(model, views, truth)
    assert right > 0.75
    assert solidity.solidity(model, views, box("other", (0.2, 0.7, 0.55), (204, 40, 40), "red")) < right - 0.3
    assert solidity.solidity(model, np.zeros_like(views), truth) == 0  # nothing in the views: no mesh


@pytest.fixture
def pack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A pack of the boxes."""
    metas = [{**mesh.meta, "licence": "CC0-1.0"} for mesh in BOXES]
    for module in (examples, solidity):
        monkeypatch.setattr(module, "read_metas", lambda pack: metas)
    monkeypatch.setattr(solidity, "load_objects", lambda pack, only: (mesh for mesh in BOXES if mesh.id in only))
    path = tmp_path / "data" / "train_00.npz"
    path.parent.mkdir()
    path.touch()
    return path


def test_interrupted_scoring_goes_on(model, pack, grids: GridCache, tmp_path, monkeypatch):
    ids = [mesh.id for mesh in BOXES]
    running = score_missing([pack], grids, ids, model, SolidityScores(tmp_path, "aa"))
    first = next(running)
    running.close()
    path = tmp_path / solidity.SCORES_FILE
    kept = path.read_bytes()
    assert json.loads(kept)["id"] == first  # on disk before the next one is begun
    path.write_bytes(kept + kept[: len(kept) // 2])  # broken off in the middle of a line

    again = SolidityScores(tmp_path, "aa")
    assert list(again.solidity) == [first]
    assert set(score_missing([pack], grids, ids, model, again)) == set(ids) - {first}
    read = SolidityScores(tmp_path, "aa").solidity
    assert read == again.solidity and set(read) == set(ids)
    assert list(score_missing([pack], grids, ids, model, again)) == []
    assert SolidityScores(tmp_path, "bb").solidity == {}  # another reconstructor's
    monkeypatch.setattr(solidity, "SETTINGS", [*solidity.SETTINGS[:-1], 80.0])
    assert SolidityScores(tmp_path, "aa").solidity == {}  # judged in another way


def test_the_bank_is_written_when_all_are_scored(pack, grids: GridCache, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    examples.add_arguments(parser)
    given = ["--data", str(pack.parent), "--cache", str(grids.folder), "--out", str(tmp_path)]
    given += ["--solidity", str(tmp_path / "solidity")]
    assert examples.run(parser.parse_args([*given, "--limit", "1"])) == 0
    assert "1 of 3" in capsys.readouterr().out
    captions = tmp_path / "examples" / "examples.json"
    assert not captions.exists()
    assert examples.run(parser.parse_args(given)) == 0
    lines = [json.loads(line) for line in (tmp_path / "solidity" / solidity.SCORES_FILE).read_text().splitlines()]
    assert len(lines) == 3
    stored = {entry["id"]: entry["solidity"] for entry in json.loads(captions.read_text())}
    assert stored == {line["id"]: line["solidity"] for line in lines}
    assert examples.run(parser.parse_args(given[:-2])) == 0  # not scored
    assert all("solidity" not in entry for entry in json.loads(captions.read_text()))
