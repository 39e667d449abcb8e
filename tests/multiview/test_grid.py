"""The grid's layout, the start image, and views as images and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.errors import InvalidRequestError
from tetraview.engine.multiview.grid import cell_mask, grid_to_views, views_to_grid
from tetraview.engine.multiview.known_views import (
    check_start_views,
    check_views,
    image_to_views,
    views_to_image,
)
from tetraview.engine.multiview.start import BLOB_GREY, blob_grid
from tetraview.engine.types import VIEW_NAMES


def test_grid_is_front_right_above_back_left() -> None:
    numbers = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 3, 3)
    grid = views_to_grid(numbers)
    assert grid.shape == (1, 6, 6)
    assert (grid[0, :3, :3] == VIEW_NAMES.index("front")).all()
    assert (grid[0, :3, 3:] == VIEW_NAMES.index("right")).all()
    assert (grid[0, 3:, :3] == VIEW_NAMES.index("back")).all()
    assert (grid[0, 3:, 3:] == VIEW_NAMES.index("left")).all()


@given(
    batch=st.lists(st.integers(1, 3), max_size=2), channels=st.integers(1, 5), size=st.integers(1, 6), seed=st.integers(0, 9999)
)
@settings(max_examples=40, deadline=None)
def test_grid_and_views_are_inverses(batch: list[int], channels: int, size: int, seed: int) -> None:
    views = torch.rand(*batch, 4, channels, size, size, generator=torch.Generator().manual_seed(seed))
    grid = views_to_grid(views)
    assert grid.shape == (*batch, channels, 2 * size, 2 * size)
    assert torch.equal(grid_to_views(grid), views)
    assert torch.equal(grid[..., :size, size:], views[..., 1, :, :, :])  # not transposed inside


@pytest.mark.parametrize("shape", [(3, 1, 2, 2), (4, 1, 2, 3), (4, 2, 2)])
def test_views_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        views_to_grid(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 3, 3), (1, 4, 6), (4, 4)])
def test_grids_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        grid_to_views(torch.zeros(shape))


@given(paint=st.tuples(*[st.booleans()] * 4), half=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_mask_is_one_exactly_on_cells_to_paint(paint: tuple[bool, ...], half: int) -> None:
    mask = cell_mask(paint, 2 * half)
    assert mask.shape == (1, 2 * half, 2 * half)
    for cell, flag in zip(grid_to_views(mask), paint, strict=True):
        assert (cell == float(flag)).all()


@given(width=st.floats(0.1, 0.9))
@settings(max_examples=20, deadline=None)
def test_a_blob_is_as_wide_as_the_object_size(width: float) -> None:
    px = 512
    blobs = grid_to_views(blob_grid(px, width, channels=4))
    assert torch.equal(blobs[0], blobs[1]) and torch.equal(blobs[0], blobs[3])
    alpha = blobs[0, 3]
    middle = alpha[px // 4]
    assert float(middle.max()) == pytest.approx(1, abs=0.01)
    assert int((middle >= 0.5).sum()) == pytest.approx(width * px / 2, abs=3)
    torch.testing.assert_close(blobs[0, 0], 1 - (1 - BLOB_GREY) * alpha)  # grey on white


def test_larger_objects_get_wider_blobs_and_corners_stay_white() -> None:
    small, large = blob_grid(64, 0.3), blob_grid(64, 0.6)
    assert small.shape == (3, 64, 64)
    assert float(small.mean()) > float(large.mean())
    assert float(small[:, 0, 0].min()) > 0.99
    assert float(small[:, 32, :].min()) > 0.99  # between the cells


@pytest.mark.parametrize(("px", "width", "channels"), [(63, 0.5, 3), (64, 0.0, 3), (64, 1.1, 3), (64, 0.5, 2)])
def test_blobs_out_of_range_are_refused(px: int, width: float, channels: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        blob_grid(px, width, channels)


@given(seed=st.integers(0, 9999))
@settings(max_examples=20, deadline=None)
def test_rgba_views_survive_the_image_that_the_autoencoder_sees(seed: int) -> None:
    random = np.random.default_rng(seed)
    views = random.integers(0, 256, (4, 8, 8, 4), np.uint8)
    views[..., 3] = random.choice(np.array([0, 128, 255], np.uint8), (4, 8, 8))
    image = views_to_image(views, 4)
    assert image.shape == (1, 4, 16, 16) and float(image.abs().max()) <= 1
    back = image_to_views(image)
    opaque, clear = views[..., 3] == 255, views[..., 3] == 0
    assert np.array_equal(back[opaque], views[opaque])
    assert (back[clear] == [255, 255, 255, 0]).all()
    half = ~opaque & ~clear
    assert np.abs(back[half].astype(int) - views[half]).max() <= 6  # the margin of alpha and rounding


def test_three_channels_come_out_on_white_and_cut_out() -> None:
    views = np.zeros((4, 64, 64, 4), np.uint8)
    views[:, 16:48, 16:48] = (200, 30, 30, 255)
    image = views_to_image(views, 3)
    assert image.shape == (1, 3, 128, 128) and float(image[0, :, 0, 0].min()) == 1
    back = image_to_views(image)
    assert back.shape == (4, 64, 64, 4)
    inside = back[:, 20:44, 20:44]
    assert (inside[..., 3] == 255).all() and np.abs(inside[..., :3].astype(int) - [200, 30, 30]).max() <= 1
    assert (back[:, :10, :, 3] == 0).all()


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ({"top": np.zeros((8, 8, 4), np.uint8)}, "Unknown view 'top'"),
        ({"front": np.zeros((8, 8, 4), np.float32)}, "front view must be an RGBA image"),
        ({"front": np.zeros((8, 8, 3), np.uint8)}, "front view must be an RGBA image"),
        ({"front": np.zeros((8, 9, 4), np.uint8)}, "front view is 9 x 8 px: this model needs views of 8 x 8 px"),
        ({name: np.zeros((8, 8, 4), np.uint8) for name in VIEW_NAMES}, "All four views are given"),
    ],
)
def test_known_views_that_cannot_be_used_are_named(known: dict[str, np.ndarray], sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        check_views(known, 8)


def test_start_views_of_another_shape_are_refused() -> None:
    check_start_views(np.zeros((4, 8, 8, 4), np.uint8), 8)
    with pytest.raises(InvalidRequestError, match="four RGBA images of 8 x 8 px"):
        check_start_views(np.zeros((4, 8, 8, 3), np.uint8), 8)
