"""Silhouettes of one solid from different distances are brought to one scale, whatever the solid is."""

import cv2
import numpy as np
import pytest
from tetraview.engine.cameras import CANONICAL_RIG, RIG_FOVY_DEG, Rig, project, rig_c2w
from tetraview.engine.photos.framing import frame_views, without_specks
from tetraview.engine.photos.tangents import align_by_tangents
from tetraview.engine.types import VIEW_NAMES

from .scenes import placed

CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
# A seat with a back at one side: no box, cylinder or ellipsoid has its silhouettes.
CHAIR = [CUBE * (0.45, 0.5, 0.12) + (0, 0, -0.2), CUBE * (0.45, 0.08, 0.5) + (0, 0.42, 0.3)]


def seen(parts, cameras, px=256):
    """Silhouettes of convex parts [N, 3] as uint8 [px, px, 4], one a camera."""
    views = {}
    for name, camera in zip(VIEW_NAMES, cameras, strict=True):
        mask = np.zeros((px * 4, px * 4), np.uint8)
        for part in parts:
            corners = (project(part, camera, RIG_FOVY_DEG)[:, :2] + 1) / 2 * px * 4 - 0.5
            cv2.fillConvexPoly(mask, np.round(cv2.convexHull(corners.astype(np.float32))).astype(np.int32), 255)
        alpha = cv2.resize(mask, (px, px), interpolation=cv2.INTER_AREA)
        views[name] = np.dstack([np.full((px, px, 3), 120, np.uint8), alpha])
    return views


def extents(view):
    rows, columns = np.nonzero(view[..., 3] >= 128)
    return np.array([np.ptp(rows) + 1, np.ptp(columns) + 1], float)


@pytest.mark.parametrize("elevation_deg", [5.0, 20.0, 30.0])
def test_photos_of_different_zoom_get_one_scale(elevation_deg):
    truth = seen(CHAIR, rig_c2w(elevation_deg))
    zooms = dict(zip(VIEW_NAMES, (1.1, 0.8, 0.95, 0.7), strict=True))
    photos = {name: placed(view, 300, 340, zooms[name], 9, -6) for name, view in truth.items()}
    framed = frame_views(photos, 256, rig=Rig(elevation_deg))
    scales = np.array([extents(framed[name]) / extents(truth[name]) for name in VIEW_NAMES])
    assert np.ptp(scales) / scales.mean() < 0.06  # boxes alone leave 0.12 and more


def test_outlines_that_touch_common_planes_already_stay():
    outlines = {
        name: np.concatenate([project(part, camera, RIG_FOVY_DEG)[:, :2] for part in CHAIR]).astype(float)
        for name, camera in zip(VIEW_NAMES, rig_c2w(), strict=True)
    }
    for move in align_by_tangents(outlines, CANONICAL_RIG).values():
        assert (move.scale, move.right, move.down) == pytest.approx((1, 0, 0), abs=2e-3)
    two = align_by_tangents({name: outlines[name] for name in ("front", "right")}, CANONICAL_RIG)
    assert all(move.scale == pytest.approx(1, abs=2e-3) for move in two.values())


def test_specks_go_and_parts_stay():
    view = seen(CHAIR, rig_c2w())["front"]
    spoiled = view.copy()
    spoiled[5:8, 5:8, 3] = 255  # a leftover of the background
    spoiled[200:216, 20:36, 3] = 255  # a part of its own
    clean = without_specks(spoiled)
    assert not clean[5:8, 5:8, 3].any() and (clean[200:216, 20:36, 3] == 255).all()
    assert np.array_equal(clean[60:190, 60:190], view[60:190, 60:190])
    assert without_specks(view) is view


@pytest.mark.parametrize(("rig", "slack"), [(Rig(0.0, 0.0), 0.03), (Rig(30.0, 0.0), 0.03), (Rig(10.0, 50.0), 0.09)])
def test_photos_of_any_lens_get_one_scale(rig, slack):
    """Three sides of a turnaround, or wide-angle photos, each cut out at another size, are framed as their rig sees them."""
    truth = {}
    for name, camera in zip(VIEW_NAMES, rig.c2w(), strict=True):
        image = np.zeros((768, 768, 4), np.uint8)
        for part in CHAIR:
            corners = (project(part, camera, rig.fovy_deg)[:, :2] + 1) / 2 * 768 - 0.5
            cv2.fillConvexPoly(image, cv2.convexHull(corners.astype(np.float32)).astype(np.int32), (180, 90, 40, 255))
        truth[name] = image
    photos = {name: cv2.resize(truth[name], (px, px), interpolation=cv2.INTER_AREA)
              for name, px in (("front", 500), ("right", 768), ("back", 610))}  # fmt: skip
    framed = frame_views(photos, 256, rig=rig)
    heights = [np.ptp(np.flatnonzero(view[..., 3].max(1) > 127)) for view in framed.values()]
    wanted = [np.ptp(np.flatnonzero(truth[name][..., 3].max(1) > 127)) / 3 for name in framed]
    ratios = np.array(heights) / np.array(wanted)
    assert ratios.max() / ratios.min() < 1 + slack  # close cameras see near parts larger, which outlines alone tell less well
