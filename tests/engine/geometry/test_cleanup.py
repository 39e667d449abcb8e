"""Measures of closed meshes, specks and cavities, normals and smoothing."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.geometry.cleanup import face_components, is_watertight, remove_specks, signed_volume
from tetraview.engine.geometry.extract import extract_mesh
from tetraview.engine.geometry.normals import vertex_normals
from tetraview.engine.geometry.smoothing import taubin_smooth

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


def test_normals_of_a_sphere_point_outwards_within_four_degrees():
    verts, faces = extract_mesh(AnalyticField(sphere()), 64)
    normals = vertex_normals(verts, faces)
    outwards = verts / np.linalg.norm(verts, axis=1, keepdims=True)
    assert normals.dtype == np.float32
    assert (normals * outwards).sum(1).min() > math.cos(math.radians(4))


def test_normals_of_a_cube_corner_do_not_depend_on_how_its_squares_are_split():
    cube = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    squares = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    faces = np.concatenate([squares[:, [0, 1, 2]], squares[:, [0, 2, 3]]])
    assert signed_volume(cube, faces) == pytest.approx(1)
    assert vertex_normals(cube, faces) == pytest.approx((2 * cube - 1) / math.sqrt(3), abs=1e-6)


def test_normal_of_a_loose_vertex_is_a_unit_vector():
    assert vertex_normals(np.zeros((1, 3)), np.zeros((0, 3), int)).tolist() == [[0, 0, 1]]


def test_smoothing_removes_noise_but_neither_volume_nor_place():
    verts, faces = extract_mesh(AnalyticField(sphere()), 64)
    noisy = verts + np.random.default_rng(0).normal(0, 0.003, verts.shape).astype(np.float32)
    smooth = taubin_smooth(noisy, faces, 10)
    roughness = [np.linalg.norm(v, axis=1).std() for v in (noisy, smooth)]
    assert roughness[1] < 0.5 * roughness[0]
    assert signed_volume(smooth, faces) == pytest.approx(signed_volume(noisy, faces), rel=0.005)
    assert np.array_equal(taubin_smooth(verts, faces, 0), verts)
