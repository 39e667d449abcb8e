"""Photos from an elevation that nobody states: found by the starter's reconstructor, and kept with the views."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from tetraview.engine.cameras import RIG_FOVY_DEG, Rig, project, rig_c2w
from tetraview.engine.errors import PhotoError
from tetraview.engine.imaging.views import FourViews
from tetraview.engine.job.elevation_score import rerender_psnr
from tetraview.engine.job.generate import generate
from tetraview.engine.job.photos_phase import found_elevation
from tetraview.engine.models.registry import STARTER_MODEL
from tetraview.engine.types import VIEW_NAMES, GenerateRequest, Views

TRUE_DEG = 7.0
CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def views_of_a_slab(elevation_deg=TRUE_DEG, px=192):
    """A flat, long slab: what is seen of its top and how its outlines fit tell the elevation."""
    views = {}
    for name, camera in zip(VIEW_NAMES, rig_c2w(elevation_deg), strict=True):
        corners = (project(CUBE * (0.85, 0.35, 0.12), camera, RIG_FOVY_DEG)[:, :2] + 1) / 2 * px * 4 - 0.5
        mask = np.zeros((px * 4, px * 4), np.uint8)
        cv2.fillConvexPoly(mask, np.round(cv2.convexHull(corners.astype(np.float32))).astype(np.int32), 255)
        alpha = cv2.resize(mask, (px, px), interpolation=cv2.INTER_AREA)
        views[name] = np.dstack([np.full((px, px, 3), (60, 90, 170), np.uint8), alpha])
    return views


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The slab photographed on grey paper."""
    folder = tmp_path_factory.mktemp("slab")
    for name, view in views_of_a_slab().items():
        share = view[..., 3:] / 255
        Image.fromarray((view[..., :3] * share + 205 * (1 - share) + 0.5).astype(np.uint8)).save(folder / f"{name}.png")
    return {name: str(folder / f"{name}.png") for name in VIEW_NAMES}


def test_views_are_explained_best_at_their_own_elevation(models):
    model = models.get(STARTER_MODEL, "cpu")
    views = views_of_a_slab()
    scores = {degrees: rerender_psnr(model, FourViews.of(views, Rig(degrees))) for degrees in (-8.0, TRUE_DEG, 22.0)}
    assert max(scores, key=scores.get) == TRUE_DEG


def test_the_elevation_is_found_stated_and_kept_for_later_jobs(photos, models, history, tmp_path):
    wanted = {"poly_budget": 500, "texture_px": 256, "device": "cpu", "find_elevation": True}

    def run(name, stop_after, **fields):
        request = GenerateRequest(output_dir=str(tmp_path / name), **{"photos": {}, **wanted, **fields})
        events = list(generate(request, stop_after=stop_after, models=models, history=history))
        return [event for event in events if isinstance(event, Views)], json.loads((tmp_path / name / "request.json").read_text())

    (views,), kept = run("first", "planes", photos=photos)
    assert kept["elevation_deg"] == pytest.approx(TRUE_DEG, abs=5)
    assert found_elevation(tmp_path / "first" / "views") == kept["elevation_deg"]
    assert any(f"{kept['elevation_deg']:.0f} degrees" in sentence for sentence in views.warnings)

    _, again = run("second", "planes", views_dir=str(tmp_path / "first" / "views"))
    assert again["elevation_deg"] == kept["elevation_deg"] == found_elevation(tmp_path / "second" / "views")
    _, stated = run("third", "planes", views_dir=str(tmp_path / "first" / "views"), find_elevation=False)
    assert stated["elevation_deg"] == 20.0
    _, stated = run("fourth", "views", photos=photos, find_elevation=False)
    assert stated["elevation_deg"] == 20.0 and found_elevation(tmp_path / "fourth" / "views") is None

    (tmp_path / "first" / "views" / "elevation.json").write_text("{}")
    with pytest.raises(PhotoError, match=r"elevation\.json cannot be read"):
        run("fifth", "planes", views_dir=str(tmp_path / "first" / "views"))
