from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.rendering.uv_raster import expand, overlapping_texels, rasterize_uvs, scan_triangles


def inside_by_half_planes(corners: np.ndarray, side: int) -> np.ndarray:
    """Strictly inside [side, side], by the sign of three cross products: an independent reference."""
    x, y = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    signs = []
    for k in range(3):
        a, b = corners[k], corners[(k + 1) % 3]
        signs.append((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]))
    signs = np.stack(signs)
    return (signs > 1e-9).all(0) | (signs < -1e-9).all(0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 24), min_size=6, max_size=6))
def test_a_triangle_covers_exactly_the_centres_inside_it(numbers):
    corners = np.array(numbers).reshape(1, 3, 2)
    _, row, col = scan_triangles(corners)
    covered = np.zeros((26, 26), bool)
    covered[row, col] = True
    strictly = inside_by_half_planes(corners[0], 26)
    assert covered[strictly].all()
    a, b, c = corners[0]
    doubled = abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
    extra = np.argwhere(covered & ~strictly)  # only centres on the border itself
    for r, k in extra:
        p = np.array([k + 0.5, r + 0.5])
        parts = sum(abs((q[0] - p[0]) * (s[1] - p[1]) - (q[1] - p[1]) * (s[0] - p[0])) for q, s in ((a, b), (b, c), (c, a)))
        assert abs(parts - doubled) < 1e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([16, 33, 64]))
def test_a_fan_covers_its_square_once_whatever_its_centre(seed, side):
    rng = np.random.default_rng(seed)
    centre = np.round(rng.random(2) * 16) / 16 if seed % 2 else rng.random(2)  # lattice points land on texel centres
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1], centre], np.float32)
    faces = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    texels = rasterize_uvs(uvs, faces, side)
    assert len(overlapping_texels(texels)) == 0
    assert len(np.unique(texels.flat_index)) == len(texels.row) == side * side


def test_barycentrics_give_back_the_texel_centres():
    rng = np.random.default_rng(1)
    uvs = rng.random((9, 2)).astype(np.float32)
    faces = np.arange(9).reshape(3, 3)
    texels = rasterize_uvs(uvs, faces, 200)
    at = texels.interpolate(uvs, faces)
    np.testing.assert_allclose(at[:, 0], (texels.col + 0.5) / 200, atol=2e-5)
    np.testing.assert_allclose(at[:, 1], 1 - (texels.row + 0.5) / 200, atol=2e-5)


def test_overlaps_are_found():
    uvs = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    texels = rasterize_uvs(uvs, np.array([[0, 1, 2], [0, 1, 3]]), 32)
    twice = overlapping_texels(texels)
    assert len(twice) == 2 * 256  # a quarter of the square, from both faces


def test_expand_lists_ranges():
    owner, value = expand(np.array([3, 5, 9]), np.array([5, 5, 10]))
    assert owner.tolist() == [0, 0, 2] and value.tolist() == [3, 4, 9]
