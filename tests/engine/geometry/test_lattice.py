"""The A15 lattice: counts, volumes and how its tetrahedra meet, by exact integer arithmetic."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.geometry.lattice import PERIOD, SITES, Lattice, tile
from tetraview.engine.geometry.tables import TET_EDGES


def _corners() -> np.ndarray:
    """Lattice coordinates of the tile's tetrahedra, int64 [46, 4, 3]."""
    return SITES[tile().tet_sites] + PERIOD * tile().tet_offsets


def _volumes_x6(corners: np.ndarray) -> np.ndarray:
    a, b, c = (corners[:, k] - corners[:, 0] for k in (1, 2, 3))
    return (np.cross(a, b) * c).sum(-1)


def test_counts_of_one_period():
    parts = tile()
    assert len(SITES) == 8 and parts.edge_sites.shape == (54, 2) and parts.tet_sites.shape == (46, 4)
    assert len({tuple(site) for site in SITES % PERIOD}) == 8


def test_tetrahedra_are_positive_and_fill_the_period():
    volumes = _volumes_x6(_corners())
    assert set(volumes.tolist()) == {8, 9}  # 4/3 and 3/2 cubic steps: nearly equal cells
    assert volumes.sum() == 6 * PERIOD**3


def test_every_face_is_shared_by_two_tetrahedra_on_opposite_sides():
    sides: dict[tuple, list[int]] = collections.defaultdict(list)
    for corners in _corners():
        for skipped in range(4):
            face = np.delete(corners, skipped, axis=0)
            face = face - PERIOD * (face // PERIOD).min(0)  # modulo whole periods
            side = (-1) ** skipped  # +1 if the face's corners in this order turn the same way for each tetrahedron
            order = sorted(range(3), key=lambda k, face=face: tuple(face[k]))
            turns = sum(a > b for a, b in itertools.combinations(order, 2))
            sides[tuple(map(tuple, face[order]))].append(side * (-1) ** turns)
    assert len(sides) == 92
    assert all(sorted(both) == [-1, 1] for both in sides.values())


def test_edges_of_the_tetrahedra_are_those_of_the_tile():
    parts = tile()
    ends = SITES[parts.edge_sites] + PERIOD * parts.edge_offsets  # [54, 2, 3]
    assert (parts.edge_offsets.min(1) == 0).all()
    of_tets = ends[parts.tet_edges] + PERIOD * parts.tet_edge_offsets[:, :, None]  # [46, 6, 2, 3]
    expected = _corners()[:, TET_EDGES]
    same = (of_tets == expected).all((-1, -2)) | (of_tets[:, :, ::-1] == expected).all((-1, -2))
    assert same.all()
    assert set(parts.tet_edges.reshape(-1).tolist()) == set(range(54))


def test_no_vertex_lies_within_the_circumsphere_of_a_tetrahedron():
    shifts = np.array(list(itertools.product(range(-2, 3), repeat=3))) * PERIOD
    points = (SITES + shifts[:, None]).reshape(-1, 3)
    for corners in _corners():
        matrix = 2.0 * (corners[1:] - corners[0])
        centre = np.linalg.solve(matrix, (corners[1:] ** 2).sum(1) - (corners[0] ** 2).sum())
        radius = np.linalg.norm(corners[0] - centre)
        assert (np.linalg.norm(points - centre, axis=1) > radius - 1e-9).all()
        assert (np.linalg.norm(points - centre, axis=1) < radius + 1e-9).sum() == 4


def test_ids_lead_to_the_same_places_as_the_tile():
    lattice = Lattice(16)
    periods = lattice.tet_periods()
    place = PERIOD * (np.stack(np.unravel_index(periods, (lattice.side,) * 3), -1) - 1)
    verts = 8 * periods[:, None, None] + lattice.tet_vert_steps
    assert (lattice.ijk(verts) == place[:, None, None] + _corners()).all()
    ends = 8 * (54 * periods[:, None, None] + lattice.tet_edge_steps)[..., None] // 54  # period of the edge, times 8
    edge = (54 * periods[:, None, None] + lattice.tet_edge_steps) % 54
    ends = ends // 8 * 8 + lattice.edge_vert_steps[edge]
    assert (np.sort(ends, -1) == np.sort(verts[..., TET_EDGES], -1)).all()
    assert np.array_equal(lattice.vert_steps, np.unique(lattice.tet_vert_steps))


def test_each_site_knows_the_corners_and_centres_next_to_it():
    lattice = Lattice(16)
    period = lattice.side**2 * 2 + lattice.side * 2 + 2
    for site in range(2, 8):
        around = 8 * period + lattice.coarse_steps[site]
        assert (around % 8 < 2).all() and len(set(around.tolist())) == 4
        assert (((lattice.ijk(around) - lattice.ijk(np.array(8 * period + site))) ** 2).sum(-1) == 5).all()


def test_ends_of_all_edges_of_a_periods_tetrahedra():
    lattice = Lattice(8)
    pairs = {tuple(sorted(pair)) for tet in lattice.tet_vert_steps for pair in tet[TET_EDGES].tolist()}
    assert {tuple(pair) for pair in lattice.edge_end_steps.tolist()} == pairs


def test_interior_is_the_open_box():
    lattice = Lattice(12)
    ijk = lattice.ijk(np.arange(lattice.n_verts))
    assert np.array_equal(lattice.interior(), ((ijk > 0) & (ijk < 12)).all(-1))
    assert len(np.unique(ijk, axis=0)) == lattice.n_verts


def test_interior_of_the_256_lattice_is_an_eighth_of_all_integer_points():
    n = int(Lattice(256).interior().sum())
    assert n == pytest.approx(255**3 / 8, rel=0.01)


@pytest.mark.parametrize("resolution", [0, -4, 2, 7, 254])
def test_resolution_must_be_whole_periods(resolution: int):
    with pytest.raises(ValueError, match="multiple of 4"):
        Lattice(resolution)


def test_positions_span_the_box():
    assert Lattice(8).positions(np.array([[0, 4, 8]])).tolist() == [[-1.0, 0.0, 1.0]]


@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.floats(0.0, 0.3))
@settings(deadline=None, max_examples=25)
def test_any_vert_is_any_of_the_periods_vertices(quarter, seed, share):
    lattice = Lattice(4 * quarter)
    marked = np.random.default_rng(seed).random(lattice.n_verts) < share
    found = lattice.any_vert(marked)
    periods = lattice.tet_periods()
    np.testing.assert_array_equal(found[periods], marked[8 * periods[:, None] + lattice.vert_steps].any(1))
    found[periods] = False
    assert not found.any()
