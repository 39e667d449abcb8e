"""What the view cache holds: even cameras, exact depth, true surface points, and textures that hang on the object."""

from __future__ import annotations

import numpy as np
import pytest
from tetraview.engine.cameras import RIG_DISTANCE, Rig, pixel_rays
from tetraview.engine.dataset.render import render_views
from tetraview.engine.dataset.solid_texture import SolidTexture
from tetraview.engine.dataset.surface_samples import surface_samples
from tetraview.engine.rendering.embree import EmbreeMesh
from tetraview.engine.training.view_cache import CacheConfig, even_cameras, render_object

from .test_training import box

HALF = np.array((0.5, 0.3, 0.6), np.float32)


def test_target_cameras_cover_the_sphere_evenly() -> None:
    c2w = even_cameras(12, np.random.default_rng(0))
    places = c2w[:, :3, 3] / RIG_DISTANCE
    assert np.allclose(np.linalg.norm(places, axis=1), 1, atol=1e-5)
    nearest = np.sort(np.arccos(np.clip(places @ places.T, -1, 1)), axis=1)[:, 1]
    assert np.rad2deg(nearest).min() > 35  # twelve points cannot all be farther apart than 63
    directions = np.random.default_rng(1).normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.rad2deg(np.arccos((directions @ places.T).max(1))).max() < 60


@pytest.mark.parametrize("rig", [Rig(20.0, 30.0), Rig(0.0, 0.0), Rig(40.0, 50.0), Rig(-10.0, 10.0)])
def test_views_of_any_lens_show_what_their_rays_meet(rig: Rig) -> None:
    mesh = box("red", (0.5, 0.3, 0.6), (200, 30, 30))
    views = render_views(mesh, rig.c2w(), rig.fovy_deg, 48, supersample=1)
    for view, c2w in enumerate(rig.c2w()):
        hits = EmbreeMesh(mesh.verts, mesh.faces).first_hits(*pixel_rays(c2w, rig.fovy_deg, 48, 48))
        assert np.array_equal(views.rgba[view, ..., 3] > 0, hits.face_index >= 0)
        assert np.allclose(views.depth[view], hits.distance, atol=1e-4)
    assert (views.rgba[..., 3] > 0).any()


def test_depth_is_kept_to_a_thousandth() -> None:
    mesh = box("red", (0.5, 0.3, 0.6), (200, 30, 30))
    drawn = render_object(mesh, CacheConfig(px=32, targets=4, surface_points=64), np.random.default_rng(0))
    exact = render_views(mesh, drawn["c2w"], 30.0, 32).depth
    hit = np.isfinite(exact)
    assert np.array_equal(np.isfinite(drawn["depth"]), hit)
    assert np.abs(drawn["depth"][hit].astype(np.float64) + RIG_DISTANCE - exact[hit]).max() < 1e-3


def test_surface_samples_lie_on_the_box_and_know_its_thickness() -> None:
    mesh = box("red", tuple(HALF), (200, 30, 30))
    samples = surface_samples(EmbreeMesh(mesh.verts, mesh.faces), mesh.verts, mesh.faces, 400, np.random.default_rng(0))
    place, normal, outward, inward = samples[:, :3], samples[:, 3:6], samples[:, 6], samples[:, 7]
    axis = np.abs(normal).argmax(1)
    rows = np.arange(len(samples))
    assert len(samples) == 400 and len(np.unique(axis)) == 3
    assert np.allclose(np.abs(place[rows, axis]), HALF[axis], atol=1e-4)
    assert np.allclose(np.sign(place[rows, axis]), normal[rows, axis], atol=1e-4)  # outward, whatever the winding
    assert (outward == 2.0).all() and np.allclose(inward, 2 * HALF[axis], atol=1e-3)


def test_a_solid_texture_is_the_same_from_every_side() -> None:
    """A point's colour does not depend on the camera, and the texture changes the object's flat colour."""
    paint = SolidTexture.random(np.random.default_rng(3))
    points = np.random.default_rng(0).uniform(-1, 1, (300, 3)).astype(np.float32)
    plain = np.full((300, 3), 128, np.float32)
    colour = paint(points, plain)
    order = np.random.default_rng(1).permutation(300)
    assert np.allclose(paint(points[order], plain), colour[order], atol=1e-3)
    assert colour.std(0).max() > 3 and colour.min() >= 0 and colour.max() <= 255
    config, mesh = CacheConfig(px=32, targets=2, surface_points=32), box("red", tuple(HALF), (200, 30, 30))
    flat, textured = (render_object(mesh, config, np.random.default_rng(0), painted) for painted in (False, True))
    colours = [len(np.unique(drawn["inputs"][0].reshape(-1, 4), axis=0)) for drawn in (flat, textured)]
    assert colours[0] < colours[1]
