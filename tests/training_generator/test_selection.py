"""What checkpoints are chosen by: views that belong to one object score better than views that do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image
from tetraview.engine.models.registry import STARTER_MODEL
from tetraview.engine.training.generator.grid_cache import GridCache
from tetraview.engine.training.generator.samples import SampleJob, paint_sheet, sample_jobs
from tetraview.engine.training.generator.selection import Judge, load_judge, view_error
from tetraview.engine.types import VIEW_NAMES

from .conftest import PX, tiny_pipeline

PHOTOS = Path(__file__).resolve().parents[2] / "docs" / "demo" / "photos"
PICTURES = hnp.arrays(np.uint8, (8, 8, 4))


def bar(left: int, right: int, colour: tuple[int, int, int] = (200, 30, 30)) -> np.ndarray:
    view = np.zeros((16, 16, 4), np.uint8)
    view[2:14, left:right] = (*colour, 255)
    return view


@given(PICTURES, PICTURES)
def test_view_error_is_a_distance(one: np.ndarray, other: np.ndarray) -> None:
    one[:4, :, 3] = other[:4, :, 3] = 255
    assert view_error(one, one) == 0
    assert 0 <= view_error(one, other) <= 1
    assert view_error(one, other) == pytest.approx(view_error(other, one), abs=1e-6)


def test_an_empty_view_is_as_wrong_as_can_be() -> None:
    assert view_error(bar(4, 12), np.zeros((16, 16, 4), np.uint8)) == 1
    assert view_error(bar(4, 12), bar(5, 12)) < view_error(bar(4, 12), bar(9, 12)) < 1


@pytest.fixture(scope="module")
def van() -> np.ndarray:
    """Four true views of one object, uint8 [4, 128, 128, 4]."""
    views = []
    for name in VIEW_NAMES:
        with Image.open(PHOTOS / f"{name}.png") as photo:
            views.append(np.asarray(photo.convert("RGBA").resize((128, 128), Image.Resampling.LANCZOS)))
    return np.stack(views)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge(STARTER_MODEL, None, torch.device("cpu"))


def test_stage_two_prefers_views_of_one_object(judge: Judge, van: np.ndarray) -> None:
    true = judge.stage_two_error(van)
    upside_down = van.copy()
    upside_down[1] = van[1, ::-1]
    narrow = van.copy()
    narrow[0] = 0
    narrow[0, 40:90, 60:68] = (30, 200, 30, 255)
    assert true < 0.1
    assert judge.stage_two_error(upside_down) > 1.3 * true
    assert judge.stage_two_error(narrow) > 1.3 * true


def test_a_judge_without_eyes_says_so(van: np.ndarray) -> None:
    with pytest.raises(ValueError, match="reconstructor"):
        Judge().stage_two_error(van)
    with pytest.raises(ValueError, match="CLIP"):
        Judge().clip_score(van, "a van")


def test_the_sheet_has_prompts_and_known_views(grids: GridCache) -> None:
    jobs = sample_jobs(grids, 6)
    assert [job.truth is None for job in jobs] == [True, True, True, False, False, False]
    assert {job.prompt for job in jobs[3:]} == {meta["appearances"][0]["caption"] for meta in grids.meta}
    sheet = paint_sheet(tiny_pipeline(), jobs, Judge(), steps=1, guidance_scale=2.0)
    assert sheet.image.shape == (3 * PX, 8 * PX, 3)
    assert set(sheet.scores) == {"known_psnr"} and sheet.objective == -sheet.scores["known_psnr"]
    again = paint_sheet(tiny_pipeline(), jobs, Judge(), steps=1, guidance_scale=2.0)
    assert (again.image == sheet.image).all()


def test_stage_two_is_what_checkpoints_are_chosen_by(judge: Judge) -> None:
    small = Judge(judge.reconstructor, px=16, samples=8)
    sheet = paint_sheet(tiny_pipeline(), [SampleJob("a red box")], small, steps=1, guidance_scale=1.0)
    assert sheet.objective == sheet.scores["stage_two"] > 0
