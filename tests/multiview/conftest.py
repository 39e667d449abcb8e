"""Tiny real pipelines, made once: the starter layout, the same with guidance folded in, and SDXL's inpainting layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tetraview.engine.multiview.pipeline import FourViewPipeline

from ..tiny_generators import tiny_components, tiny_sdxl_components


def made(components: dict) -> FourViewPipeline:
    pipeline = FourViewPipeline(**components)
    if pipeline.image_channels == 4:  # an untrained decoder paints next to nothing: give it contrast, and half-transparency
        last = pipeline.vae.decoder.layers[-1]
        torch.nn.init.normal_(last.weight, std=0.3)
        torch.nn.init.constant_(last.bias, 0.5)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def starter() -> FourViewPipeline:
    torch.manual_seed(0)
    return made(tiny_components())


@pytest.fixture
def distilled() -> FourViewPipeline:
    torch.manual_seed(0)
    return made(tiny_components(time_cond_proj_dim=16))


@pytest.fixture
def sdxl() -> FourViewPipeline:
    torch.manual_seed(0)
    return made(tiny_sdxl_components())


@pytest.fixture(params=["starter", "distilled", "sdxl"])
def pipeline(request: pytest.FixtureRequest) -> FourViewPipeline:
    """Each layout in turn."""
    return request.getfixturevalue(request.param)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_view(px: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (px, px, 4), np.uint8)
