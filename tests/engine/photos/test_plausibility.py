"""Photos that cannot be right are told: an inverted mask, two objects, a sheet of views, holes, half-transparent objects."""

import cv2
import numpy as np
import pytest
from tetraview.engine.photos.framing import frame_views
from tetraview.engine.photos.intake import prepare_views
from tetraview.engine.photos.plausibility import check_plausibility

from .test_intake import rig_views, saved

VIEWS = rig_views()


def warnings_of(views):
    return check_plausibility(views, views, frame_views(views, 256))


def with_alpha(view, alpha):
    return np.dstack([view[..., :3], np.asarray(alpha).astype(np.uint8)])


def beside(one, other):
    return np.concatenate([one, other], 1)


def holed(view):
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=view.shape[:2]), (0, 0), 2)
    return with_alpha(view, np.where(noise < np.quantile(noise[view[..., 3] > 128], 0.2), 0, view[..., 3]))


def sheet(views):
    return np.concatenate([beside(views["front"], views["right"]), beside(views["back"], views["left"])], 0)


def painted(view, colour):
    return np.dstack([np.full((*view.shape[:2], 3), colour, np.uint8), view[..., 3]])


GREY = {name: painted(view, (120, 90, 60)) for name, view in VIEWS.items()}
CASES = {
    "inverted": ({n: with_alpha(v, 255 - v[..., 3]) for n, v in GREY.items()}, "transparency of the left photo seems"),
    "sheer": ({n: with_alpha(v, 0.6 * v[..., 3]) for n, v in GREY.items()}, "half transparent"),
    "holes": ({n: holed(v) for n, v in GREY.items()}, "full of holes"),
    "sheet": ({**GREY, "front": sheet(GREY)}, "front photo seems to hold several views"),
    "two": ({n: beside(v, v[::-1, ::-1]) if n != "right" else v for n, v in GREY.items()}, "two objects"),
    "strangers": (
        {n: painted(v, c) for (n, v), c in zip({**rig_views(size=(0.2, 0.6, 0.5)), "front": VIEWS["front"]}.items(),
                                               [(220, 20, 20), (20, 200, 30), (30, 30, 220), (230, 220, 40)], strict=True)},
        "different objects",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_each_fault_is_told(kind):
    views, sentence = CASES[kind]
    found = warnings_of(views)
    assert any(sentence in one for one in found), found


def test_good_views_pass():
    assert warnings_of(GREY) == []
    assert warnings_of({name: GREY[name] for name in ("front", "right")}) == []


def test_the_intake_hands_the_warnings_on(tmp_path):
    views, sentence = CASES["inverted"]
    assert any(sentence in one for one in prepare_views(saved(tmp_path, views), view_px=128).warnings)
