"""Marching tetrahedra: all cases, exact vertices on a small grid, and the lattice version against its readable twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tetraview.engine.geometry.cleanup import is_watertight, signed_volume
from tetraview.engine.geometry.lattice import Lattice
from tetraview.engine.geometry.marching_tets import march_lattice, marching_tets
from tetraview.engine.geometry.tables import N_TRIANGLES, TRIANGLES

# A cube of side 1 cut into five tetrahedra: four at alternating corners, one in the middle. Corner number = x + 2 y + 4 z.
CUBE = np.array([[k & 1, k >> 1 & 1, k >> 2] for k in range(8)], np.float32)
FIVE_TETS = np.array([[0, 1, 2, 4], [3, 1, 2, 7], [5, 1, 4, 7], [6, 2, 4, 7], [1, 2, 4, 7]])
UNIT_TET = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


def _points(verts: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(float(x) for x in np.round(v, 5)) for v in verts}


def test_case_table_has_each_crossed_edge_exactly_where_it_must():
    assert N_TRIANGLES.tolist() == [0, 1, 1, 2, 1, 2, 2, 1, 1, 2, 2, 1, 2, 1, 1, 0]
    assert ((TRIANGLES >= 0).all(-1).sum(-1) == N_TRIANGLES).all()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("case", range(1, 15))
def test_every_case_faces_outside_and_uses_every_crossed_edge(case: int, flip: bool):
    inside = np.array([case >> k & 1 for k in range(4)], bool)
    sdf = np.where(inside, 1.0, -1.0).astype(np.float32)
    tet = np.array([[0, 1, 3, 2] if flip else [0, 1, 2, 3]])
    verts, faces = marching_tets(UNIT_TET, tet, sdf)
    assert len(verts) == inside.sum() * (~inside).sum()
    assert set(faces.reshape(-1).tolist()) == set(range(len(verts)))
    outward = UNIT_TET[~inside].mean(0) - UNIT_TET[inside].mean(0)
    a, b, c = verts[faces].transpose(1, 0, 2)
    assert (np.cross(b - a, c - a) @ outward > 0).all()


def test_one_corner_of_the_five_tet_cube():
    sdf = np.full(8, -3.0, np.float32)
    sdf[0] = 1.0
    verts, faces = marching_tets(CUBE, FIVE_TETS, sdf)
    assert _points(verts) == {(0.25, 0, 0), (0, 0.25, 0), (0, 0, 0.25)}
    assert len(faces) == 1
    a, b, c = verts[faces[0]]
    assert np.cross(b - a, c - a) == pytest.approx([1 / 16] * 3)


def test_half_of_the_five_tet_cube_is_cut_by_a_plane():
    sdf = (0.25 - CUBE[:, 0]).astype(np.float32)
    verts, faces = marching_tets(CUBE, FIVE_TETS, sdf)
    assert np.allclose(verts[:, 0], 0.25)
    a, b, c = verts[faces].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a) / 2
    assert (normals[:, 0] > 0).all() and normals[:, 0].sum() == pytest.approx(1.0)
    assert len(verts) == len(np.unique(faces))


def test_nothing_inside_or_nothing_outside_gives_an_empty_mesh():
    for value in (-1.0, 1.0, 0.0):
        verts, faces = marching_tets(CUBE, FIVE_TETS, np.full(8, value, np.float32))
        assert verts.shape == (0, 3) and faces.shape == (0, 3)


def test_zero_is_outside_and_the_vertex_lies_on_the_corner():
    sdf = np.array([1.0, 0.0, 0.0, 0.0], np.float32)
    verts, faces = marching_tets(UNIT_TET, np.array([[0, 1, 2, 3]]), sdf)
    assert _points(verts) == _points(UNIT_TET[1:]) and len(faces) == 1


def test_torch_and_numpy_agree_and_positions_have_gradients():
    grid, sdf = torch.tensor(CUBE), torch.tensor([1.0, -1, -2, -1, 3, -1, -1, -2], requires_grad=True)
    verts, faces = marching_tets(grid, torch.tensor(FIVE_TETS), sdf)
    plain_verts, plain_faces = marching_tets(CUBE, FIVE_TETS, sdf.detach().numpy())
    assert np.array_equal(verts.detach().numpy(), plain_verts) and np.array_equal(faces.numpy(), plain_faces)
    verts.sum().backward()
    step = 1e-3
    for k in (0, 4, 7):
        moved = [marching_tets(grid.double(), torch.tensor(FIVE_TETS), sdf.detach().double().index_add(
            0, torch.tensor([k]), torch.tensor([sign * step], dtype=torch.float64)))[0].sum() for sign in (1, -1)]  # fmt: skip
        assert float(sdf.grad[k]) == pytest.approx(float(moved[0] - moved[1]) / (2 * step), abs=1e-4)


@pytest.mark.parametrize(
    ("grid", "tets", "sdf", "text"),
    [
        (CUBE[:, :2], FIVE_TETS, np.ones(8, np.float32), r"grid_verts must be \[N, 3\]"),
        (CUBE, FIVE_TETS[:, :3], np.ones(8, np.float32), r"tets must be \[T, 4\]"),
        (CUBE, FIVE_TETS, np.ones(7, np.float32), r"sdf must be \[8\]"),
        (CUBE, FIVE_TETS, np.array([1, np.nan, 1, 1, 1, 1, 1, 1], np.float32), "not a number at 1 of 8"),
    ],
)
def test_bad_input_is_named(grid: np.ndarray, tets: np.ndarray, sdf: np.ndarray, text: str):
    with pytest.raises(ValueError, match=text):
        marching_tets(grid, tets, sdf)


def _on_lattice(sdf_of_position, resolution: int = 16):
    lattice = Lattice(resolution)
    positions = lattice.positions(lattice.ijk(np.arange(lattice.n_verts)))
    sdf = np.where(lattice.interior(), sdf_of_position(positions), -1.0).astype(np.float32)
    return lattice, positions, sdf


def test_lattice_version_gives_the_surface_of_the_readable_twin():
    lattice, positions, sdf = _on_lattice(lambda p: 0.7 - np.linalg.norm(p * [1, 1.1, 1.3], axis=1))
    surface = march_lattice(lattice, sdf, lattice.tet_periods())
    tets = (8 * lattice.tet_periods()[:, None, None] + lattice.tet_vert_steps).reshape(-1, 4)
    verts, faces = marching_tets(positions, tets, sdf)
    assert len(verts) == len(surface.ends) and len(faces) == len(surface.faces) > 500
    ours = np.sort(surface.verts(min_share=0)[surface.faces].reshape(-1, 9).round(4), axis=0)
    assert np.allclose(ours, np.sort(verts[faces].reshape(-1, 9).round(4), axis=0), atol=2e-4)
    assert signed_volume(surface.verts(0), surface.faces) == pytest.approx(signed_volume(verts, faces), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float32, 8 * 5**3, elements=st.sampled_from([-2.0, -1.0, -0.25, 0.0, 0.5, 1.0, 3.0])))
def test_any_signs_at_all_give_a_closed_surface_without_loose_vertices(values: np.ndarray):
    lattice = Lattice(12)
    sdf = np.where(lattice.interior(), values, np.float32(-1.0))
    surface = march_lattice(lattice, sdf, lattice.tet_periods())
    assert is_watertight(surface.faces)
    assert len(np.unique(surface.faces)) == len(surface.ends)
    assert (surface.sdf[:, 0] > 0).all() and (surface.sdf[:, 1] <= 0).all()
    verts = surface.verts()[surface.faces].astype(np.float64)
    assert (np.linalg.norm(np.cross(verts[:, 1] - verts[:, 0], verts[:, 2] - verts[:, 0]), axis=1) > 0).all()
    assert signed_volume(surface.verts(), surface.faces) >= 0


def test_lattice_version_refuses_bad_sdf():
    lattice = Lattice(8)
    with pytest.raises(ValueError, match="one per lattice vertex"):
        march_lattice(lattice, np.ones(3, np.float32), lattice.tet_periods())
    with pytest.raises(ValueError, match="not a number"):
        march_lattice(lattice, np.full(lattice.n_verts, np.nan, np.float32), lattice.tet_periods())
