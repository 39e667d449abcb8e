"""Latents as the pipeline makes them, and batches of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.multiview.grid import grid_to_views, views_to_grid
from tetraview.engine.multiview.known_views import views_to_image
from tetraview.engine.training.generator.batches import BatchConfig, draw_batch, draw_known, kind_probabilities, object_weights
from tetraview.engine.training.generator.grid_cache import GridCache
from tetraview.engine.training.generator.latents import LatentCache, build_latents
from tetraview.engine.training.generator.pixels import to_pixels
from tetraview.engine.training.generator.trainer import TrainingData

from .conftest import tiny_pipeline


@pytest.mark.parametrize("channels", [3, 4])
def test_pixels_are_what_the_pipeline_reads(grids: GridCache, channels: int) -> None:
    views = grids.views(0, 1)
    assert torch.equal(views_to_grid(to_pixels(views, channels))[None], views_to_image(views, channels))


def test_latents_are_the_pipeline_s(data: TrainingData) -> None:
    pipeline, grids = tiny_pipeline(), data.latents.grids
    for mirrored in (False, True):
        views = grids.views(1, 2)
        if mirrored:
            views = np.ascontiguousarray(views[[0, 3, 2, 1], :, ::-1])
        with torch.no_grad():
            expected = grid_to_views(pipeline.encode_image(views_to_image(views, 4)))[0]
        assert np.allclose(data.latents.cells(1, 2, mirrored), expected.numpy(), atol=2e-3)


def test_latents_are_kept_until_the_weights_change(grids: GridCache, tmp_path: Path) -> None:
    pipeline, cpu = tiny_pipeline(), torch.device("cpu")
    first = next(build_latents(pipeline.vae, grids, tmp_path, cpu))
    assert len(list(build_latents(pipeline.vae, grids, tmp_path, cpu))) == 1 and first.exists()
    assert list(build_latents(pipeline.vae, grids, tmp_path, cpu)) == []
    before = LatentCache(tmp_path, grids).cells(0, 0, False).copy()
    with torch.no_grad():
        next(pipeline.vae.encoder.parameters()).mul_(2)
    assert len(list(build_latents(pipeline.vae, grids, tmp_path, cpu))) == 2
    assert not np.array_equal(before, LatentCache(tmp_path, grids).cells(0, 0, False))


def test_masked_latents_hold_only_what_is_known(data: TrainingData) -> None:
    config = BatchConfig(size=64, known=0.5, turn=0.5)
    weights, kinds = object_weights(data.latents, config), kind_probabilities(data.latents, config)
    batch = draw_batch(data.latents, config, weights, kinds, np.random.default_rng(0))
    assert batch.latents.shape == (64, 4, 8, 8) and batch.mask.shape == (64, 1, 8, 8) and len(batch.prompts) == 64
    cells = grid_to_views(batch.mask)  # [64, 4, 1, 4, 4]
    assert torch.equal(cells.amin((2, 3, 4)), cells.amax((2, 3, 4)))
    painted = cells.amin((2, 3, 4)).sum(1)
    assert 0.3 < (painted == 4).float().mean() < 0.7 and painted.min() >= 1
    assert torch.equal(batch.masked_latents, torch.where(batch.mask > 0, 0, batch.latents))
    again = draw_batch(data.latents, config, weights, kinds, np.random.default_rng(0))
    assert torch.equal(batch.latents, again.latents) and batch.prompts == again.prompts


def test_turned_objects_show_their_own_views(data: TrainingData) -> None:
    """A quarter turn is a roll of the views: every drawn grid is one of the four rolls of a cached one."""
    config = BatchConfig(size=20, turn=1.0, mirror=0.0)
    batch = draw_batch(data.latents, config, np.array([1.0, 0, 0]), np.array([1.0, 0, 0, 0]), np.random.default_rng(1))
    cells = torch.from_numpy(data.latents.cells(0, 0, False)).float()
    rolls = [views_to_grid(cells.roll(-k, 0)) for k in (1, 2, 3)]
    counts = [sum(bool(torch.equal(grid, roll)) for grid in batch.latents) for roll in rolls]
    assert sum(counts) == 20 and min(counts) > 0


@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_at_least_one_view_is_always_painted(share: float, seed: int) -> None:
    known = draw_known(share, np.random.default_rng(seed))
    assert len(known) == 4 and sum(known) <= 3
    assert sum(draw_known(1.0, np.random.default_rng(seed))) >= 1 and sum(draw_known(0.0, np.random.default_rng(seed))) == 0


def test_large_families_count_less(data: TrainingData) -> None:
    metas = data.latents.grids.meta
    kept = [meta["family"] for meta in metas]
    try:
        for meta in metas[:2]:
            meta["family"] = "twins"
        weights = object_weights(data.latents, BatchConfig(family_power=1.0))
    finally:
        for meta, family in zip(metas, kept, strict=True):
            meta["family"] = family
    assert weights == pytest.approx([0.25, 0.25, 0.5])
