"""Sheets that touch are taken apart, without moving a triangle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tetraview.engine.geometry.cleanup import is_watertight, signed_volume
from tetraview.engine.geometry.pinches import drop_flaps, split_pinches

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32)
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


def two_on_one_edge() -> tuple[np.ndarray, np.ndarray]:
    """Two tetrahedra that share the edge between vertices 0 and 3: an edge of four faces."""
    verts = np.concatenate([CORNERS, [[-1, 0, 0], [0, -1, 0]]]).astype(np.float32)
    second = np.array([0, 4, 5, 3], np.int32)[TETRAHEDRON]
    return verts, np.concatenate([TETRAHEDRON, second])


def test_an_edge_of_four_faces_becomes_two_edges() -> None:
    verts, faces = two_on_one_edge()
    assert not is_watertight(faces)
    split_verts, split_faces = split_pinches(verts, faces)
    assert is_watertight(split_faces)
    assert len(split_verts) == 8
    assert np.array_equal(split_verts[split_faces], verts[faces])


@given(st.permutations(range(8)))
def test_the_order_of_faces_does_not_matter(order: list[int]) -> None:
    verts, faces = two_on_one_edge()
    split_verts, split_faces = split_pinches(verts, faces[order])
    assert is_watertight(split_faces)
    assert np.isclose(signed_volume(split_verts, split_faces), signed_volume(verts, faces))


def test_flaps_are_dropped() -> None:
    flap = np.array([[0, 1, 4], [1, 0, 4]], np.int32)
    faces = np.concatenate([TETRAHEDRON, flap])
    assert np.array_equal(drop_flaps(faces), TETRAHEDRON)
    verts = np.concatenate([CORNERS, [[0.5, 0.5, 0.5]]]).astype(np.float32)
    split_verts, split_faces = split_pinches(verts, faces)
    assert is_watertight(split_faces) and len(split_verts) == 4


def test_a_closed_mesh_stays_as_it_is() -> None:
    split_verts, split_faces = split_pinches(CORNERS, TETRAHEDRON)
    assert np.array_equal(split_verts[split_faces], CORNERS[TETRAHEDRON]) and len(split_verts) == 4
