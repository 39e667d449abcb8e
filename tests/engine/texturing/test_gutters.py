from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tetraview.engine.texturing.gutters import fill_gutters


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.floats(0.01, 0.9))
def test_every_texel_takes_the_colour_of_a_nearest_covered_one(seed, side, share):
    rng = np.random.default_rng(seed)
    covered = rng.random((side, side + 3)) < share
    covered[rng.integers(side), rng.integers(side)] = True
    image = rng.integers(0, 256, (*covered.shape, 3)).astype(np.uint8)
    number = np.arange(covered.size).reshape(covered.shape)  # as colours: tells where each came from
    tagged = np.stack([number // 65536, number // 256 % 256, number % 256], -1).astype(np.uint8)
    source = fill_gutters(tagged, covered).astype(np.int64) @ np.array([65536, 256, 1])
    assert covered.reshape(-1)[source].all()
    np.testing.assert_array_equal(source[covered], number[covered])
    rows, cols = np.divmod(source, covered.shape[1])
    away = np.hypot(rows - np.arange(side)[:, None], cols - np.arange(side + 3)[None])
    nearest = ndimage.distance_transform_edt(~covered)
    assert (away <= nearest * 1.1 + 1.01).all()  # the 5x5 mask's own tolerance
    np.testing.assert_array_equal(fill_gutters(image, covered)[covered], image[covered])


def test_nothing_covered_is_an_error():
    with pytest.raises(ValueError, match="no texel is covered"):
        fill_gutters(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="covered is"):
        fill_gutters(np.zeros((4, 4, 3), np.uint8), np.ones((4, 5), bool))
