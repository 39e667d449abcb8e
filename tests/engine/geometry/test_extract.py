"""Extraction: analytic shapes to closed meshes of the right size, and coarse to fine against the dense evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.geometry.cleanup import face_components, is_watertight, signed_volume
from tetraview.engine.geometry.extract import extract_mesh, extract_mesh_dense, extract_surface

from .shapes import AnalyticField, box, smooth_random, sphere, torus, union

SHAPES = {
    "sphere": sphere(),
    "torus": torus(),
    "box": box(),
    "thin plate": box((0.5, 0.6, 0.02), (0.01, 0.003, 0.017)),
    "thin rod": box((0.02, 0.022, 0.7), (0.013, 0.011, 0.0)),
    "two touching": union(sphere(0.3, (-0.3, 0, 0)), sphere(0.25, (0.25, 0, 0))),
    "two apart": union(sphere(0.3, (-0.4, 0, 0)), box((0.1, 0.2, 0.3), (0.4, 0.1, 0))),
    "shell": lambda p: torch.minimum(sphere(0.7)(p), -sphere(0.5)(p)),
    "cut by the border": sphere(1.2),
    "steep": lambda p: torch.tanh(30 * torus()(p)),
    "zero on the lattice": box((0.5, 0.25, 0.375)),
}


def _area(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = verts.astype(np.float64)[faces].transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


@pytest.mark.parametrize(
    ("shape", "area", "volume"),
    [
        ("sphere", 4 * math.pi * 0.6**2, 4 / 3 * math.pi * 0.6**3),
        ("torus", 4 * math.pi**2 * 0.55 * 0.2, 2 * math.pi**2 * 0.55 * 0.2**2),
        ("box", 8 * (0.5 * 0.4 + 0.4 * 0.3 + 0.3 * 0.5), 8 * 0.5 * 0.4 * 0.3),
    ],
)
def test_area_and_volume(shape: str, area: float, volume: float):
    verts, faces = extract_mesh(AnalyticField(SHAPES[shape]), 256)
    assert verts.dtype == np.float32 and faces.dtype == np.int32
    # Edges of a box come out bevelled by up to a lattice step, which costs area.
    assert _area(verts, faces).sum() == pytest.approx(area, rel=0.015 if shape == "box" else 0.01)
    assert signed_volume(verts, faces) == pytest.approx(volume, rel=0.01)  # positive: facing outwards


@pytest.mark.parametrize("shape", SHAPES)
def test_mesh_is_closed_and_the_same_as_from_the_dense_evaluation(shape: str):
    field = AnalyticField(SHAPES[shape])
    verts, faces = extract_mesh(field, 192)
    assert len(faces) > 1000 and faces.min() == 0 and faces.max() == len(verts) - 1
    assert len(np.unique(faces)) == len(verts)
    assert is_watertight(faces)
    assert (_area(verts, faces) > 0).all()
    dense_verts, dense_faces = extract_mesh_dense(field, 192)
    assert verts.shape == dense_verts.shape
    assert np.abs(verts - dense_verts).max() < 1e-4
    assert np.array_equal(faces, dense_faces)  # even in the same order


def test_sphere_normals_point_away_from_the_centre():
    verts, faces = extract_mesh(AnalyticField(sphere()), 64)
    a, b, c = verts[faces].transpose(1, 0, 2)
    assert (np.einsum("fk,fk->f", np.cross(b - a, c - a), a + b + c) > 0).all()
    assert np.abs(np.linalg.norm(verts, axis=1) - 0.6).max() < 0.002


def test_only_needed_vertices_are_evaluated_and_none_twice():
    field = AnalyticField(sphere())
    extract_mesh(field, 256)
    seen = torch.cat(field.seen)
    assert len(torch.unique(seen, dim=0)) == len(seen)
    assert int(seen.min()) > 0 and int(seen.max()) < 256
    assert len(seen) < 0.1 * 2_060_479  # all vertices of the lattice within the box


def test_a_surface_that_the_coarse_pass_sees_only_partly_is_followed_to_its_end():
    # Without a margin the corners of the periods show the head only: the rod runs along the periods' centres, and is thinner.
    def formula(p: torch.Tensor) -> torch.Tensor:
        rod = 0.012 - (p[:, :2] - 1 / 64).norm(dim=1)
        rod = torch.where(p[:, 2].abs() < 0.8, rod, -0.01)
        return torch.maximum(rod, sphere(0.15, (1 / 64, 1 / 64, -0.6))(p)).clamp_min(-0.01)

    verts, faces = extract_mesh(AnalyticField(formula), 256, margin=0.0)
    assert is_watertight(faces)
    assert verts[:, 2].max() > 0.79
    dense = extract_mesh_dense(AnalyticField(formula), 256)
    assert np.array_equal(faces, dense[1])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_random_smooth_fields_equal_their_dense_evaluation(seed: int):
    field = AnalyticField(smooth_random(seed))
    verts, faces = extract_mesh(field, 64)
    assert is_watertight(faces)
    dense_verts, dense_faces = extract_mesh_dense(field, 64)
    assert verts.shape == dense_verts.shape and np.abs(verts - dense_verts).max() < 1e-4
    assert np.array_equal(faces, dense_faces)


@pytest.mark.parametrize("resolution", [4, 8, 12, 20, 36, 52, 196])
def test_lattices_of_any_size_equal_their_dense_evaluation(resolution: int):
    field = AnalyticField(union(torus(0.55, 0.2), sphere(0.2)))
    verts, faces = extract_mesh(field, resolution)
    dense_verts, dense_faces = extract_mesh_dense(field, resolution)
    assert is_watertight(faces) and len(faces) > 0
    assert np.array_equal(faces, dense_faces) and np.abs(verts - dense_verts).max() < 1e-4


def test_touching_spheres_are_one_part_and_apart_ones_two():
    assert face_components(extract_mesh(AnalyticField(SHAPES["two touching"]), 128)[1]).max() == 0
    assert face_components(extract_mesh(AnalyticField(SHAPES["two apart"]), 128)[1]).max() == 1


def test_nothing_inside_gives_an_empty_mesh():
    verts, faces = extract_mesh(AnalyticField(lambda p: -1 - p[:, 0] ** 2), 32)
    assert verts.shape == (0, 3) and faces.shape == (0, 3)


def test_everything_inside_gives_the_box():
    verts, faces = extract_mesh(AnalyticField(lambda p: 1 + p[:, 0] ** 2), 32)
    assert is_watertight(faces)
    assert signed_volume(verts, faces) == pytest.approx(8, rel=0.1)


def test_progress_rises_to_one_and_may_stop_the_work():
    shares: list[float] = []
    extract_mesh(AnalyticField(sphere()), 64, shares.append)
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == 1

    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        extract_mesh(AnalyticField(sphere()), 64, stop)


def test_nan_is_refused_in_one_sentence():
    field = AnalyticField(lambda p: torch.where(p[:, 0] > 0.5, torch.nan, sphere()(p)))
    for extract in (extract_mesh, extract_mesh_dense):
        with pytest.raises(ValueError, match=r"^The signed distance is not a number at \d+ of \d+ points\.$"):
            extract(field, 32)


def test_wrong_shape_from_the_field_is_refused():
    with pytest.raises(ValueError, match="one signed distance a point"):
        extract_mesh(AnalyticField(lambda p: p), 32)


def test_surface_keeps_the_ends_that_its_positions_come_from():
    field = AnalyticField(sphere())
    surface = extract_surface(field, 64)
    for side in (0, 1):
        again = field.lattice_sdf(torch.from_numpy(surface.ends[:, side]), 64)
        assert np.allclose(again, surface.sdf[:, side], atol=1e-6)
    assert np.allclose(np.linalg.norm(surface.verts(), axis=1), 0.6, atol=0.003)
