"""Simplified torn surfaces, as bad cut-outs give them, in Blender: validation and remeshing accept them as they are."""

from __future__ import annotations

import os
import subprocess

import bpy
import numpy as np
import pytest

import bmesh  # isort: skip  there once bpy is

from .conftest import ROOT

BUDGETS = (20_000, 5_000, 1_000)
SCRIPT = """
import sys
import numpy as np
from tests.engine.geometry.test_simplify import _torn
from tetraview.engine.geometry.simplify import simplify
verts, faces = _torn(0)
for budget in map(int, sys.argv[2:]):
    simple = simplify(verts, faces, budget)
    np.savez(f"{sys.argv[1]}/{budget}.npz", verts=simple[0], faces=simple[1])
"""


@pytest.fixture(scope="module")
def simplified(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """One torn surface at each budget, made by the engine's own Python."""
    folder = tmp_path_factory.mktemp("simplified")
    command = [os.environ["TETRAVIEW_ENGINE_PYTHON"], "-c", SCRIPT, str(folder), *map(str, BUDGETS)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=300)
    meshes = {}
    for budget in BUDGETS:
        with np.load(folder / f"{budget}.npz") as archive:
            meshes[budget] = archive["verts"], archive["faces"]
    return meshes


@pytest.mark.parametrize("budget", BUDGETS)
def test_validation_changes_nothing_and_every_edge_has_two_faces(ext, simplified, budget) -> None:
    verts, faces = simplified[budget]
    mesh = bpy.data.meshes.new("Torn")
    mesh.from_pydata(verts.tolist(), [], faces.tolist())
    assert mesh.validate(verbose=True) is False
    assert len(mesh.polygons) == len(faces) <= budget
    editable = bmesh.new()
    editable.from_mesh(mesh)
    assert all(edge.is_manifold and edge.is_contiguous for edge in editable.edges)
    assert all(vert.is_manifold for vert in editable.verts)
    editable.free()
    bpy.data.meshes.remove(mesh)
