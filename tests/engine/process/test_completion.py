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
def request_of_three(any_views_model: Path, photos_dir: Path, tmp_path: Path) -> Callable[..., GenerateRequest]:
    """Makes a request with a front, a right and a back photo, on a computer without a generator."""

    def make(name: str = "job", **fields: object) -> GenerateRequest:
        photos = {name: str(photos_dir / f"{name}.jpg") for name in ("front", "right", "back")}
        own = {"photos": photos, "model": str(any_views_model), "generator": str(tmp_path / "none"), "device": "cpu"}
        return GenerateRequest(**{"output_dir": str(tmp_path / name), "poly_budget": 500, "texture_px": 256, **own, **fields})

    return make


@pytest.fixture
def run(models, history) -> Callable[..., list[object]]:
    return lambda request, stop_after=None: list(generate(request, stop_after=stop_after, models=models, history=history))


def planes_of(request: GenerateRequest) -> bytes:
    return JobFolder(Path(request.output_dir)).planes.read_bytes()


def test_the_other_sides_are_rendered_and_nothing_is_painted(run, request_of_three) -> None:
    request = request_of_three()
    events = run(request)
    assert not any(isinstance(event, Preview) for event in events)
    (views,) = (event for event in events if isinstance(event, Views))
    assert views.painted == ("left",)
    assert isinstance(events[-1], Asset) and set(events[-1].weights_sha256) == {"any/diffusion_pytorch_model.safetensors"}
    left, right = (np.asarray(Image.open(views.paths[name]))[..., 3] > 127 for name in ("left", "right"))
    assert left.shape == right.shape and (left & right[:, ::-1]).sum() > 0.5 * (left | right[:, ::-1]).sum()
    folder = JobFolder(Path(request.output_dir)).views
    assert rendered_views(folder) == {"left"}
    run(request_of_three("four", photos={**request.photos, "left": request.photos["right"]}), "planes")
    assert planes_of(request_of_three("four")) != planes_of(request)


def test_a_later_job_keeps_to_the_photos_until_a_side_is_edited(run, request_of_three) -> None:
    first = request_of_three()
    run(first, "planes")
    views = Path(first.output_dir) / "views"
    again = replace(request_of_three("again"), photos={}, views_dir=str(views))
    run(again, "planes")
    assert planes_of(again) == planes_of(first)
    assert rendered_views(JobFolder(Path(again.output_dir)).views) == {"left"}

    with Image.open(views / "left.png") as image:
        edited, text = np.array(image), image.info
    edited[200:260, 200:260, :3] = (0, 0, 250)
    from PIL.PngImagePlugin import PngInfo

    kept = PngInfo()  # as an editor that keeps a file's texts would save it
    for key, value in text.items():
        kept.add_text(key, value)
    Image.fromarray(edited).save(views / "left.png", pnginfo=kept)
    assert rendered_views(views) == frozenset()
    changed = replace(request_of_three("changed"), photos={}, views_dir=str(views))
    run(changed, "planes")
    assert planes_of(changed) != planes_of(first)


def test_a_side_is_rendered_again_when_it_is_asked_for(run, request_of_three) -> None:
    first = request_of_three()
    run(first, "views")
    views = Path(first.output_dir) / "views"
    before = {name: (views / f"{name}.png").read_bytes() for name in VIEW_NAMES}
    Image.new("RGBA", (512, 512), (0, 0, 0, 255)).save(views / "left.png")
    again = replace(request_of_three("again"), photos={}, views_dir=str(views), repaint=("left",))
    run(again, "views")
    after = {name: (Path(again.output_dir) / "views" / f"{name}.png").read_bytes() for name in VIEW_NAMES}
    assert after == before


def test_words_need_a_generator(run, request_of_three) -> None:
    with pytest.raises(WeightsError, match="generator"):
        run(request_of_three(prompt="a mug"), "views")


@pytest.mark.parametrize("given", [("front",), ("front", "right")])
def test_one_or_two_photos_are_painted_round(run, request_of_three, photos_dir: Path, given: tuple[str, ...]) -> None:
    with pytest.raises(WeightsError, match="generator"):
        run(request_of_three(photos={name: str(photos_dir / f"{name}.jpg") for name in given}), "views")
