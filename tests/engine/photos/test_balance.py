"""White balance and exposure of four photos of one object, told by what lies around it."""

import cv2
import numpy as np
import pytest
from tetraview.engine.imaging.colour import linear_to_srgb, srgb_to_linear
from tetraview.engine.photos.balance import balance_photos, white_balance_gains
from tetraview.engine.types import VIEW_NAMES

from .scenes import draw

TUNGSTEN, SHADE = np.array([1.45, 0.95, 0.4]), np.array([0.85, 1.0, 1.25])
GREY = (150, 150, 150)


def photo_of(subject, wall, gains=(1, 1, 1), seed=0):
    """The subject before a wall of one colour in some light: uint8 [H, W, 4], with a little noise."""
    alpha = subject[..., 3:].astype(np.float32) / 255
    scene = subject[..., :3] / 255 * alpha + np.array(wall) / 255 * (1 - alpha)
    rgb = linear_to_srgb(srgb_to_linear(scene.astype(np.float32)) * np.array(gains)) * 255
    rgb = rgb + np.random.default_rng(seed).normal(0, 1, rgb.shape)
    return np.dstack([rgb.clip(0, 255).astype(np.uint8), np.full(alpha.shape[:2], 255, np.uint8)])


def photos_and_cutouts(walls, gains, kinds=("mug", "vase", "mug", "vase"), colour=(40, 130, 125)):
    subjects = [draw(kind, 240, colour) for kind in kinds]
    photos = {n: photo_of(s, w, g, i) for i, (n, s, w, g) in enumerate(zip(VIEW_NAMES, subjects, walls, gains, strict=True))}
    return photos, {n: np.dstack([photos[n][..., :3], s[..., 3]]) for n, s in zip(VIEW_NAMES, subjects, strict=True)}


def middle_colour(cutout):
    """Median colour of the inside."""
    inside = cv2.erode((cutout[..., 3] > 250).astype(np.uint8), np.ones((9, 9))) > 0
    return np.median(cutout[inside][:, :3], axis=0)


ONES = [(1, 1, 1)] * 4


def test_photos_in_good_light_stay_as_they_are():
    photos, cutouts = photos_and_cutouts([GREY] * 4, ONES)
    assert white_balance_gains(photos, cutouts) is None
    assert all(result is cutouts[name] for name, result in balance_photos(photos, cutouts).items())


@pytest.mark.parametrize("gains", [[TUNGSTEN] * 4, [TUNGSTEN, SHADE, (1, 1, 1), TUNGSTEN]], ids=["one lamp", "different lamps"])
def test_the_lamps_tint_is_taken_out(gains):
    _, wanted = photos_and_cutouts([GREY] * 4, ONES)
    photos, cutouts = photos_and_cutouts([GREY] * 4, gains)
    for name, result in balance_photos(photos, cutouts).items():
        assert np.abs(middle_colour(result) - middle_colour(wanted[name])).max() <= 5, name
        assert np.array_equal(result[..., 3], cutouts[name][..., 3])
    assert np.abs(middle_colour(cutouts["front"]) - middle_colour(wanted["front"])).max() > 20


def test_the_paper_is_as_light_after_as_before():
    luminance = np.array([0.2126, 0.7152, 0.0722])
    photos, cutouts = photos_and_cutouts([GREY] * 4, [TUNGSTEN] * 4)
    paper = srgb_to_linear(photos["front"][:20, :20, :3].reshape(-1, 3).astype(np.float32) / 255).mean(0)
    found = paper * white_balance_gains(photos, cutouts)["front"]
    assert found @ luminance == pytest.approx(paper @ luminance, rel=0.03)
    assert np.ptp(found) < 0.03 * found.mean() < np.ptp(paper)


@pytest.mark.parametrize("wall", [(60, 150, 70), (170, 60, 150), (205, 195, 178)], ids=["green", "purple", "beige"])
def test_a_wall_with_a_colour_of_its_own_is_no_lamp(wall):
    photos, cutouts = photos_and_cutouts([wall] * 4, ONES)
    assert white_balance_gains(photos, cutouts) is None


def test_rooms_of_different_colours_are_not_made_one():
    photos, cutouts = photos_and_cutouts([(190, 70, 60), (70, 170, 80), (80, 90, 190), (120, 120, 120)], ONES)
    assert white_balance_gains(photos, cutouts) is None


def test_a_coloured_wall_in_different_lamps_is_brought_to_one_light():
    photos, cutouts = photos_and_cutouts([(60, 150, 70)] * 4, [TUNGSTEN, SHADE, SHADE, TUNGSTEN])
    colours = [middle_colour(result) for result in balance_photos(photos, cutouts).values()]
    before = [middle_colour(cutout) for cutout in cutouts.values()]
    assert np.ptp(colours, axis=0).max() <= 8 < 40 < np.ptp(before, axis=0).max()


def test_a_grey_object_before_an_orange_wall_stays_grey():
    photos, cutouts = photos_and_cutouts([(190, 140, 80)] * 4, ONES, kinds=("vase",) * 4, colour=(128, 128, 128))
    assert white_balance_gains(photos, cutouts) is None


def test_a_dark_photo_is_brought_to_the_others():
    _, wanted = photos_and_cutouts([GREY] * 4, ONES)
    photos, cutouts = photos_and_cutouts([GREY] * 4, [(1, 1, 1), (0.5, 0.5, 0.5), (1, 1, 1), (1, 1, 1)])
    result = balance_photos(photos, cutouts)
    assert np.abs(middle_colour(result["right"]) - middle_colour(wanted["right"])).max() <= 4
    assert np.array_equal(result["front"], cutouts["front"])


def test_renders_with_a_transparent_ground_are_left_alone():
    _, cutouts = photos_and_cutouts([GREY] * 4, [TUNGSTEN] * 4)
    assert white_balance_gains(cutouts, cutouts) is None
