"""The samplers against `grid_sample`, forward and backward, with zeros outside."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.kernels.reference import PLANE_AXES, bilinear_taps, sample_images, sample_triplanes

sizes = st.integers(1, 9)


@settings(max_examples=30, deadline=None)
@given(
    images=st.integers(1, 3),
    height=sizes,
    width=sizes,
    channels=st.integers(1, 5),
    points=st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_images_match_grid_sample(images: int, height: int, width: int, channels: int, points: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(images, height, width, channels, generator=generator, dtype=torch.float64, requires_grad=True)
    xy = torch.rand(points, 2, generator=generator, dtype=torch.float64) * 3 - 1.5
    index = torch.randint(0, images, (points,), generator=generator)
    ours = sample_images(features, index, xy)
    nchw = features.permute(0, 3, 1, 2)
    theirs = torch.cat(
        [
            F.grid_sample(nchw[i : i + 1], p[None, None, None], align_corners=False)[0, :, 0]
            for i, p in zip(index, xy, strict=True)
        ],
        1,
    ).T
    assert torch.allclose(ours, theirs, atol=1e-12)
    upstream = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    (ours_grad,) = torch.autograd.grad(ours, features, upstream)
    (theirs_grad,) = torch.autograd.grad(theirs, features, upstream)
    assert torch.allclose(ours_grad, theirs_grad, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 3), size=sizes, channels=st.integers(1, 4), seed=st.integers(0, 999))
def test_triplanes_are_the_sum_of_three_samples(batch: int, size: int, channels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    planes = torch.randn(batch, 3, size, size, channels, generator=generator, dtype=torch.float64)
    points = torch.rand(17, 3, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    index = torch.randint(0, batch, (17,), generator=generator)
    expected = sum(sample_images(planes[:, k], index, points[:, list(axes)]) for k, axes in enumerate(PLANE_AXES))
    assert torch.allclose(sample_triplanes(planes, index, points), expected, atol=1e-12)


def test_plane_axes_run_columns_then_rows() -> None:
    planes = torch.zeros(1, 3, 4, 4, 1)
    planes[0, 1, 3, 0] = 1.0  # plane xz: last row is z = +1, first column x = -1
    at = sample_triplanes(planes, torch.zeros(2, dtype=torch.long), torch.tensor([[-0.75, 0.0, 0.75], [0.75, 0.0, -0.75]]))
    assert at[:, 0].tolist() == [1.0, 0.0]


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"planes: expected \[B, 3, H, W, C\], got \[1, 2, 4, 4, 1\]"):
        sample_triplanes(torch.zeros(1, 2, 4, 4, 1), torch.zeros(1, dtype=torch.long), torch.zeros(1, 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38, -3e38])
def test_a_coordinate_that_is_no_number_or_far_away_reads_zeros_of_the_planes_it_concerns(bad: float) -> None:
    planes = torch.ones(1, 3, 4, 4, 2) * torch.tensor([1.0, 10.0, 100.0])[None, :, None, None, None]
    points = torch.tensor([[0.0, 0.0, 0.0], [bad, 0.0, 0.0], [0.0, bad, 0.0], [0.0, 0.0, bad], [bad, bad, 0.0]])
    at = sample_triplanes(planes, torch.zeros(5, dtype=torch.long), points)
    assert at[:, 0].tolist() == [111.0, 100.0, 10.0, 1.0, 0.0]


def test_side_by_side_samples_sum_to_the_sum() -> None:
    planes, points = torch.randn(2, 3, 5, 6, 4, dtype=torch.float64), torch.rand(30, 3, dtype=torch.float64) * 2.4 - 1.2
    index = torch.arange(30) % 2
    beside = sample_triplanes(planes, index, points, concat=True)
    assert torch.allclose(beside.unflatten(1, (3, 4)).sum(1), sample_triplanes(planes, index, points), atol=1e-12)
    only = planes * torch.tensor([0.0, 1.0, 0.0])[None, :, None, None, None]
    assert sample_triplanes(only, index, points, concat=True).unflatten(1, (3, 4)).abs().sum((0, 2)).bool().tolist() == [0, 1, 0]


def test_texels_of_an_image_of_more_than_2_24_are_told_apart() -> None:
    side, row, column = 2**15, 30001, 20003
    centre = torch.tensor([[(column + 0.5) / side * 2 - 1, (row + 0.5) / side * 2 - 1]])
    index, weight = bilinear_taps(centre, side, side)
    assert weight[0].tolist() == [1, 0, 0, 0]
    assert index[0, 0] == row * side + column
