"""Input views spoiled in training: each kind does what it says, alpha and shape stay, the same seed gives the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from tetraview.engine.training.augmentation import AugmentConfig, augment_views
from tetraview.engine.training.batches import BatchConfig, draw_object
from tetraview.engine.training.view_cache import ViewCache

from .test_training import cache  # noqa: F401

NONE = AugmentConfig(noise=0, blotches=0, jpeg=0, blur=0, balance=0)


@pytest.fixture
def views() -> npt.NDArray[np.uint8]:
    """A grey disc with a dark square, four times."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    view = np.full((64, 64, 4), (140, 150, 160, 0), np.uint8)
    view[x**2 + y**2 < 0.7, 3] = 255
    view[20:40, 20:40, :3] = 60
    return np.stack([view] * 4)


@pytest.mark.parametrize("kind", ["noise", "blotches", "jpeg", "blur", "balance"])
def test_each_kind_changes_colours_only(views: npt.NDArray[np.uint8], kind: str) -> None:
    config = replace(NONE, **{kind: 1.0})
    spoiled = augment_views(views, np.random.default_rng(0), config)
    assert spoiled.shape == views.shape and spoiled.dtype == np.uint8
    assert (spoiled[..., 3] == views[..., 3]).all()
    error = np.abs(spoiled[..., :3].astype(int) - views[..., :3])
    assert 0 < error.mean() < 30
    assert (spoiled == augment_views(views, np.random.default_rng(0), config)).all()
    assert (augment_views(views, np.random.default_rng(0), NONE) == views).all()


def test_balance_is_one_gain_a_channel_and_views_differ(views: npt.NDArray[np.uint8]) -> None:
    spoiled = augment_views(views, np.random.default_rng(1), replace(NONE, balance=1.0)).astype(float)
    gains = spoiled[..., :3] / views[..., :3]
    assert np.ptp(gains, axis=(1, 2)).max() < 0.02  # rounding of dark pixels
    assert np.ptp(gains.mean((1, 2)), axis=0).min() > 0.01


def test_mottle_is_constant_within_patches_or_smooth(views: npt.NDArray[np.uint8]) -> None:
    for seed in range(4):
        offset = augment_views(views, np.random.default_rng(seed), replace(NONE, blotches=1.0)).astype(int) - views
        steps = np.abs(np.diff(offset[..., :3], axis=2))
        inside = np.delete(steps, np.arange(7, 63, 8), axis=2)
        assert inside.max() <= 18 and np.abs(offset[..., :3]).max() > 5


def test_spoiled_batches_keep_targets_and_silhouettes(cache: ViewCache) -> None:  # noqa: F811
    settings = {"rays": 64, "jittered": 0.0, "recolour": 0.0, "mirror": 0.0, "turn": 0.0}
    clean, spoiled = (
        draw_object(cache[0], BatchConfig(**settings, spoiled=share), 32, np.random.default_rng(3)) for share in (0.0, 1.0)
    )
    assert np.abs(clean.raw[..., :3] - spoiled.raw[..., :3]).max() > 0.01
    assert (clean.raw[..., 3:] == spoiled.raw[..., 3:]).all()
    assert all((a == b).all() for a, b in zip(clean.rays, spoiled.rays, strict=True))
