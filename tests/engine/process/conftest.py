"""A tiny real model, views it can read, and an engine process to run jobs in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from tetraview.engine.client import EngineProcess
from tetraview.engine.job.history import TimingHistory
from tetraview.engine.models.loading import ModelCache
from tetraview.engine.multiview.pipeline import FourViewPipeline
from tetraview.engine.reconstructor import Reconstructor
from tetraview.engine.types import ORBIT_FRAMES_RANGE, VIEW_NAMES, GenerateRequest

from ...tiny_generators import tiny_components

TINY = {
    "input_px": 64, "patch_px": 4, "channels": (16, 24), "blocks_per_level": 1, "attention_px": 8, "head_dim": 8,
    "plane_channels": 8, "plane_px": 16, "shallow_channels": 4, "hidden": 16,
}  # fmt: skip


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> Path:
    """The real reconstructor, tiny, untrained, its SDF head started from the density head: it gives the visual hull."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    model = Reconstructor(**TINY)
    with torch.no_grad():
        model.decoder.sdf.weight.zero_()
        model.decoder.sdf.bias.fill_(0.5)  # solid wherever the hull is
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> TimingHistory:
    return TimingHistory(tmp_path_factory.mktemp("history"))


@pytest.fixture(scope="module")
def models() -> ModelCache:
    """Weights stay loaded from test to test, as in the engine process."""
    return ModelCache()


def save_tiny_generator(folder: Path, *, contrast: float = 0.1, brightness: float = 0.9) -> Path:
    """The real four-view generator, tiny, untrained: views of 16 px.

    Args:
        folder: Where it is saved.
        contrast: Spread of the decoder's last layer.
        brightness: Its mean; alpha is among what it decodes, so that 0.9 paints views that are opaque nearly everywhere, and 0
            with no contrast paints nothing at all.
    """
    torch.manual_seed(0)
    pipeline = FourViewPipeline(**tiny_components())
    last = pipeline.vae.decoder.layers[-1]
    with torch.no_grad():
        last.weight.normal_(std=contrast)
        last.bias.fill_(brightness)
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def generator_dir(tmp_path_factory) -> Path:
    return save_tiny_generator(tmp_path_factory.mktemp("weights") / "generator")


@pytest.fixture(scope="session")
def blank_generator_dir(tmp_path_factory) -> Path:
    """A generator that paints nothing."""
    return save_tiny_generator(tmp_path_factory.mktemp("weights") / "blank", contrast=0, brightness=0)


@pytest.fixture(scope="session")
def views_dir(tmp_path_factory) -> Path:
    """Four framed views of an orange ball."""
    folder = tmp_path_factory.mktemp("framed") / "views"
    folder.mkdir()
    for name in VIEW_NAMES:
        image = Image.new("RGBA", (128, 128))
        ImageDraw.Draw(image).ellipse((34, 34, 94, 94), fill=(230, 120, 30, 255))
        image.save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def photos_dir(tmp_path_factory) -> Path:
    """Four photos of a red mug on a light background."""
    folder = tmp_path_factory.mktemp("photos")
    shade = np.linspace(225, 240, 256).astype(np.uint8)
    for name in VIEW_NAMES:
        image = Image.fromarray(np.repeat(np.repeat(shade[:, None, None], 256, 1), 3, 2))
        ImageDraw.Draw(image).rounded_rectangle((80, 60, 176, 200), 20, fill=(180, 30, 30))
        image.save(folder / f"{name}.jpg", quality=95)
    return folder


@pytest.fixture
def request_from_views(model_dir, views_dir, tmp_path):
    """Makes a request that starts from the framed views, with the tiny model."""

    def make(name: str = "job", **fields) -> GenerateRequest:
        small = {"poly_budget": 500, "texture_px": 256, "device": "cpu"}
        defaults = {"photos": {}, "views_dir": str(views_dir), "model": str(model_dir), **small}
        return GenerateRequest(output_dir=str(tmp_path / name), **{**defaults, **fields})

    return make


@pytest.fixture
def lasting_request(request_from_views) -> GenerateRequest:
    """A job that is still at work, at its orbit, whenever a test gets round to stopping it."""
    return request_from_views(orbit_frames=ORBIT_FRAMES_RANGE[1], orbit_px=256)


@pytest.fixture
def request_to_paint(model_dir, generator_dir, tmp_path):
    """Makes a request that starts from a prompt, with the tiny models."""

    def make(name: str = "job", **fields) -> GenerateRequest:
        weights = {"model": str(model_dir), "generator": str(generator_dir)}
        small = {"poly_budget": 500, "texture_px": 256, "device": "cpu", "steps": 2}
        return GenerateRequest(
            **{"photos": {}, "output_dir": str(tmp_path / name), "prompt": "a chair", **weights, **small, **fields}
        )

    return make


@pytest.fixture(scope="session")
def engine_home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def warm_engine(engine_home) -> Iterator[EngineProcess]:
    """One engine process for all tests that leave it alive."""
    with EngineProcess(sys.executable, engine_home, grace_s=60) as process:
        yield process


@pytest.fixture
def own_engine(tmp_path) -> Iterator[EngineProcess]:
    """An engine process that the test may harm."""
    with EngineProcess(sys.executable, tmp_path / "home") as process:
        yield process
