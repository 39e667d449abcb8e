"""Sheets that touch are taken apart, without moving the surface."""

from __future__ import annotations

import numpy as np
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.geometry.cleanup import face_components, is_watertight, signed_volume
from tetraview.engine.geometry.gluing import cancel_opposite_faces, glue_sides

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32)
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


def two_on_one_edge() -> tuple[np.ndarray, np.ndarray]:
    """Two tetrahedra that share the edge between vertices 0 and 3: an edge of four faces."""
    verts = np.concatenate([CORNERS, [[-1, 0, 0], [0, -1, 0]]]).astype(np.float32)
    second = np.array([0, 4, 5, 3], np.int32)[TETRAHEDRON]
    return verts, np.concatenate([TETRAHEDRON, second])


def fans(faces: np.ndarray) -> int:
    """The most fans of faces that meet in one vertex; 1 for a manifold."""
    most = 0
    for vert in np.unique(faces):
        around = faces[(faces == vert).any(1)]
        links = [[v for v in face if v != vert] for face in around.tolist()]
        groups = trimesh.graph.connected_components(np.array(links), min_len=1)
        most = max(most, len(groups))
    return most


@given(st.permutations(range(8)))
def test_two_solids_on_one_edge_are_parted(order: list[int]) -> None:
    verts, faces = two_on_one_edge()
    assert not is_watertight(faces)
    glued_verts, glued_faces = glue_sides(verts, faces[order])
    assert is_watertight(glued_faces) and len(glued_verts) == 8
    assert face_components(glued_faces).max() == 1
    assert np.array_equal(glued_verts[glued_faces], verts[faces[order]])
    # Each part is one of the solids, not a shell from one through the gap to the other.
    parts = face_components(glued_faces)
    assert all(np.isclose(signed_volume(glued_verts, glued_faces[parts == part]), 1 / 6) for part in (0, 1))


def test_faces_on_each_other_are_dropped() -> None:
    flap = np.array([[0, 1, 4], [1, 0, 4]], np.int32)
    faces = np.concatenate([TETRAHEDRON, flap])
    assert np.array_equal(cancel_opposite_faces(faces), TETRAHEDRON)
    verts = np.concatenate([CORNERS, [[0.5, 0.5, 0.5]]]).astype(np.float32)
    glued_verts, glued_faces = glue_sides(verts, faces)
    assert is_watertight(glued_faces) and len(glued_verts) == 4
    nothing = glue_sides(verts, flap)
    assert nothing[0].shape == nothing[1].shape == (0, 3)


def test_a_manifold_stays_as_it_is() -> None:
    glued_verts, glued_faces = glue_sides(CORNERS, TETRAHEDRON)
    assert np.array_equal(glued_verts[glued_faces], CORNERS[TETRAHEDRON]) and len(glued_verts) == 4


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), merges=st.integers(1, 40))
def test_whatever_vertices_are_merged_a_manifold_comes_out(seed: int, merges: int) -> None:
    """Vertices of a ball are merged at random, near and far ones alike: worse than any collapse does."""
    ball = trimesh.creation.icosphere(2)
    rng = np.random.default_rng(seed)
    number = np.arange(len(ball.vertices))
    for _ in range(merges):
        kept, gone = rng.choice(len(number), 2, replace=False)
        number[number == number[gone]] = number[kept]
    verts, faces = np.asarray(ball.vertices, np.float32), number[ball.faces]
    glued_verts, glued_faces = glue_sides(verts, faces)
    assert is_watertight(glued_faces)
    assert fans(glued_faces) <= 1
    assert len(np.unique(glued_faces)) == len(glued_verts)
    assert len(np.unique(np.sort(glued_faces, 1), axis=0)) == len(glued_faces)
    assert np.isclose(signed_volume(glued_verts, glued_faces), signed_volume(verts, cancel_opposite_faces(faces)), atol=1e-4)
