"""The real starter weights, once, from a prompt to the asset and back to the same asset."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tetraview.engine.job.folder import JobFolder
from tetraview.engine.job.generate import generate
from tetraview.engine.models.loading import ModelCache
from tetraview.engine.models.registry import STARTER_WEIGHTS
from tetraview.engine.retrieval.colours import NAMED_COLOURS, nearest_names
from tetraview.engine.types import VIEW_NAMES, Asset, GenerateRequest, Orbit, Preview, Views

MAX_BYTES = 60_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, models: ModelCache) -> tuple[GenerateRequest, list[object]]:
    folder = tmp_path_factory.mktemp("armchair")
    request = GenerateRequest(
        photos={}, output_dir=str(folder), prompt="a red armchair", seed=3, steps=4, poly_budget=2000, texture_px=256,
        orbit_frames=2, orbit_px=64,
    )  # fmt: skip
    return request, list(generate(request, models=models))


def test_everything_that_is_promised_comes_out(made: tuple[GenerateRequest, list[object]]) -> None:
    request, events = made
    kinds = [type(event) for event in events]
    assert [kinds.count(kind) for kind in (Preview, Views, Orbit, Asset)] == [4, 1, 1, 1]
    asset = events[-1]
    assert isinstance(asset, Asset) and 100 < asset.n_faces <= 2000
    assert {name.split("/")[0] for name in asset.weights_sha256} == {"generator", "reconstructor"}
    assert set(asset.timings) == {*request.phases, "total"}


def test_the_views_show_one_red_object_each(made: tuple[GenerateRequest, list[object]]) -> None:
    job = JobFolder(Path(made[0].output_dir))
    names = np.array(list(NAMED_COLOURS))
    for name in VIEW_NAMES:
        with Image.open(job.view(name)) as image:
            view = np.asarray(image)
        assert view.shape == (512, 512, 4)
        solid = view[..., 3] >= 128
        assert 0.05 < solid.mean() < 0.8
        assert not solid[[0, -1]].any() and not solid[:, [0, -1]].any()
        colours = names[nearest_names(view[solid][None, ::7, :3])[0]]
        assert np.isin(colours, ["red", "dark red"]).mean() > 0.3


def test_the_stored_request_gives_the_same_asset(
    made: tuple[GenerateRequest, list[object]], models: ModelCache, tmp_path: Path
) -> None:
    first = JobFolder(Path(made[0].output_dir))
    stored = GenerateRequest.from_json(first.request.read_text())
    for event in generate(dataclasses.replace(stored, output_dir=str(tmp_path)), models=models):
        last = event
    assert isinstance(last, Asset)
    again = JobFolder(tmp_path)
    for one, other in [(first.view(name), again.view(name)) for name in VIEW_NAMES] + [(first.glb, again.glb)]:
        assert one.read_bytes() == other.read_bytes()


def test_one_tile_again_leaves_the_others_bit_identical(
    made: tuple[GenerateRequest, list[object]], models: ModelCache, tmp_path: Path
) -> None:
    strip = JobFolder(Path(made[0].output_dir))
    request = dataclasses.replace(
        made[0], output_dir=str(tmp_path), views_dir=str(strip.views), repaint=("left",), seed=11, orbit_frames=0
    )
    list(generate(request, stop_after="views", models=models))
    for name in ("front", "right", "back"):
        assert JobFolder(tmp_path).view(name).read_bytes() == strip.view(name).read_bytes()
    assert JobFolder(tmp_path).view("left").read_bytes() != strip.view("left").read_bytes()


def test_the_weights_stay_within_their_budget() -> None:
    files = [path for path in STARTER_WEIGHTS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".tsv", ".md"}
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in files)
