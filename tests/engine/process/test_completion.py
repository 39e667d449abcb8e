"""Fewer photos than four, with a reconstructor that takes them: it shows the other sides itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tetraview.engine.errors import WeightsError
from tetraview.engine.job.folder import JobFolder
from tetraview.engine.job.generate import generate
from tetraview.engine.job.view_files import rendered_views
from tetraview.engine.reconstructor import Reconstructor
from tetraview.engine.types import VIEW_NAMES, Asset, GenerateRequest, Preview, Views

from .conftest import TINY


@pytest.fixture(scope="module")
def any_views_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny reconstructor that is told which views are known, dense wherever the hull is."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "any"
    model = Reconstructor(**TINY, condition_channels=16)
    with torch.no_grad():
        for head, value in ((model.decoder.sdf, 0.5), (model.decoder.density, 5.0)):
            head.weight.zero_()
            head.bias.fill_(value)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def request_of_two(any_views_model: Path, photos_dir: Path, tmp_path: Path) -> Callable[..., GenerateRequest]:
    """Makes a request with a front and a right photo, on a computer without a generator."""

    def make(name: str = "job", **fields: object) -> GenerateRequest:
        photos = {name: str(photos_dir / f"{name}.jpg") for name in ("front", "right")}
        own = {"photos": photos, "model": str(any_views_model), "generator": str(tmp_path / "none"), "device": "cpu"}
        return GenerateRequest(**{"output_dir": str(tmp_path / name), "poly_budget": 500, "texture_px": 256, **own, **fields})

    return make


@pytest.fixture
def run(models, history) -> Callable[..., list[object]]:
    return lambda request, stop_after=None: list(generate(request, stop_after=stop_after, models=models, history=history))


def planes_of(request: GenerateRequest) -> bytes:
    return JobFolder(Path(request.output_dir)).planes.read_bytes()


def test_the_other_sides_are_rendered_and_nothing_is_painted(run, request_of_two) -> None:
    request = request_of_two()
    events = run(request)
    assert not any(isinstance(event, Preview) for event in events)
    (views,) = (event for event in events if isinstance(event, Views))
    assert views.painted == ("back", "left")
    assert isinstance(events[-1], Asset) and set(events[-1].weights_sha256) == {"any/diffusion_pytorch_model.safetensors"}
    back, front = (np.asarray(Image.open(views.paths[name]))[..., 3] > 127 for name in ("back", "front"))
    assert back.shape == front.shape and (back & front[:, ::-1]).sum() > 0.5 * (back | front[:, ::-1]).sum()
    folder = JobFolder(Path(request.output_dir)).views
    assert rendered_views(folder) == {"back", "left"}
    known = run(request_of_two("three", photos={**request.photos, "back": request.photos["front"]}), "planes")
    assert known and planes_of(request_of_two("three")) != planes_of(request)


def test_a_later_job_keeps_to_the_photos_until_a_side_is_edited(run, request_of_two) -> None:
    first = request_of_two()
    run(first, "planes")
    views = Path(first.output_dir) / "views"
    again = replace(request_of_two("again"), photos={}, views_dir=str(views))
    run(again, "planes")
    assert planes_of(again) == planes_of(first)
    assert rendered_views(JobFolder(Path(again.output_dir)).views) == {"back", "left"}

    with Image.open(views / "left.png") as image:
        edited, text = np.array(image), image.info
    edited[200:260, 200:260, :3] = (0, 0, 250)
    from PIL.PngImagePlugin import PngInfo

    kept = PngInfo()  # as an editor that keeps a file's texts would save it
    for key, value in text.items():
        kept.add_text(key, value)
    Image.fromarray(edited).save(views / "left.png", pnginfo=kept)
    assert rendered_views(views) == {"back"}
    changed = replace(request_of_two("changed"), photos={}, views_dir=str(views))
    run(changed, "planes")
    assert planes_of(changed) != planes_of(first)


def test_a_side_is_rendered_again_when_it_is_asked_for(run, request_of_two) -> None:
    first = request_of_two()
    run(first, "views")
    views = Path(first.output_dir) / "views"
    before = {name: (views / f"{name}.png").read_bytes() for name in VIEW_NAMES}
    Image.new("RGBA", (512, 512), (0, 0, 0, 255)).save(views / "back.png")
    again = replace(request_of_two("again"), photos={}, views_dir=str(views), repaint=("back",))
    run(again, "views")
    after = {name: (Path(again.output_dir) / "views" / f"{name}.png").read_bytes() for name in VIEW_NAMES}
    assert after == before


def test_words_need_a_generator(run, request_of_two) -> None:
    with pytest.raises(WeightsError, match="generator"):
        run(request_of_two(prompt="a mug"), "views")


def test_a_single_photo_is_painted_round(run, request_of_two, photos_dir: Path) -> None:
    with pytest.raises(WeightsError, match="generator"):
        run(request_of_two(photos={"front": str(photos_dir / "front.jpg")}), "views")
