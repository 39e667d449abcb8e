"""The rasteriser: its kernels against their twin, and both against what must hold of any rasteriser."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tetraview.kernels import raster, reference_raster

drawn = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def on(device: torch.device, points: object, faces: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Points float64 and faces int64 on a device."""
    points = torch.as_tensor(np.asarray(points, np.float64).reshape(-1, 3), device=device)
    return points, torch.as_tensor(np.asarray(faces, np.int64).reshape(-1, 3), device=device)


def flat(xy: object) -> np.ndarray:
    """Positions in the image [V, 2] as points at depth 1."""
    xy = np.asarray(xy, np.float64)
    return np.concatenate([xy, np.ones((len(xy), 1))], 1)


def assert_same(points: torch.Tensor, faces: torch.Tensor, height: int, width: int) -> reference_raster.Raster:
    """Kernels and twin give the same bits; returns them, on the CPU."""
    ours = raster.rasterize(points, faces, height, width)
    twin = reference_raster.rasterize(points.cpu().double(), faces.cpu(), height, width)
    for mine, other, name in zip(ours, twin, twin._fields, strict=True):
        assert mine.dtype == other.dtype
        assert torch.equal(mine.cpu(), other), f"{name} differs at {(mine.cpu() != other).sum()} places"
    return twin


def ray_traced(points: np.ndarray, faces: np.ndarray, row: int, column: int) -> list[tuple[float, int, np.ndarray]]:
    """Depth, triangle and weights of all hits in front of the eye at one pixel, by solving for the point: an independent way."""
    found = []
    for index, face in enumerate(faces):
        corners = points[face].T  # columns
        if abs(np.linalg.det(corners)) < 1e-9:
            continue
        weights = np.linalg.solve(corners, [column + 0.5, row + 0.5, 1.0])  # of the point at depth 1 on the ray
        if weights.min() > 0 and weights.sum() > 0:
            found.append((1 / weights.sum(), index, weights / weights.sum()))
    return sorted(found, key=lambda hit: hit[0])


@st.composite
def scenes(draw):
    """Points around the image and before, behind and on the plane of the eye, some on a lattice; faces may be degenerate."""
    seed, n_points, n_faces = draw(st.integers(0, 10**6)), draw(st.integers(1, 12)), draw(st.integers(0, 20))
    rng = np.random.default_rng(seed)
    height, width = draw(st.integers(1, 41)), draw(st.integers(1, 41))
    xy = rng.uniform(-0.5, 1.5, (n_points, 2)) * [width, height]
    w = rng.uniform(0.5, 2, (n_points, 1))
    kind = draw(st.sampled_from(["lattice", "one depth", "in front", "anywhere", "huge"]))
    if kind == "lattice":
        xy, w = np.round(xy * 2) / 2, np.ones_like(w)
    elif kind == "one depth":
        w = np.ones_like(w)
    elif kind == "anywhere":
        w = rng.choice([-1.0, 0.0, 0.3, 1.0, 2.0], (n_points, 1)) * rng.uniform(0.9, 1.1, (n_points, 1))
    elif kind == "huge":
        xy *= 10.0 ** rng.integers(0, 9, (n_points, 1))
    points = np.concatenate([xy * w, w], 1)
    return points, rng.integers(0, n_points, (n_faces, 3)), height, width


@drawn
@given(scenes())
@example((np.zeros((0, 3)), np.zeros((0, 3), np.int64), 3, 5))
@example((flat([[-9, -9], [40, -9], [-9, 40]]), np.array([[0, 1, 2]]), 1, 1))
def test_kernels_give_the_twin_s_bits(kernel_device, scene):
    points, faces, height, width = scene
    assert_same(*on(kernel_device, points, faces), height, width)


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_the_nearest_hit_is_that_of_solving_for_the_point(scene):
    points, faces, height, width = scene
    ours = reference_raster.rasterize(*on(torch.device("cpu"), points, faces), height, width)
    rng = np.random.default_rng(0)
    for row, column in zip(rng.integers(0, height, 12), rng.integers(0, width, 12), strict=True):
        hits = ray_traced(points, faces, row, column)
        index = int(ours.face_index[row, column])
        if index < 0:
            assert all(weights.min() < 1e-6 for _, _, weights in hits)
            continue
        mine = next((hit for hit in hits if hit[1] == index), None)
        if mine is None:  # on its border, or next to degenerate
            assert ours.barycentrics[row, column].min() < 1e-4 or ours.depth[row, column] < 1e-4
            continue
        assert float(ours.depth[row, column]) == pytest.approx(mine[0], rel=1e-5)
        np.testing.assert_allclose(ours.barycentrics[row, column], mine[2], atol=1e-5)
        assert mine[0] <= hits[0][0] * (1 + 1e-6) or hits[0][2].min() < 1e-6


def test_weights_and_depth_are_those_of_space_not_of_the_image(kernel_device):
    points = np.array([[0, 0, 1], [64, 0, 1], [0, 64 * 4, 4]], np.float64)  # image (0,0), (64,0), (0,64); the last is far away
    ours = assert_same(*on(kernel_device, points, [[0, 1, 2]]), 64, 64)
    row, column = 31, 0
    share = (row + 0.5) / 64  # down the image
    depth = 1 / ((1 - share) / 1 + share / 4)
    assert float(ours.depth[row, column]) == pytest.approx(depth, rel=1e-6)
    assert float(ours.barycentrics[row, column, 2]) == pytest.approx(share * depth / 4, rel=1e-5)
    hit = ours.face_index >= 0
    torch.testing.assert_close(ours.barycentrics[hit].sum(-1), torch.ones(int(hit.sum())))
    assert ours.depth[~hit].isinf().all() and (ours.barycentrics[~hit] == 0).all() and (~hit).any()


@pytest.mark.parametrize("seed", range(6))
def test_a_lattice_on_pixel_centres_is_covered_once(kernel_device, seed):
    """Corners and edges all through pixels' centres, diagonals either way, windings at random: every pixel exactly once."""
    rng = np.random.default_rng(seed)
    n, step = 6, int(rng.integers(1, 5))
    at = np.stack(np.meshgrid(np.arange(n + 1), np.arange(n + 1)), -1).reshape(-1, 2) * step + 0.5
    faces = []
    for j in range(n):
        for i in range(n):
            a, c = j * (n + 1) + i, (j + 1) * (n + 1) + i
            b, d = a + 1, c + 1
            faces += [[a, b, c], [b, d, c]] if rng.integers(2) else [[a, b, d], [a, d, c]]
    faces = np.array(faces)
    faces = np.take_along_axis(faces, np.argsort(rng.random(faces.shape), 1), 1)
    side = n * step + 2
    together = assert_same(*on(kernel_device, flat(at), faces), side, side)
    covered = torch.zeros(side, side, dtype=torch.int64)
    for face in faces:
        covered += raster.rasterize(*on(kernel_device, flat(at), face), side, side).face_index.cpu() >= 0
    expected = torch.zeros(side, side, dtype=torch.int64)
    expected[: n * step, : n * step] = 1  # borders on the left and top are in, on the right and bottom out
    assert torch.equal(covered, expected)
    assert torch.equal((together.face_index >= 0).long(), expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([torch.float64, torch.float32]))
def test_differences_of_products_have_the_exact_sign(seed, dtype):
    """Tested with vectors that are parallel up to the last bits, where a plain difference gives zero or the wrong sign."""
    rng = np.random.default_rng(seed)
    a, b = torch.as_tensor(rng.uniform(-100, 100, (2, 200))).to(dtype)
    scale = torch.as_tensor(rng.choice([0.25, 1 / 3, 1.0, 1.1, 7.0], 200)).to(dtype)
    c, d = a * scale, b * scale
    for part in (c, d):
        nudged = torch.as_tensor(rng.random(200) < 0.5)
        part[nudged] = torch.nextafter(part[nudged], torch.zeros_like(part[nudged]))
    found = reference_raster._cross(a, b, c, d).sign().tolist()
    values = [[Fraction(value) for value in part.double().tolist()] for part in (a, b, c, d)]
    exact = [w * z - x * y for w, x, y, z in zip(*values, strict=True)]
    assert found == [(value > 0) - (value < 0) for value in exact]
    assert 0 in found and {1.0, -1.0} < set(found)
    plain = (a * d - b * c).sign().tolist()
    assert plain != found


@drawn
@given(st.integers(0, 10**6), st.sampled_from([1.0, 1e-6, 1e-12]))
def test_no_pixel_is_lost_or_taken_twice_around_a_corner(kernel_device, seed, spread):
    """A fan around a corner next to a pixel's centre, seen in perspective, tilted: together they cover what its outline does."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * math.pi, 9))
    angles = np.concatenate([angles, [0, 2, 4]])
    angles.sort()
    rim = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(4, 30) + 8.5
    centre = 8.5 + rng.uniform(-1, 1, 2) * spread
    xy = np.concatenate([rim, centre[None]])
    w = (1 + 0.02 * (xy - 8.5) @ rng.uniform(-1, 1, 2))[:, None]
    points = np.concatenate([xy * w, w], 1)
    k = np.arange(len(rim))
    faces = np.stack([k, (k + 1) % len(rim), np.full(len(rim), len(rim))], 1)
    count = torch.zeros(17, 17, dtype=torch.int64)
    for face in faces:
        count += raster.rasterize(*on(kernel_device, points, face), 17, 17).face_index.cpu() >= 0
    assert count[8, 8] == 1  # the pixel in whose midst the corner lies
    assert count.max() == 1
    together = assert_same(*on(kernel_device, points, faces), 17, 17)
    assert torch.equal(together.face_index >= 0, count > 0)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_a_closed_mesh_has_no_hole_within_its_outline(kernel_device, scale):
    """Every ray that enters a ball leaves it: each pixel is covered twice or not at all, and the disc it fills wholly."""
    ball = trimesh.creation.icosphere(subdivisions=3)
    turn = trimesh.transformations.random_rotation_matrix(np.array([0.3, 0.6, 0.9]))[:3, :3]
    verts = np.asarray(ball.vertices) @ turn.T
    w = verts[:, 2:] + 4
    side = 61
    points = np.concatenate([(verts[:, :2] * scale * 100 + side / 2 * w), w], 1)
    faces = np.asarray(ball.faces)
    together = assert_same(*on(kernel_device, points, faces), side, side)
    corners = torch.as_tensor(points)[torch.as_tensor(faces)]
    count = torch.zeros(side * side, dtype=torch.int64)
    for pairs in reference_raster._candidates(corners, side, side):
        _, row, column, _ = reference_raster._covered(corners, *pairs)
        count.index_add_(0, row * side + column, torch.ones_like(row))
    count = count.reshape(side, side)
    assert set(count.unique().tolist()) <= {0, 2}
    assert torch.equal(together.face_index >= 0, count > 0)
    if scale == 1.0:
        place = torch.arange(side) + 0.5 - side / 2
        assert (count[place[:, None] ** 2 + place**2 < (0.99 * 100 / math.sqrt(15)) ** 2] == 2).all()
        assert (count > 0).sum() > 1000
    else:
        assert count[side // 2, side // 2] == 2  # a ball much smaller than a pixel, over its centre


def test_triangles_that_cross_the_plane_of_the_eye_are_seen_where_they_are_in_front(kernel_device):
    floor = np.array([[-40, -1, -1], [40, -1, -1], [0, -1, 60]], np.float64)  # camera axes x right, y up, z forward
    side, focal = 32, 16.0
    x, y, w = floor.T
    points = np.stack([x * focal + side / 2 * w, -y * focal + side / 2 * w, w], 1)
    ours = assert_same(*on(kernel_device, points, [[0, 1, 2]]), side, side)
    below = torch.arange(side) + 0.5 - side / 2
    assert (ours.face_index[: side // 2] == -1).all()  # nothing above the horizon, where the part behind the eye projects
    for row in (18, 24, 31):
        assert (ours.face_index[row] == 0).all()
        torch.testing.assert_close(ours.depth[row], (focal / below[row]).expand(side).float(), rtol=1e-5, atol=0)
    behind = points - np.array([side / 2, side / 2, 1]) * 61  # the same, moved back along the axis
    assert (raster.rasterize(*on(kernel_device, behind, [[0, 1, 2]]), side, side).face_index == -1).all()


def test_degenerate_and_broken_triangles_cover_nothing(kernel_device):
    good = flat([[1, 1], [9, 1], [1, 9], [5, 5], [3, 3], [7, 7], [20, 1]])
    bad = [
        [math.nan, 1, 1], [1, math.nan, 1], [1, 1, math.nan], [math.inf, 1, 1], [1, -math.inf, 1], [1, 1, math.inf], [1, 1e16, 1],
    ]  # fmt: skip
    points = np.concatenate([good, bad])
    degenerate = [[0, 0, 0], [0, 1, 1], [3, 4, 5], [0, 1, 6]]
    broken = [[0, 1, len(good) + k] for k in range(len(bad))]
    assert (assert_same(*on(kernel_device, points, degenerate + broken), 12, 12).face_index == -1).all()
    mixed = assert_same(*on(kernel_device, points, [*degenerate, *broken, [0, 1, 2]]), 12, 12)
    assert set(mixed.face_index.unique().tolist()) == {-1, len(degenerate + broken)}


def test_of_triangles_at_one_depth_the_first_is_seen_and_of_others_the_nearest(kernel_device):
    square = flat([[0, 0], [20, 0], [0, 20]])
    points = np.concatenate([square * 3, square * 2, square * 2, square * 2.5])
    ours = assert_same(*on(kernel_device, points, np.arange(12).reshape(4, 3)), 9, 9)
    assert set(ours.face_index.unique().tolist()) == {1}
    assert (ours.depth == 2).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 37), (29, 1), (8, 8), (7, 9), (64, 65), (130, 3)])
def test_a_triangle_larger_than_the_image_covers_all_of_it(kernel_device, height, width):
    ours = assert_same(*on(kernel_device, flat([[-1e9, -1e9], [2e9, -1e9], [-1e9, 2e9]]), [[0, 1, 2]]), height, width)
    assert ours.face_index.shape == (height, width) and (ours.face_index == 0).all()


def test_nothing_is_read_or_written_outside_of_the_buffers(kernel_device):
    """The kernels, on views into the middle of buffers full of a pattern."""
    rng = np.random.default_rng(4)
    height, width, n_points, n_faces = 21, 19, 40, 30
    inputs = on(kernel_device, flat(rng.uniform(-5, 25, (n_points, 2))), rng.integers(0, n_points, (n_faces, 3)))
    expected = raster.rasterize(*inputs, height, width)
    kernels = raster.program("raster", raster.DEFINITIONS, kernel_device)
    guarded = []

    def within(values: torch.Tensor, fill: float | int) -> torch.Tensor:
        buffer = torch.full((values.numel() + 128,), fill, dtype=values.dtype, device=kernel_device)
        view = buffer[64:-64].view(values.shape)
        view.copy_(values)
        guarded.append((buffer, fill))
        return view

    points = within(inputs[0], math.nan)
    faces = within(inputs[1], -(10**15))  # read, it would lead far out of the points
    rectangles = within(torch.zeros(n_faces, 4, dtype=torch.int32), -77)
    tiles = within(torch.zeros(n_faces, dtype=torch.int64), -77)
    nearest = within(torch.full((height * width,), -1), -77)
    outputs = [
        within(torch.zeros(height * width, dtype=torch.int64), -77),
        within(torch.zeros(height * width, 3), 77.0),
        within(torch.zeros(height * width), 77.0),
    ]
    kernels.launch("bound_triangles", 1, 128, [points, faces, rectangles, tiles, n_faces, height, width])
    ends = within(tiles.cumsum(0), 10**15)
    n_pairs = int(ends[-1])
    for blocks in (1, 3):  # fewer threads than pairs: the loop over the rest; covering twice changes nothing
        kernels.launch("cover_tiles", blocks, 64, [points, faces, rectangles, ends, nearest, n_faces, n_pairs, width])
    kernels.launch("resolve_pixels", 7, 64, [points, faces, nearest, *outputs, height * width, width])
    for mine, other in zip(outputs, expected, strict=True):
        assert torch.equal(mine.reshape(other.shape), other)
    for buffer, fill in guarded:
        for edge in (buffer[:64], buffer[-64:]):
            assert edge.isnan().all() if fill != fill else (edge == fill).all()


def test_the_twin_holds_in_single_precision_too():
    """As on MPS: pixels next to an edge may differ, but none between two triangles is lost."""
    ball = trimesh.creation.icosphere(subdivisions=3)
    w = np.asarray(ball.vertices)[:, 2:] + 4
    points = np.concatenate([np.asarray(ball.vertices)[:, :2] * 100 + 30 * w, w], 1)
    points, faces = on(torch.device("cpu"), points, ball.faces)
    double, single = (reference_raster.rasterize(points.to(dtype), faces, 61, 61) for dtype in (torch.float64, torch.float32))
    assert (double.face_index == single.face_index).float().mean() > 0.998
    hit = (double.face_index == single.face_index) & (double.face_index >= 0)
    torch.testing.assert_close(single.depth[hit], double.depth[hit], rtol=1e-5, atol=0)
    torch.testing.assert_close(single.barycentrics[hit], double.barycentrics[hit], rtol=0, atol=2e-3)
    inner = torch.nn.functional.max_pool2d((double.face_index < 0).float()[None, None], 3, 1, 1)[0, 0] == 0
    assert (single.face_index[inner] >= 0).all() and inner.sum() > 1500


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"points": torch.zeros(4, 2)}, r"points: expected float \[V, 3\], got torch.float32 \(4, 2\)"),
        ({"points": torch.zeros(4, 3, dtype=torch.int64)}, "points: expected float"),
        ({"faces": torch.zeros(2, 3, dtype=torch.int32)}, "faces: expected int64"),
        ({"faces": torch.zeros(2, 4, dtype=torch.int64)}, r"faces: expected int64 \[F, 3\]"),
        ({"faces": torch.tensor([[0, 1, 4]])}, r"faces index 0\.\.4, but there are 4"),
        ({"faces": torch.tensor([[0, -1, 3]])}, r"faces index -1\.\.3"),
        ({"height": 0}, "0 x 5 pixels"),
        ({"width": 40_000}, "3 x 40000 pixels"),
    ],
)
def test_bad_input_is_refused(kernel_device, change, complaint):
    inputs = {"points": torch.rand(4, 3), "faces": torch.tensor([[0, 1, 2]]), "height": 3, "width": 5, **change}
    inputs = {name: value.to(kernel_device) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
    with pytest.raises(ValueError, match=complaint):
        raster.rasterize(**inputs)


def test_the_operators_are_what_torch_compile_needs(kernel_device):
    points, faces = on(kernel_device, flat([[0, 0], [9, 1], [2, 8]]), [[0, 1, 2]])
    torch.library.opcheck(raster._rasterize, (points, faces, 7, 9))


def test_without_kernels_the_front_calls_the_twin():
    assert not raster.runs_on(torch.device("cpu"))
    points, faces = on(torch.device("cpu"), flat([[0, 0], [9, 1], [2, 8]]), [[0, 1, 2]])
    for mine, other in zip(raster.rasterize(points, faces, 7, 9), reference_raster.rasterize(points, faces, 7, 9), strict=True):
        assert torch.equal(mine, other)
