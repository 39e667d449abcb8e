"""Simplification: budgets met exactly from above by closed meshes that look like the input."""

from __future__ import annotations

import functools

import fast_simplification
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from tetraview.engine.geometry.cleanup import is_watertight, signed_volume
from tetraview.engine.geometry.collapse import collapse_edges, normals_and_quality
from tetraview.engine.geometry.extract import extract_mesh
from tetraview.engine.geometry.gluing import merge_short_edges
from tetraview.engine.geometry.simplify import roughly_simplify, simplify

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


@functools.cache
def _without_micro_edges(shape: str, resolution: int) -> int:
    """Triangles of the mesh once the edges are gone that no result may have: where it lies along the lattice, most of them."""
    verts, faces = _mesh(shape, resolution)
    return len(merge_short_edges(verts, faces, 3e-4 * float(np.ptp(verts, axis=0).max()))[1])


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
    assert len(simple_faces) == min(budget, _without_micro_edges(shape, 64))
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
def test_never_more_than_the_budget_and_hardly_less(budget: int, shape: str):
    verts, faces = _mesh(shape, 32)
    simple_verts, simple_faces = simplify(verts, faces, budget)
    assert len(simple_faces) <= budget
    if budget >= 100:
        assert is_watertight(simple_faces)
        assert len(simple_faces) >= min(budget // 2 * 2, _without_micro_edges(shape, 32)) - 4  # short ones may go at the end, too
    assert simple_faces.size == 0 or simple_faces.max() == len(simple_verts) - 1


def test_a_loose_stick_stays_although_it_has_hardly_any_volume_and_a_scrap_goes():
    ball, ball_faces = _mesh("sphere")
    stick, stick_faces = _mesh("box")
    small = len(ball)
    stick = stick / np.abs(stick).max(0) * (0.3, 0.004, 0.004) + (0, 0, 0.9)  # 0.00004 of the volume
    verts = np.concatenate([ball, stick, 0.004 * ball + (0, 0, 0.95)]).astype(np.float32)
    faces = np.concatenate([ball_faces, stick_faces + small, ball_faces + small + len(stick)])
    simple_verts, simple_faces = simplify(verts, faces, 1000)
    assert is_watertight(simple_faces) and len(simple_faces) in (999, 1000)
    ends = simple_verts[simple_verts[:, 2] > 0.8]
    assert np.ptp(ends[:, 0]) > 0.55 and ends[:, 2].max() < 0.92


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


def _shortest_edge(verts: np.ndarray, faces: np.ndarray) -> float:
    """Length of the shortest edge, as a share of the largest extent."""
    lengths = np.linalg.norm(verts[faces] - verts[faces[:, [1, 2, 0]]], axis=-1)
    return float(lengths.min() / np.ptp(verts, axis=0).max())


def test_a_tetrahedron_that_stands_alone_is_not_folded_up() -> None:
    """Its edges are by far the cheapest to collapse, and two faces on each other would be left."""
    verts, faces = _mesh("sphere", 32)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32) * 0.01 + 0.9
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]) + len(verts)
    both = np.concatenate([verts, corners]), np.concatenate([faces, tetrahedron])
    simple_faces = collapse_edges(*both, 200, keep_shape=False)[1]
    assert len(simple_faces) == 200 and is_watertight(simple_faces)
    assert len(np.unique(np.sort(simple_faces, 1), axis=0)) == len(simple_faces)


def test_knots_of_tiny_triangles_are_merged():
    verts, faces = _mesh("box")
    merged_verts, merged_faces = merge_short_edges(verts, faces, 2e-3)
    assert _shortest_edge(verts, faces) < 1e-3 < _shortest_edge(merged_verts, merged_faces)
    assert is_watertight(merged_faces)
    assert signed_volume(merged_verts, merged_faces) == pytest.approx(signed_volume(verts, faces), rel=1e-3)


def _torn(seed: int, resolution: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A shell full of random holes and bridges, as bad cut-outs leave them: many handles, many loose parts, thin sheets."""
    random = torch.Generator().manual_seed(seed)
    waves = torch.randn(24, 3, generator=random, dtype=torch.float64) * 14
    phases = torch.rand(24, generator=random, dtype=torch.float64) * 6.3
    ball = sphere(0.8)

    def torn(points: torch.Tensor) -> torch.Tensor:
        holes = torch.sin(points @ waves.T + phases).mean(1)
        return torch.minimum(0.03 - ball(points).abs(), 0.1 * (holes + 0.1))

    return extract_mesh(AnalyticField(torn), resolution)


def test_what_unchecked_collapses_leave_is_made_a_manifold() -> None:
    """Without any merging of short edges, the sheets that touch are glued."""
    verts, faces = _torn(0)
    touching = fast_simplification.simplify(verts, faces, target_count=3000, agg=5.0)[1]
    assert not is_watertight(touching)
    assert is_watertight(roughly_simplify(verts, faces, 3000, 0.0, True)[1])


@pytest.mark.parametrize("budget", [60_000, 10_000, 2_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_torn_surfaces_become_meshes_that_every_tool_accepts(seed: int, budget: int):
    """Closed, no two faces on each other, no micro-edges, within the budget: what Blender's validation and QuadriFlow ask for."""
    verts, faces = _torn(seed)
    assert len(faces) > 10_000
    simple_verts, simple_faces = simplify(verts, faces, budget)
    assert min(len(faces), budget) * 0.97 < len(simple_faces) <= budget
    assert is_watertight(simple_faces)
    assert len(np.unique(np.sort(simple_faces, 1), axis=0)) == len(simple_faces)
    assert _shortest_edge(simple_verts, simple_faces) > 1e-4
