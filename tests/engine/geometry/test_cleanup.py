"""Measures of closed meshes, specks and cavities."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.geometry.cleanup import face_components, is_watertight, remove_specks, signed_volume
from tetraview.engine.geometry.extract import extract_mesh

from .shapes import AnalyticField, sphere, torus, union

TETRAHEDRON = (
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)


def _join(*meshes: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0] + [len(verts) for verts, _ in meshes])
    faces = [faces + start for (_, faces), start in zip(meshes, starts, strict=False)]
    return np.concatenate([verts for verts, _ in meshes]), np.concatenate(faces).astype(np.int32)


@functools.cache
def _ball(radius: float, centre: tuple[float, float, float] = (0, 0, 0), inwards: bool = False) -> tuple[np.ndarray, np.ndarray]:
    verts, faces = extract_mesh(AnalyticField(sphere()), 32)
    return verts * np.float32(radius / 0.6) + np.float32(centre), faces[:, ::-1] if inwards else faces


def test_volume_of_a_tetrahedron_and_of_its_inside_out():
    verts, faces = TETRAHEDRON
    assert signed_volume(verts, faces) == pytest.approx(1 / 6)
    assert signed_volume(verts + 7, faces[:, ::-1]) == pytest.approx(-1 / 6)


def test_watertight_and_the_ways_not_to_be():
    _, faces = TETRAHEDRON
    assert is_watertight(faces) and is_watertight(np.zeros((0, 3), np.int32))
    assert not is_watertight(faces[1:])  # a hole
    assert not is_watertight(np.vstack([faces[:3], faces[3:, ::-1]]))  # one face the wrong way round
    assert not is_watertight(np.vstack([faces, faces]))  # every edge has four faces
    assert not is_watertight(np.vstack([faces, [[0, 0, 1]]]))  # no triangle


def test_components_are_counted():
    assert face_components(_join(_ball(0.1), _ball(0.1, (1, 0, 0)), TETRAHEDRON)[1]).max() == 2


def test_specks_go_and_the_rest_stays_as_it_was():
    big, small, speck = _ball(0.5), _ball(0.2, (0.8, 0, 0)), _ball(0.05, (0, 0, 0.9))
    verts, faces = remove_specks(*_join(big, speck, small))
    expected = _join(big, small)
    assert np.array_equal(verts, expected[0]) and np.array_equal(faces, expected[1]) and faces.dtype == np.int32


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 0.5))
def test_a_part_stays_if_its_share_of_the_volume_is_enough(radius: float):
    verts, _ = remove_specks(*_join(_ball(0.5), _ball(radius, (1.5, 0, 0))), 0.01)
    share = radius**3 / (radius**3 + 0.5**3)
    if abs(share - 0.01) > 1e-4:
        assert (len(verts) > len(_ball(0.5)[0])) == (share > 0.01)


def test_the_largest_part_stays_even_if_its_share_is_small():
    balls = [_ball(0.1 + 0.001 * (k == 3), (k, 0, 0)) for k in range(6)]
    verts, _ = remove_specks(*_join(*balls), min_volume_share=0.5)
    assert np.array_equal(verts, balls[3][0])


def test_cavities_and_what_lies_in_them_go():
    outer, cavity, core = _ball(0.8), _ball(0.6, inwards=True), _ball(0.4)
    verts, faces = remove_specks(*_join(cavity, outer, core))
    assert np.array_equal(verts, outer[0]) and np.array_equal(faces, outer[1])


def test_a_part_in_the_hole_of_a_torus_stays():
    verts, faces = extract_mesh(AnalyticField(union(torus(0.6, 0.15), sphere(0.25))), 64)
    assert len(remove_specks(verts, faces)[1]) == len(faces)


def test_empty_mesh_stays_empty():
    verts, faces = remove_specks(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    assert verts.shape == (0, 3) and faces.shape == (0, 3)
