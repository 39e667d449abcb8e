"""A few boxes as training objects, their grids, and latents by the tiny real autoencoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tetraview.engine.dataset.textured_mesh import TexturedMesh
from tetraview.engine.multiview.pipeline import FourViewPipeline
from tetraview.engine.training.generator import grid_cache
from tetraview.engine.training.generator.grid_cache import GridCache, GridCacheConfig, build_grid_cache
from tetraview.engine.training.generator.latents import LatentCache, build_latents
from tetraview.engine.training.generator.selection import Judge
from tetraview.engine.training.generator.trainer import TrainingData

from ..tiny_generators import tiny_components

PX = 16


def box(name: str, size: tuple[float, float, float], colour: tuple[int, int, int], word: str) -> TexturedMesh:
    """A box of one colour, with a caption."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) * size
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = np.array([(q[0], q[k], q[k + 1]) for q in quads for k in (1, 2)], np.int32)
    meta = {
        "id": name,
        "source": "test",
        "family": name,
        "caption": f"a {word} box, low-poly style",
        "caption_short": "box",
        "category": "furniture",
        "tags": ["box"],
        "colours": [[word, 1.0]],
    }
    texture = np.full((2, 2, 3), colour, np.uint8)
    verts, uvs = corners[faces].reshape(-1, 3), np.full((36, 2), 0.5, np.float32)
    order = np.arange(36, dtype=np.int32).reshape(-1, 3)
    return TexturedMesh(name, verts, order, uvs, texture, True, meta)


BOXES = [
    box("one", (0.5, 0.3, 0.6), (204, 40, 40), "red"),
    box("two", (0.3, 0.6, 0.4), (48, 92, 204), "blue"),
    box("three", (0.4, 0.4, 0.7), (70, 168, 64), "green"),
]


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """One pack that holds the boxes."""
    monkeypatch.setattr(grid_cache, "load_objects", lambda pack, only=None: [b for b in BOXES if only is None or b.id in only])
    monkeypatch.setattr(grid_cache, "read_metas", lambda pack: [b.meta for b in BOXES])
    return [Path("any")]


@pytest.fixture(scope="session")
def grids(tmp_path_factory: pytest.TempPathFactory) -> GridCache:
    folder = tmp_path_factory.mktemp("grids")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_cache, "load_objects", lambda pack, only=None: BOXES)
        patch.setattr(grid_cache, "read_metas", lambda pack: [b.meta for b in BOXES])
        assert len(list(build_grid_cache([Path("any")], folder, GridCacheConfig(px=PX, shard=2)))) == 2
    return GridCache(folder)


def tiny_pipeline() -> FourViewPipeline:
    """The starter layout at a size for tests, always the same weights."""
    torch.manual_seed(0)
    return FourViewPipeline(**tiny_components())


@pytest.fixture(scope="session")
def data(grids: GridCache, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("latents")
    list(build_latents(tiny_pipeline().vae, grids, folder, torch.device("cpu")))
    return TrainingData(LatentCache(folder, grids), grids, Judge())
