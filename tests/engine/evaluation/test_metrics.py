"""PSNR and SSIM against scikit-image; Chamfer distance and F-score against shapes whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tetraview.engine.cameras import RIG_FOVY_DEG, orbit_c2w
from tetraview.engine.evaluation.metrics import compare_surfaces, normal_error_deg, sample_surface, ssim
from tetraview.engine.imaging.compare import PSNR_CAP_DB, psnr

IMAGE_PAIRS = st.tuples(st.integers(0, 2**32 - 1), st.integers(11, 40), st.integers(11, 40), st.floats(3e-3, 0.5))


def _pair(seed: int, height: int, width: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    coarse = rng.random((4, 4, 3)).repeat(10, 0).repeat(10, 1)[:height, :width]
    return np.clip(coarse + rng.normal(0, noise, coarse.shape), 0, 1).astype(np.float32), coarse.astype(np.float32)


@given(IMAGE_PAIRS)
@settings(max_examples=30, deadline=None)
def test_image_metrics_agree_with_scikit_image(sizes: tuple[int, int, int, float]) -> None:
    image, truth = _pair(*sizes)
    assert psnr(image, truth) == pytest.approx(peak_signal_noise_ratio(truth, image, data_range=1.0), abs=1e-4)
    expected = structural_similarity(
        truth, image, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(image, truth) == pytest.approx(expected, abs=1e-4)


def test_equal_images() -> None:
    image, _ = _pair(0, 20, 20, 0.1)
    assert psnr(image, image) == PSNR_CAP_DB == 60.0
    assert ssim(image, image) == pytest.approx(1.0)
    assert psnr(image, image + np.float32(1e-5)) == PSNR_CAP_DB


def test_wrong_images_are_refused() -> None:
    image = np.zeros((20, 20, 3), np.float32)
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match="shape"):
            metric(image, image[:10])
    with pytest.raises(ValueError, match="11 px"):
        ssim(image[:10], image[:10])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_samples_follow_the_area(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heights = rng.uniform(0.2, 3.0, 4)
    verts, faces = [], []
    for k, height in enumerate(heights):  # right triangles of area height / 2, each in its own plane z = k
        verts += [(0, 0, k), (1, 0, k), (0, height, k)]
        faces.append((3 * k, 3 * k + 1, 3 * k + 2))
    points = sample_surface(np.array(verts), np.array(faces), 20_000, rng)
    layer = np.round(points[:, 2]).astype(int)
    np.testing.assert_allclose(np.bincount(layer, minlength=4) / 20_000, heights / heights.sum(), atol=0.02)
    assert points.dtype == np.float32
    assert (points[:, 0] >= 0).all() and (points[:, 1] >= 0).all()
    assert (points[:, 0] + points[:, 1] / heights[layer] <= 1 + 1e-5).all()
    for k, height in enumerate(heights):
        np.testing.assert_allclose(points[layer == k][:, :2].mean(0), (1 / 3, height / 3), atol=0.03 * max(1, height))


def test_concentric_spheres_are_their_radii_apart() -> None:
    rng = np.random.default_rng(0)
    inner, outer = (trimesh.creation.icosphere(subdivisions=5, radius=radius) for radius in (0.9, 1.0))
    a, b = (sample_surface(sphere.vertices, sphere.faces, 16_384, rng) for sphere in (inner, outer))
    score = compare_surfaces(a, b, 0.02)
    # Nearest samples lie a little off the radius: sqrt(gap^2 + spacing^2), spacing about 0.5 / sqrt(density).
    assert 0.1 < score.chamfer < 0.103
    assert score.fscore == score.precision == score.recall == 0
    assert compare_surfaces(a, b, 0.11).fscore > 0.99


def test_same_surface_scores_one_and_half_of_it_scores_its_recall() -> None:
    rng = np.random.default_rng(1)
    sphere = trimesh.creation.icosphere(subdivisions=4)
    half = sphere.faces[sphere.triangles_center[:, 2] > 0]
    truth, again = (sample_surface(sphere.vertices, sphere.faces, 16_384, rng) for _ in range(2))
    assert compare_surfaces(again, truth, 0.05).fscore > 0.999
    assert compare_surfaces(again, truth, 0.05).chamfer < 0.016
    score = compare_surfaces(sample_surface(sphere.vertices, half, 16_384, rng), truth, 0.05)
    assert score.precision > 0.99
    assert score.recall == pytest.approx(0.5 + 0.05 / 2, abs=0.02)  # the half and a band of the threshold's width
    assert score.fscore == pytest.approx(2 * score.precision * score.recall / (score.precision + score.recall))
    # From the other half, the way to the rim is the chord of the angle below the equator: mean 4/3 - ... over the sphere.
    angle = np.linspace(0, np.pi / 2, 10_001)
    chord = np.trapezoid(2 * np.sin(angle / 2) * np.cos(angle), angle) / 2
    assert score.chamfer == pytest.approx(chord / 2, abs=0.012)


def test_mesh_without_area_is_refused() -> None:
    with pytest.raises(ValueError, match="area"):
        sample_surface(np.zeros((3, 3)), np.array([[0, 1, 2]]), 10, np.random.default_rng(0))


@given(st.floats(0, 40), st.booleans())
@settings(max_examples=15, deadline=None)
def test_normal_error_of_a_plate_turned_by_an_angle_is_that_angle(angle_deg: float, turned_inside_out: bool) -> None:
    verts = np.array([(-0.5, 0, -0.5), (0.5, 0, -0.5), (0.5, 0, 0.5), (-0.5, 0, 0.5)], np.float32)
    faces = np.array([(0, 1, 2), (0, 2, 3)], np.int32)
    tilt = trimesh.transformations.rotation_matrix(np.deg2rad(angle_deg), (1, 0, 0))[:3, :3]
    turned = (verts @ tilt.T).astype(np.float32)
    result = (turned, faces[:, ::-1] if turned_inside_out else faces)
    camera = orbit_c2w([10.0], 5.0)
    assert normal_error_deg(result, (verts, faces), camera, RIG_FOVY_DEG, 32) == pytest.approx(angle_deg, abs=0.1)


def test_normal_error_needs_a_pixel_that_shows_both() -> None:
    ball = trimesh.creation.icosphere(2, 0.2)
    verts, faces = np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.int32)
    camera = orbit_c2w([0.0], 0.0)
    assert normal_error_deg((verts, faces), (verts + np.float32(0.6), faces), camera, RIG_FOVY_DEG, 32) is None
    assert normal_error_deg((verts, faces), (verts, faces), camera, RIG_FOVY_DEG, 32) == pytest.approx(0, abs=0.1)
