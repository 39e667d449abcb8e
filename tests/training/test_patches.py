"""Rays in squares of neighbours, and the losses that compare neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tetraview.engine.reconstructor import Reconstructor
from tetraview.engine.training.batches import BatchConfig, in_patches
from tetraview.engine.training.loop import TrainingLoop
from tetraview.engine.training.losses import LossConfig, patch_losses
from tetraview.engine.training.reconstructor import ReconstructorTask, TrainConfig
from tetraview.engine.training.view_cache import ViewCache

from .test_training import TINY, cache  # noqa: F401


@given(
    px=st.integers(4, 40),
    patch=st.integers(2, 4),
    images=st.integers(1, 3),
    count=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
def test_patches_are_whole_squares_within_one_image(px: int, patch: int, images: int, count: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, images * px * px, count)
    squares = in_patches(pixels, patch, px).reshape(-1, patch, patch)
    assert len(squares) == count // patch**2
    view, row, column = squares // (px * px), squares // px % px, squares % px
    assert (view == view[:, :1, :1]).all()
    assert (row == row[:, :1, :1] + np.arange(patch)[:, None]).all()
    assert (column == column[:, :1, :1] + np.arange(patch)).all()
    assert ((squares[..., None] == pixels).any((1, 2, 3))).all()  # each is around a pixel that was drawn


def test_only_what_neighbours_say_counts() -> None:
    truth = torch.rand(4 * 64, 3, generator=torch.Generator().manual_seed(0))
    same = patch_losses(truth, truth, 8)
    brighter = patch_losses(truth * 0.5 + 0.5 * truth.mean() + 0.05, truth, 8)
    gradient, dissimilarity = patch_losses(truth + 0.1, truth, 8)
    assert float(same[0]) == 0 and float(same[1]) == pytest.approx(0, abs=1e-5)
    assert float(gradient) == pytest.approx(0, abs=1e-6)  # an offset changes no difference between neighbours
    assert 0 < float(dissimilarity) < 0.05
    flat = patch_losses(torch.full_like(truth, 0.5), truth, 8)
    assert float(flat[0]) > float(brighter[0]) > 0 and float(flat[1]) > 0.9


def test_the_terms_count_by_their_weights(cache: ViewCache, tmp_path: Path) -> None:  # noqa: F811
    totals, terms = [], {}
    for weights in ({"gradient": 0.0, "ssim": 0.0}, {"gradient": 3.0, "ssim": 5.0}):
        torch.manual_seed(0)
        batch = BatchConfig(objects=2, rays=64, patch=4)
        config = TrainConfig(minutes=10, bf16=False, batch=batch, loss=LossConfig(samples=24, **weights))
        terms = TrainingLoop(ReconstructorTask(Reconstructor(**TINY), config, cache, None, torch.device("cpu")), tmp_path).step()
        totals.append(terms["loss"])
    assert min(terms["gradient"], terms["ssim"]) > 0
    assert totals[1] - totals[0] == pytest.approx(3 * terms["gradient"] + 5 * terms["ssim"], rel=1e-3)


def test_patch_losses_refuse_single_rays(cache: ViewCache, tmp_path: Path) -> None:  # noqa: F811
    config = TrainConfig(minutes=10, bf16=False, batch=BatchConfig(objects=1, rays=16, patch=1), loss=LossConfig(ssim=1.0))
    task = ReconstructorTask(Reconstructor(**TINY), config, cache, None, torch.device("cpu"))
    with pytest.raises(ValueError, match="patch: expected at least 2"):
        TrainingLoop(task, tmp_path).step()
