"""Simplification: budgets met exactly from above by closed meshes that look like the input."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from tetraview.engine.geometry.cleanup import is_watertight, signed_volume
from tetraview.engine.geometry.collapse import collapse_edges
from tetraview.engine.geometry.extract import extract_mesh
from tetraview.engine.geometry.simplify import simplify
from tetraview.engine.geometry.slivers import merge_short_edges, normals_and_quality

from .shapes import AnalyticField, box, smooth_random, sphere, torus, union

SHAPES = {
    "sphere": sphere(),
    "torus": torus(),
    "box": box((0.5, 0.375, 0.25)),  # its sides lie on lattice vertices: a mesh full of slivers
    "thin plate": box((0.5, 0.6, 0.04), (0.01, 0.003, 0.017)),
    "touching": union(sphere(0.3, (-0.3, 0, 0)), sphere(0.25, (0.25, 0, 0))),
    "random": smooth_random(2, 0.4),
}


@functools.cache
def _mesh(shape: str, resolution: int = 64) -> tuple[np.ndarray, np.ndarray]:
    return extract_mesh(AnalyticField(SHAPES[shape]), resolution)


def _turned_share(verts: np.ndarray, faces: np.ndarray, reference: tuple[np.ndarray, np.ndarray]) -> float:
    """Share of the area whose faces look away from the nearest face of the reference mesh."""
    normals, _ = normals_and_quality(verts.astype(np.float64)[faces])
    true_normals, _ = normals_and_quality(reference[0].astype(np.float64)[reference[1]])
    # Of several near faces, the one that fits best: a point of a thin part is near both of its sides.
    near = cKDTree(reference[0][reference[1]].mean(1)).query(verts[faces].mean(1), 12)[1]
    best = np.einsum("fk,fnk->fn", normals, true_normals[near]).max(1)
    areas = np.linalg.norm(normals, axis=1)
    return float(areas[best < 0].sum() / areas.sum())


@pytest.mark.parametrize("budget", [300, 2000])
@pytest.mark.parametrize("shape", SHAPES)
def test_budget_is_met_by_a_closed_mesh_of_the_same_form(shape: str, budget: int):
    verts, faces = _mesh(shape)
    simple_verts, simple_faces = simplify(verts, faces, budget)
    assert simple_verts.dtype == np.float32 and simple_faces.dtype == np.int32
    assert len(simple_faces) == budget
    assert is_watertight(simple_faces)
    assert len(np.unique(simple_faces)) == len(simple_verts)
    tolerance = 0.06 if budget == 300 else 0.01
    assert signed_volume(simple_verts, simple_faces) == pytest.approx(signed_volume(verts, faces), rel=tolerance)
    normals, quality = normals_and_quality(simple_verts.astype(np.float64)[simple_faces])
    assert (np.linalg.norm(normals, axis=1) > 1e-9).all()
    assert np.median(quality) > 0.4
    assert _turned_share(simple_verts, simple_faces, (verts, faces)) < 0.002


@settings(max_examples=25, deadline=None)
@given(budget=st.integers(4, 6000), shape=st.sampled_from(["sphere", "torus", "touching", "random"]))
def test_never_more_than_the_budget_and_at_most_one_less(budget: int, shape: str):
    verts, faces = _mesh(shape, 32)
    simple_verts, simple_faces = simplify(verts, faces, budget)
    assert len(simple_faces) <= budget
    if budget >= 100:
        assert is_watertight(simple_faces)
        assert len(simple_faces) == min(budget // 2 * 2, len(faces))
    assert simple_faces.size == 0 or simple_faces.max() == len(simple_verts) - 1


def test_a_mesh_within_the_budget_is_left_alone():
    verts, faces = _mesh("sphere", 32)
    simple_verts, simple_faces = simplify(verts, faces, len(faces))
    assert np.array_equal(simple_verts, verts) and np.array_equal(simple_faces, faces)


def test_the_same_input_gives_the_same_mesh():
    first, second = (simplify(*_mesh("random"), 1000) for _ in range(2))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])


def test_budget_below_a_tetrahedron_is_refused():
    with pytest.raises(ValueError, match="at least 4"):
        simplify(*_mesh("sphere", 32), 3)


def test_torus_stops_at_a_torus_unless_told_to_pinch():
    verts, faces = _mesh("torus", 32)
    closed = collapse_edges(verts, faces, 4, keep_shape=False)[1]
    assert is_watertight(closed)
    assert len(np.unique(closed)) - len(closed) / 2 == 0  # Euler characteristic of a torus
    assert len(collapse_edges(verts, faces, 4, keep_shape=False, keep_closed=False)[1]) <= 4


def test_knots_of_tiny_triangles_are_merged():
    verts, faces = _mesh("box")
    before = normals_and_quality(verts.astype(np.float64)[faces])[1]
    merged_verts, merged_faces = merge_short_edges(verts, faces)
    after = normals_and_quality(merged_verts.astype(np.float64)[merged_faces])[1]
    assert np.percentile(before, 5) < 0.05 < 0.2 < np.percentile(after, 5)
    assert is_watertight(merged_faces)
    assert signed_volume(merged_verts, merged_faces) == pytest.approx(signed_volume(verts, faces), rel=1e-3)
