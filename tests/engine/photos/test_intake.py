"""Framing, warnings and the whole intake, on drawn subjects."""

import cv2
import numpy as np
import pytest
from PIL import Image
from tetraview.engine.cameras import RIG_FOVY_DEG, project, rig_c2w
from tetraview.engine.errors import PhotoError
from tetraview.engine.photos.checks import check_photo, check_views
from tetraview.engine.photos.coherence import coherence
from tetraview.engine.photos.cutout import Cutout, cut_out
from tetraview.engine.photos.framing import FILL, frame_beside, frame_views, is_rig, resized, subject_box
from tetraview.engine.photos.intake import prepare_views
from tetraview.engine.types import VIEW_NAMES

from .scenes import draw, photograph, placed

CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
COLOURS = {"front": (190, 60, 50), "right": (60, 150, 70), "back": (60, 80, 190), "left": (200, 170, 40)}


def rig_views(px=256, size=(0.5, 0.35, 0.6), elevation_deg=20.0):
    """What the rig sees of a box with half-sizes `size`: exact silhouettes, one colour a view."""
    views = {}
    for name, camera in zip(VIEW_NAMES, rig_c2w(elevation_deg), strict=True):
        corners = (project(CUBE * size, camera, RIG_FOVY_DEG)[:, :2] + 1) / 2 * px * 4 - 0.5
        mask = np.zeros((px * 4, px * 4), np.uint8)
        cv2.fillConvexPoly(mask, np.round(cv2.convexHull(corners.astype(np.float32))).astype(np.int32), 255)
        alpha = cv2.resize(mask, (px, px), interpolation=cv2.INTER_AREA)
        views[name] = np.dstack([np.full((px, px, 3), COLOURS[name], np.uint8), alpha])
    return views


def hand_held(views, seed=0):
    rng = np.random.default_rng(seed)
    moved = {}
    for name, view in views.items():
        height, width = int(rng.integers(330, 400)), int(rng.integers(380, 500))
        moved[name] = placed(view, height, width, rng.uniform(0.8, 1.25), rng.uniform(-25, 25), rng.uniform(-15, 15))
    return moved


def saved(folder, images, ending="png"):
    paths = {}
    for name, image in images.items():
        paths[name] = folder / f"{name}.{ending}"
        Image.fromarray(image).save(paths[name])
    return paths


def edges(view):
    box = subject_box(view)
    return np.array([box.top, box.bottom, box.left, box.right])


def test_views_from_the_rig_pass_unchanged():
    views = rig_views()
    framed = frame_views(views, 256)
    for name in VIEW_NAMES:
        assert np.array_equal(framed[name], views[name])
    smaller = frame_views(views, 128)
    assert all(np.abs(edges(smaller[name]) - edges(views[name]) / 2).max() <= 1 for name in VIEW_NAMES)


@pytest.mark.parametrize("change", [("front", 0.75, 0, 0), ("right", 0.75, 0, 0), ("back", 1.0, 30, 0), ("left", 1.0, 0, 36)])
def test_one_wrong_view_is_not_the_rig(change):
    name, scale, dx, dy = change
    views = rig_views()
    assert is_rig(views)
    views[name] = placed(views[name], 256, 256, scale, dx, dy)
    assert not is_rig(views)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(0.5, 0.5, 0.6), (0.7, 0.3, 0.4), (0.25, 0.25, 0.8)])
def test_hand_held_photos_of_a_box_return_to_the_rig(size, seed):
    """The frame differs from the rig's by one common scale (`FILL`); edges are found to a pixel before it enlarges them."""
    truth = rig_views(size=size)
    framed = frame_views(hand_held(truth, seed), 256)
    wanted = {name: edges(view) - 128 for name, view in truth.items()}
    found = {name: edges(view) - 128 for name, view in framed.items()}
    scale = np.ptp(found["front"][:2]) / np.ptp(wanted["front"][:2])
    for name in VIEW_NAMES:
        assert np.abs(found[name] - scale * wanted[name]).max() <= 3, name


def test_equal_extents_where_all_sides_are_alike():
    framed = frame_views(hand_held({name: draw("box", 300) for name in VIEW_NAMES}, 3), 512)
    boxes = [edges(framed[name]) for name in VIEW_NAMES]
    assert np.abs(np.diff(boxes, axis=0)).max() <= 2
    assert np.abs([box[2] + box[3] - 512 for box in boxes]).max() <= 2


def test_the_subject_fills_the_disc():
    framed = frame_views(hand_held(rig_views()), 512)
    rows, columns = np.nonzero(np.max([view[..., 3] for view in framed.values()], 0) >= 128)
    assert np.hypot(rows - 255.5, columns - 255.5).max() / 256 == pytest.approx(FILL, abs=0.01)


def test_resampling_brings_no_dark_fringe():
    framed = frame_views(hand_held(rig_views()), 256)
    for name in VIEW_NAMES:
        edge = (framed[name][..., 3] > 40) & (framed[name][..., 3] < 220)
        assert edge.any() and np.abs(framed[name][edge][:, :3].astype(int) - COLOURS[name]).max() <= 8


def test_coherence_of_true_and_false_silhouettes():
    views = rig_views()
    assert min(coherence({name: view[..., 3] for name, view in views.items()}).values()) > 0.97
    views["right"] = placed(views["right"], 256, 256, 0.6, 0, 0)
    assert coherence({name: view[..., 3] for name, view in views.items()})["front"] < 0.9
    empty = {name: np.zeros((64, 64), np.uint8) for name in VIEW_NAMES}
    assert set(coherence(empty).values()) == {0.0}


def test_four_photos_become_four_views(tmp_path):
    photos = {name: photograph(view, "gradient", shadow=0.1) for name, view in hand_held(rig_views()).items()}
    steps = []
    prepared = prepare_views(saved(tmp_path, photos), view_px=256, on_progress=lambda f, m: steps.append((f, m)))
    assert set(prepared) == set(VIEW_NAMES) and prepared.warnings == ()
    for name, view in prepared.items():
        assert view.shape == (256, 256, 4) and view.dtype == np.uint8
        inside = view[view[..., 3] == 255][:, :3].astype(int)
        assert np.abs(np.median(inside, 0) - COLOURS[name]).max() <= 2
    heights = [np.ptp(edges(view)[:2]) for view in prepared.values()]
    assert max(heights) / min(heights) < 1.12
    assert [f for f, _ in steps] == sorted(f for f, _ in steps) and steps[-1][0] == 1.0
    assert [m for _, m in steps][:4] == [f"Cutting out the {name} view" for name in VIEW_NAMES]


def test_rig_renders_on_file_pass_through_the_intake(tmp_path):
    views = rig_views(512)
    prepared = prepare_views(saved(tmp_path, views))
    assert prepared.warnings == () and all(np.array_equal(prepared[name], views[name]) for name in VIEW_NAMES)


def photos_with(front, on="plain"):
    photos = {name: photograph(view, "plain") for name, view in hand_held(rig_views()).items()}
    return {**photos, "front": front}


def test_warns_of_an_object_that_is_cut_off(tmp_path):
    front = photograph(placed(rig_views()["front"], 300, 300, 1.0, 0, 95), "plain")
    warnings = prepare_views(saved(tmp_path, photos_with(front)), view_px=128).warnings
    assert any(w.startswith("The front photo cuts the object off at the bottom:") for w in warnings)


def test_a_cut_out_cropped_to_its_box_is_not_cut_off(tmp_path):
    views = {}
    for name, view in rig_views().items():
        top, bottom, left, right = edges(view).astype(int)
        views[name] = np.ascontiguousarray(view[top:bottom, left:right])
    assert not any("cuts the object off" in w for w in prepare_views(saved(tmp_path, views), view_px=128).warnings)


def test_warns_of_a_busy_background(tmp_path):
    front = photograph(placed(rig_views()["front"], 400, 400, 1.5, 0, 0), "busy")
    warnings = prepare_views(saved(tmp_path, photos_with(front)), cutout="plain", view_px=128).warnings
    assert any("background of the front photo is too busy" in w for w in warnings)


def test_a_cut_out_before_a_busy_background_is_doubted_only_if_the_network_doubts_it():
    photo = photograph(rig_views()["front"], "plain")
    for confidence, doubted in ((0.5, True), (0.95, False)):
        cut = Cutout(cut_out(photo), "starter", is_plain=not doubted, confidence=confidence)
        warnings = check_photo("front", photo, cut)
        assert any("the cut-out may be wrong: check it" in w for w in warnings) == doubted
        assert not any("too busy" in w for w in warnings)


def test_warns_of_a_tiny_object(tmp_path):
    front = photograph(placed(rig_views()["front"], 700, 900, 0.5, 0, 0), "plain")
    warnings = prepare_views(saved(tmp_path, photos_with(front)), view_px=128).warnings
    assert any("pixels large in the front photo" in w for w in warnings)


def test_warns_of_a_blurred_photo(tmp_path):
    front = cv2.GaussianBlur(photograph(placed(rig_views()["front"], 500, 500, 1.8, 0, 0), "plain"), (0, 0), 7)
    warnings = prepare_views(saved(tmp_path, photos_with(front)), view_px=128).warnings
    assert [w for w in warnings if "blurred" in w] == [
        "The front photo looks blurred: hold the camera still and focus on the object."
    ]


@pytest.mark.parametrize("kind", ["mug", "box", "vase"])
def test_a_cut_out_that_touches_its_frame_by_a_tip_is_not_cut_off(kind):
    view = draw(kind)
    rows, columns = np.nonzero(view[..., 3] >= 8)
    cropped = np.ascontiguousarray(view[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    assert not [w for w in check_photo("front", cropped, Cutout(cropped, "alpha")) if "cuts the object off" in w]


def cut_softly(rgba, feather_px, *, premultiplied=False, blurred_px=0.0):
    """A sharp subject whose alpha is feathered, as cut-out programs do; or one blurred as a whole."""
    soft = rgba.copy()
    if blurred_px:
        soft[..., :3] = cv2.GaussianBlur(soft[..., :3], (0, 0), blurred_px)
    soft[..., 3] = cv2.GaussianBlur(soft[..., 3], (0, 0), feather_px)
    if premultiplied:
        soft[..., :3] = (soft[..., :3] * (soft[..., 3:] / 255.0)).astype(np.uint8)
    return soft


@pytest.mark.parametrize("kind", ["mug", "box", "vase"])
@pytest.mark.parametrize("premultiplied", [False, True])
def test_a_soft_or_premultiplied_alpha_is_no_blur(kind, premultiplied):
    soft = cut_softly(draw(kind, 600), 8, premultiplied=premultiplied)
    assert not [w for w in check_photo("front", soft, Cutout(soft, "alpha")) if "blurred" in w]


def test_a_blurred_photo_with_transparency_is_told():
    blurred = cut_softly(draw("vase", 600, colour=(230, 225, 220)), 8, blurred_px=8)
    assert [w for w in check_photo("front", blurred, Cutout(blurred, "alpha")) if "blurred" in w]


def test_warns_of_widths_that_cannot_agree():
    views = rig_views()
    views["back"] = rig_views(size=(0.25, 0.35, 0.6))["back"]
    assert [w[:48] for w in check_views(views)] == ["The object is 2.0 times as wide in the front pho"]
    assert check_views(rig_views()) == []


def test_warns_of_outlines_that_are_no_mirror_images():
    views = rig_views()
    triangle = np.zeros((256, 256), np.uint8)
    cv2.fillConvexPoly(triangle, np.array([[80, 60], [180, 200], [80, 200]], np.int32), 255)
    views["right"][..., 3], views["left"][..., 3] = triangle, triangle[:, ::-1]
    assert check_views(views) == []
    views["left"][..., 3] = triangle[::-1]
    assert [w[:43] for w in check_views(views)] == ["The outlines of the right and left photos a"]


def test_warns_of_one_picture_used_twice(tmp_path):
    photos = {name: photograph(view, "plain") for name, view in hand_held(rig_views()).items()}
    photos["back"] = photos["front"]
    warnings = prepare_views(saved(tmp_path, photos), view_px=128).warnings
    assert [w for w in warnings if "same picture" in w] == [
        "The front and back photos are the same picture: keep it only if the object looks the same from those sides."
    ]


def test_a_photo_of_nothing_is_an_error(tmp_path):
    nothing = photograph(np.zeros((200, 200, 4), np.uint8), "noisy")
    with pytest.raises(PhotoError, match=r"No object was found in the front photo front\.png"):
        prepare_views(saved(tmp_path, photos_with(nothing)))
    clear = np.zeros((200, 200, 4), np.uint8)
    with pytest.raises(PhotoError, match=r"No object was found in the front photo front\.png"):
        prepare_views(saved(tmp_path, photos_with(clear)))


def test_no_photos_at_all_is_an_error():
    with pytest.raises(PhotoError, match="choose at least one"):
        prepare_views({})


SUBSETS = [("front",), ("left",), ("front", "back"), ("front", "right"), ("right", "left"), ("front", "right", "back")]


@pytest.mark.parametrize("given", SUBSETS)
def test_fewer_views_from_the_rig_pass_unchanged(given):
    views = rig_views(size=(0.55, 0.5, 0.65))
    framed = frame_views({name: views[name] for name in given}, 256)
    assert list(framed) == [name for name in VIEW_NAMES if name in given]
    assert all(np.array_equal(framed[name], views[name]) for name in given)


@pytest.mark.parametrize("given", SUBSETS)
@pytest.mark.parametrize("size", [(0.5, 0.5, 0.6), (0.55, 0.35, 0.7)])
def test_fewer_hand_held_photos_return_to_the_rig(size, given):
    """As with four: up to one common scale. What depth an unseen side has is a guess, which moves the middle by a little."""
    truth = rig_views(size=size)
    framed = frame_views({name: view for name, view in hand_held(truth, 1).items() if name in given}, 256)
    wanted = {name: edges(truth[name]) - 128 for name in given}
    found = {name: edges(framed[name]) - 128 for name in given}
    scale = np.ptp(found[given[0]][:2]) / np.ptp(wanted[given[0]][:2])
    for name in given:
        assert np.abs(found[name] - scale * wanted[name]).max() <= 7, name
    rows, columns = np.nonzero(np.max([view[..., 3] for view in framed.values()], 0) >= 128)
    assert np.hypot(rows - 127.5, columns - 127.5).max() / 128 == pytest.approx(FILL, abs=0.02)


@pytest.mark.parametrize("where", [(0.5, 0, 0), (1.0, 30, 0), (1.0, 0, 36)])
def test_one_view_that_lies_as_no_render_does_is_framed(where):
    view = placed(rig_views(size=(0.45, 0.4, 0.5))["front"], 256, 256, *where)
    framed = frame_views({"front": view}, 256)["front"]
    assert not np.array_equal(framed, view)
    top, bottom, left, right = edges(framed) - 128
    assert abs(left + right) <= 4 and abs(top + bottom) <= 20


def test_a_photo_beside_framed_views_is_as_large_as_the_opposite_one():
    truth = rig_views(size=(0.5, 0.3, 0.6))
    photo = hand_held(truth, 2)["left"]
    framed = frame_beside({"left": photo}, {name: truth[name] for name in ("front", "right", "back")})
    assert list(framed) == ["left"] and np.abs(edges(framed["left"]) - edges(truth["left"])).max() <= 2


def test_a_photo_beside_neighbours_alone_is_as_high_as_they_are():
    truth = rig_views(size=(0.5, 0.5, 0.6))
    photo = hand_held(truth, 2)["left"]
    framed = frame_beside({"left": photo}, {"front": truth["front"], "right": np.zeros_like(truth["right"])})["left"]
    assert framed.shape == truth["front"].shape
    assert np.abs(edges(framed) - edges(truth["left"])).max() <= 3


def test_a_lopsided_view_is_mirrored_by_the_one_behind_it():
    box = np.zeros((256, 256, 4), np.uint8)
    box[60:200, 90:200] = 255
    framed = frame_beside({"back": box[50:210, 80:210]}, {"front": box})["back"]
    assert np.abs(edges(framed) - (60, 200, 56, 166)).max() <= 1


def test_a_render_beside_its_fellows_is_left_as_it_is():
    truth = rig_views(size=(0.5, 0.3, 0.6))
    larger = resized(truth["left"], 512)
    others = {name: truth[name] for name in ("front", "right", "back")}
    assert np.array_equal(frame_beside({"left": truth["left"]}, others)["left"], truth["left"])
    assert np.abs(edges(frame_beside({"left": larger}, others)["left"]) - edges(truth["left"])).max() <= 1


def test_framing_beside_nothing_is_refused():
    view = rig_views()["front"]
    with pytest.raises(ValueError, match="show something"):
        frame_beside({"front": view}, {"back": np.zeros_like(view)})
    with pytest.raises(ValueError, match="got none"):
        frame_views({})


def test_two_photos_become_two_views(tmp_path):
    photos = {name: photograph(view, "gradient") for name, view in hand_held(rig_views()).items() if name in ("front", "right")}
    steps = []
    prepared = prepare_views(saved(tmp_path, photos), view_px=128, on_progress=lambda f, m: steps.append((f, m)))
    assert list(prepared) == ["front", "right"] and prepared.warnings == ()
    assert [m for _, m in steps][:2] == ["Cutting out the front view", "Cutting out the right view"] and steps[-1][0] == 1.0
    heights = [np.ptp(edges(view)[:2]) for view in prepared.values()]
    assert max(heights) / min(heights) < 1.12


def test_photos_beside_views_take_their_size(tmp_path):
    photos = {"left": photograph(hand_held(rig_views())["left"], "plain")}
    truth = rig_views(192)
    prepared = prepare_views(saved(tmp_path, photos), view_px=64, beside={"right": truth["right"]})
    assert prepared["left"].shape == (192, 192, 4)
    alone = prepare_views(saved(tmp_path, photos), view_px=64, beside={"right": np.zeros((192, 192, 4), np.uint8)})
    assert alone["left"].shape == (64, 64, 4)  # nothing to be seen beside it
