"""sRGB against its definition, and images on white in bytes, floats and tensors alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tetraview.engine.imaging.colour import bytes_on_white, linear_to_srgb, on_white, over_white, srgb_to_linear

RGBA = hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 4), st.just(4)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_srgb_and_back(dtype: type[np.floating]) -> None:
    levels = np.linspace(0, 1, 256, dtype=dtype)
    linear = srgb_to_linear(levels)
    assert linear.dtype == dtype and linear_to_srgb(linear).dtype == dtype
    assert np.allclose(linear_to_srgb(linear), levels, atol=1e-5)
    # IEC 61966-2-1: half of the light is level 188 of 255; the curve is straight below 0.04045
    assert round(float(linear_to_srgb(np.float32(0.5))) * 255) == 188
    assert float(srgb_to_linear(np.float32(0.04))) == pytest.approx(0.04 / 12.92)
    assert linear_to_srgb(np.array([-1.0, 2.0])).tolist() == pytest.approx([0.0, 1.0])


@given(RGBA)
def test_white_shows_where_an_image_is_clear(rgba: np.ndarray) -> None:
    flat = on_white(rgba)
    share = rgba[..., 3:] / 255
    assert flat.dtype == np.float32 and flat.shape == (*rgba.shape[:-1], 3)
    assert np.allclose(flat, (rgba[..., :3] / 255) * share + 1 - share, atol=1e-6)
    assert np.allclose(on_white((rgba / 255).astype(np.float32)), flat, atol=1e-6)
    assert np.abs(bytes_on_white(rgba) - flat * 255).max() < 0.502  # rounded to the nearest step
    tensor = torch.from_numpy(rgba).movedim(-1, 0).float() / 255
    assert np.allclose(over_white(tensor[:3], tensor[3:]).movedim(0, -1).numpy(), flat, atol=1e-6)


def test_an_opaque_image_keeps_its_bytes() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    assert np.array_equal(bytes_on_white(rgba), rgba[..., :3])
