"""The samplers against `grid_sample`, forward and backward, with zeros outside."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.kernels.reference import PLANE_AXES, sample_images, sample_triplanes

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
    with pytest.raises(ValueError, match=r"planes \[B, 3, R, R, C\]"):
        sample_triplanes(torch.zeros(1, 2, 4, 4, 1), torch.zeros(1, dtype=torch.long), torch.zeros(1, 3))
