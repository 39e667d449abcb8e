from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
import torch
from tetraview.engine.cameras import TURNAROUND_RIG, Rig, pixel_rays, rig_c2w
from tetraview.engine.rendering.embree import EmbreeMesh
from tetraview.engine.rendering.uv_raster import rasterize_uvs
from tetraview.engine.texturing.atlas import unwrap
from tetraview.engine.texturing.back_projection import BackProjector
from tetraview.engine.texturing.bake import bake_surface, sample_field
from tetraview.engine.texturing.texture import paint_texture

from .scenes import ELEVATION_DEG, AnalyticField, box, constant, four_views, joined, photo, sphere, textured_psnr, waves

MAGENTA = (1.0, 0.0, 1.0)
NOVEL = [(22.5, 0.0), (67.5, 40.0), (202.5, 20.0), (292.5, 0.0)]


@pytest.fixture(scope="module")
def ball():
    verts, faces = sphere()
    return unwrap(verts, faces, 512)


def painted_points(atlas, texture_px):
    """Points, normals and flat texel indices of the whole atlas."""
    blocks = list(bake_surface(atlas, texture_px))
    return tuple(
        np.concatenate(parts) for parts in zip(*[(b.points, b.normals, b.texels.flat_index) for b in blocks], strict=True)
    )


def test_texels_know_where_they_lie(ball):
    points, normals, flat = painted_points(ball, 512)
    assert len(np.unique(flat)) == len(flat) == len(rasterize_uvs(ball.uvs, ball.uv_faces, 512).row)
    radius = np.linalg.norm(points, axis=1)
    assert radius.min() > 0.795 and radius.max() <= 0.8 + 1e-6
    assert ((points / radius[:, None]) * normals).sum(1).min() > 0.999
    centres = np.concatenate(
        [[b.points[b.texels.face_index == f].mean(0) for f in b.texels.face_index[:1]] for b in bake_surface(ball, 512)]
    )
    faces = np.concatenate([b.texels.face_index[:1] for b in bake_surface(ball, 512)])
    assert np.abs(centres - ball.verts[ball.faces[faces]].mean(1)).max() < 0.03  # faces keep their numbers across blocks


@pytest.mark.parametrize("texture_px", [512, 1023])
def test_field_alone_is_baked_everywhere_from_one_point_of_four_texels(ball, texture_px):
    field, asked = AnalyticField(waves), []

    def counted(points):
        asked.append(len(points))
        return AnalyticField.albedo(field, points)

    field.albedo = counted
    image = paint_texture(field, ball, {}, Rig(ELEVATION_DEG), texture_px)
    points, _, flat = painted_points(ball, texture_px)
    error = np.abs(image.reshape(-1, 3)[flat] / 255 - waves(points))
    assert np.sqrt((error**2).mean()) < 1 / 255  # a step of 255, of which rounding is a third
    assert error.max() < 6 / 255  # on the charts' borders
    assert sum(asked) < 0.3 * len(points)


@pytest.mark.parametrize("shape", ["ball", "block"])
def test_four_views_give_the_surface_its_colour_back(shape, ball):
    verts, faces = (ball.verts, ball.faces) if shape == "ball" else box((1.0, 0.7, 0.9), splits=4)
    atlas = ball if shape == "ball" else unwrap(verts, faces, 512)
    image = paint_texture(AnalyticField(waves), atlas, four_views(verts, faces, waves), Rig(ELEVATION_DEG), 512)
    assert min(textured_psnr(atlas, image, waves, *camera) for camera in NOVEL) >= 30


def test_photo_detail_survives_a_field_that_knows_none(ball):
    image = paint_texture(
        AnalyticField(constant((0.5, 0.5, 0.5))), ball, four_views(ball.verts, ball.faces, waves), Rig(ELEVATION_DEG), 512
    )
    c2w = rig_c2w(ELEVATION_DEG)

    def well_seen(points):
        to_camera = c2w[:, None, :3, 3] - points
        to_camera /= np.linalg.norm(to_camera, axis=-1, keepdims=True)
        return (to_camera * points / 0.8).sum(-1).max(0) > 0.4

    assert min(textured_psnr(ball, image, waves, azimuth, 20.0, well_seen) for azimuth in (0.0, 45.0, 100.0)) >= 30


def test_what_no_view_saw_comes_from_the_field():
    verts, faces = box((1.0, 0.8, 0.6), splits=3)
    atlas = unwrap(verts, faces, 512)
    image = paint_texture(
        AnalyticField(constant(MAGENTA)), atlas, four_views(verts, faces, constant((0.1, 0.3, 0.9))), Rig(ELEVATION_DEG), 512
    )
    points, _, flat = painted_points(atlas, 512)
    colours = image.reshape(-1, 3)[flat] / 255
    underside = points[:, 2] < -0.3 + 1e-4
    assert np.abs(colours[underside] - MAGENTA).max() < 0.01
    middle = (points[:, 1] < -0.4 + 1e-4) & (np.abs(points[:, 0]) < 0.35) & (np.abs(points[:, 2]) < 0.2)
    assert np.abs(colours[middle] - (0.1, 0.3, 0.9)).max() < 0.01


def test_a_plate_in_front_of_a_ball_does_not_paint_the_ball():
    plate = box((0.7, 0.04, 0.7), (0.0, -0.75, 0.25), 3)
    verts, faces = joined(plate, sphere(0.5, 4))

    def colour(points):
        return np.where((points[:, 1:2] if points.ndim == 2 else points[..., 1:2]) < -0.7, (1.0, 0.0, 0.0), (0.0, 0.2, 0.9))

    atlas = unwrap(verts, faces, 512)
    views = four_views(verts, faces, colour)
    image = paint_texture(AnalyticField(constant((0.0, 1.0, 0.0))), atlas, views, Rig(ELEVATION_DEG), 512)
    points, _, flat = painted_points(atlas, 512)
    on_ball = points[:, 1] > -0.6
    assert image.reshape(-1, 3)[flat][on_ball, 0].max() <= 3
    hidden = on_ball & (points[:, 1] < -0.45) & (np.abs(points[:, 0]) < 0.1)
    assert hidden.sum() > 100
    # the front photo is red there: without the occlusion test it would have painted these texels
    projector = BackProjector(atlas.verts, atlas.faces, {"front": views["front"]}, Rig(ELEVATION_DEG))
    normals = points[hidden] / np.linalg.norm(points[hidden], axis=1, keepdims=True)
    assert projector.sample(points[hidden], normals, normals).confidence.max() == 0


@pytest.mark.parametrize("growth", [1.0, 1.04])
def test_white_background_does_not_bleed(growth):
    verts, faces = sphere(0.7, 4)
    views = four_views(verts, faces, constant((0.1, 0.1, 0.12)))
    atlas = unwrap(verts * growth, faces, 512)  # a mesh that sticks out of the photo a little
    image = paint_texture(AnalyticField(constant((0.1, 0.1, 0.12))), atlas, views, Rig(ELEVATION_DEG), 512)
    assert image.max() <= 34


def test_view_borders_do_not_show_when_photos_differ_in_exposure(ball):
    grey = constant((0.5, 0.5, 0.5))
    views = {}
    for name, c2w, level in zip(
        ("front", "right", "back", "left"), rig_c2w(ELEVATION_DEG), (0.52, 0.48, 0.52, 0.48), strict=True
    ):
        views[name] = photo(ball.verts, ball.faces, constant((level,) * 3), c2w)
    image = paint_texture(AnalyticField(grey), ball, views, Rig(ELEVATION_DEG), 512)
    points, _, flat = painted_points(ball, 512)
    band = np.abs(points[:, 2]) < 0.1
    values = image.reshape(-1, 3)[flat][band].mean(1) / 255
    assert np.ptp(values) < 0.025  # 0.04 before matching
    azimuth = np.arctan2(points[band, 0], -points[band, 1])
    profile = [values[np.abs(azimuth - a) < 0.04].mean() for a in np.linspace(-3, 3, 100)]
    assert np.abs(np.diff(profile)).max() < 0.006


def test_progress_rises_to_one_and_can_cancel(ball):
    shares = []
    views = four_views(ball.verts, ball.faces, waves, 128)
    paint_texture(AnalyticField(waves), ball, views, Rig(ELEVATION_DEG), 1024, shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) >= 5

    def stop(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint_texture(AnalyticField(waves), ball, views, Rig(ELEVATION_DEG), 256, stop)


@pytest.mark.parametrize("cancel", [False, True])
def test_any_number_of_threads_paints_the_same_and_stays_as_it_was(ball, cancel):
    views, before, images = four_views(ball.verts, ball.faces, waves), torch.get_num_threads(), []

    def report(share):
        if cancel and share > 0.3:
            raise KeyboardInterrupt

    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            with contextlib.suppress(KeyboardInterrupt):
                images.append(paint_texture(AnalyticField(waves), ball, views, Rig(ELEVATION_DEG), 512, report))
            assert torch.get_num_threads() == threads
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("tetraview-part")]
    finally:
        torch.set_num_threads(before)
    assert len(images) == (0 if cancel else 3)
    assert all(np.array_equal(image, images[0]) for image in images)


def test_field_sampling_is_batched_in_order():
    points = np.random.default_rng(0).uniform(-1, 1, (300_000, 3)).astype(np.float32)
    np.testing.assert_allclose(sample_field(AnalyticField(waves), points), waves(points), atol=1e-6)


@pytest.mark.parametrize(
    "views",
    [{}, {"top": np.zeros((8, 8, 4), np.uint8)}, {"front": np.zeros((8, 9, 4), np.uint8)}, {"front": np.zeros((8, 8, 4))}],
)
def test_bad_views_are_refused(views, ball):
    with pytest.raises(ValueError, match="view"):
        BackProjector(ball.verts, ball.faces, views, Rig(ELEVATION_DEG))


def test_orthographic_views_are_projected_back_along_parallel_rays():
    """Views of a turnaround, drawn without perspective, land where they belong: the texture of a box is that of its field."""
    verts, faces = box((1.0, 0.8, 0.6), splits=3)
    atlas = unwrap(verts, faces, 512)
    views = {}
    for name, c2w in zip(("front", "right", "back", "left"), TURNAROUND_RIG.c2w(), strict=True):
        origins, directions = pixel_rays(c2w, TURNAROUND_RIG.fovy_deg, 384, 384)
        hits = EmbreeMesh(verts, faces).first_hits(origins, directions)
        hit = hits.face_index >= 0
        image = np.zeros((384, 384, 4), np.uint8)
        points = origins[hit] + directions[hit] * hits.distance[hit, None]
        image[hit] = np.concatenate([waves(points) * 255, np.full((len(points), 1), 255)], 1)
        views[name] = image
    image = paint_texture(AnalyticField(constant(MAGENTA)), atlas, views, TURNAROUND_RIG, 512)
    points, normals, flat = painted_points(atlas, 512)
    side = np.abs(normals[:, 2]) < 0.5
    inner = side & ((np.abs(points) < np.abs(points).max(0) - 0.05).sum(1) >= 2)  # away from the edges
    error = np.abs(image.reshape(-1, 3)[flat][inner] / 255 - waves(points[inner])).max(1)
    assert np.median(error) < 0.02 and np.quantile(error, 0.95) < 0.1
