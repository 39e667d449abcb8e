"""One photo made into four views by geometry and an example, and which example that is."""

from __future__ import annotations

import numpy as np
import pytest
from tetraview.engine.retrieval.outline_similarity import choose, outline_distances, thumbnail
from tetraview.engine.retrieval.unseen_views import behind, fit, recolour, turn_round_object, unseen_views, without_small

PX = 64
RED, GREEN, BLUE, GREY = (200, 40, 40), (60, 160, 60), (40, 60, 200), (120, 120, 120)


def bar(left: int, top: int, right: int, bottom: int, *bands: tuple[int, int, int]) -> np.ndarray:
    """A view with one rectangle, its colours in bands of equal height from the top."""
    view = np.zeros((PX, PX, 4), np.uint8)
    edges = np.linspace(top, bottom, len(bands) + 1).round().astype(int)
    for colour, first, last in zip(bands, edges, edges[1:], strict=False):
        view[first:last, left:right] = (*colour, 255)
    return view


def box(front: tuple[int, int, int, int], side: tuple[int, int, int, int], *bands) -> np.ndarray:
    return np.stack([bar(*front, *bands), bar(*side, *bands)] * 2)


def covered(view: np.ndarray, axis: int) -> tuple[int, int]:
    found = np.flatnonzero((view[..., 3] >= 128).any(axis))
    return int(found[0]), int(found[-1]) + 1


def near(colour, other) -> bool:
    return bool(np.abs(np.asarray(colour, float)[..., :3] - other).max() < 25)


def test_the_sides_become_as_high_as_the_photo_and_keep_their_width():
    fitted = fit(box((20, 20, 44, 44), (28, 20, 36, 44), GREY), {"front": bar(16, 16, 48, 52, RED)})
    assert covered(fitted[1], 1) == (16, 52) and covered(fitted[1], 0) == (28, 36)
    assert covered(fitted[0], 0) == (16, 48) and covered(fitted[2], 0) == (16, 48)


def test_an_example_is_not_stretched_without_end():
    fitted = fit(box((30, 30, 34, 34), (30, 30, 34, 34), GREY), {"front": bar(2, 2, 62, 62, RED)})
    assert covered(fitted[1], 1)[1] - covered(fitted[1], 1)[0] <= 8


def test_the_back_has_the_mirrored_outline_and_the_photo_stays():
    photo = bar(10, 12, 30, 52, RED)  # off the middle
    views = unseen_views({"front": photo}, box((20, 20, 44, 44), (28, 20, 36, 44), GREY))
    assert (views[0] == photo).all()
    assert (views[2][..., 3] == photo[:, ::-1, 3]).all()
    assert near(views[2][views[2][..., 3] > 0], RED)


def test_the_sides_take_the_colours_of_their_height():
    photo = bar(16, 16, 48, 52, RED, BLUE)
    views = unseen_views({"front": photo}, box((20, 20, 44, 44), (28, 20, 36, 44), GREY))
    for side in (views[1], views[3]):
        assert near(side[20:30, 30:34], RED) and near(side[38:50, 30:34], BLUE)


def test_colours_come_over_by_analogy():
    """Green in the example's front is red in the photo; so is green on its side, a little further down."""
    front, photo, side = bar(16, 16, 48, 52, GREEN, GREY), bar(16, 16, 48, 52, RED, BLUE), bar(28, 16, 36, 52, GREEN, GREY)
    side[34:38, 28:36] = side[30, 30]
    painted = recolour(side, [front], [photo])
    assert near(painted[16:38, 30:34], RED) and near(painted[38:52, 30:34], BLUE) and (painted[..., 3] == side[..., 3]).all()


def test_what_is_small_is_not_repeated_behind():
    photo = bar(16, 16, 48, 52, RED)
    photo[24:27, 22:25] = photo[24:27, 39:42] = (20, 20, 20, 255)  # eyes
    plain = box((16, 16, 48, 52), (28, 16, 36, 52), GREY)
    views = unseen_views({"front": photo}, plain)
    assert near(views[2][18:50, 18:46], RED)
    assert near(without_small(photo)[18:50, 18:46], RED)


def test_where_the_example_differs_behind_so_does_the_back():
    photo = bar(16, 16, 48, 52, RED)
    photo[24:44, 22:42] = (*BLUE, 255)  # too large to be small
    same, other = bar(16, 16, 48, 52, GREY), bar(16, 16, 48, 52, GREY)
    other[24:44, 22:42] = (240, 240, 60, 255)
    view = bar(16, 16, 48, 52, RED)
    assert near(behind(view, photo, same, same)[34, 32], BLUE)
    assert near(behind(view, photo, same, other)[34, 32], RED)


def test_a_round_object_is_the_same_from_all_sides_but_for_what_is_on_one():
    photo = bar(16, 16, 48, 52, GREEN, GREY)
    photo[22:28, 18:28] = (*RED, 255)  # a label off the middle
    views = unseen_views({"front": photo}, box((16, 16, 48, 52), (30, 16, 34, 52), GREY), is_round=True)
    for view in views[1:]:
        assert (view[..., 3] == photo[:, ::-1, 3]).all()
        assert near(view[18:30, 20:44], GREEN) and near(view[40, 32], GREY)
    even = bar(16, 16, 48, 52, GREEN, GREY)
    assert np.abs(turn_round_object(even).astype(int) - even).max() <= 2


@pytest.mark.parametrize("known", [("front", "right"), ("right",), ("back", "left", "right")])
def test_any_known_views(known):
    shown = box((16, 16, 48, 52), (24, 16, 40, 52), RED)
    photos = {name: shown[("front", "right", "back", "left").index(name)] for name in known}
    views = unseen_views(photos, box((20, 20, 44, 44), (28, 20, 36, 44), GREY))
    for name, view in photos.items():
        assert (views[("front", "right", "back", "left").index(name)] == view).all()
    assert all(near(view[view[..., 3] == 255], RED) for view in views)
    if len(known) > 1:
        assert (views[..., 3] == shown[..., 3]).all()


def test_one_side_is_the_other_mirrored_whatever_the_example():
    photos = {"front": bar(16, 16, 48, 52, RED), "right": bar(28, 16, 44, 52, RED, BLUE)}
    photos["right"][20:24, 30:33] = (*GREEN, 255)  # small, and yet seen from both sides
    for example in (None, box((16, 16, 48, 52), (8, 16, 56, 52), GREY)):
        assert (unseen_views(photos, example)[3] == photos["right"][:, ::-1]).all()


def test_without_an_example_nothing_but_the_photo_is_shown():
    """The sides are as high as the photo, about as deep as it is wide, and in the colours of each height; no eyes behind."""
    photo = bar(16, 16, 40, 52, GREEN, RED)
    photo[20:23, 27:30] = (20, 20, 20, 255)  # an eye
    views = unseen_views({"front": photo})
    assert (views[0] == photo).all() and (views[2][..., 3] == photo[:, ::-1, 3]).all()
    assert near(views[2][18:30, 26:46], GREEN) and near(views[2][40:50, 26:46], RED)
    for side in (views[1], views[3]):
        assert np.abs(np.subtract(covered(side, 1), (16, 52))).max() <= 4
        assert np.abs(np.subtract(covered(side, 0), (20, 44))).max() <= 2  # in the middle, where it turns about its axis
        assert near(side[20:30, 28:38], GREEN) and near(side[42:48, 28:38], RED)


def thumbnails_of(*objects: np.ndarray) -> np.ndarray:
    return np.stack([[thumbnail(view) for view in views] for views in objects])


def chosen(stored: np.ndarray, known: dict[str, np.ndarray], seed: int = 0):
    return choose(stored, known, outline_distances(stored, known), 0.04, seed)


def test_the_distance_of_the_same_outline_is_nothing_and_of_another_all():
    stored = thumbnails_of(box((0, 0, 32, 32), (0, 0, 32, 64), GREY), box((32, 32, 64, 64), (0, 0, 8, 8), RED))
    away = outline_distances(stored, {"front": bar(0, 0, 32, 32, BLUE)})
    assert away[0] < 0.01 and away[1] > 0.99


def test_among_equal_fronts_the_usual_depth_is_taken():
    front = (16, 16, 48, 52)
    deep, flat = (8, 16, 56, 52), (30, 16, 34, 52)
    stored = thumbnails_of(box(front, deep, RED), box(front, flat, RED), box(front, flat, GREY), box(front, flat, BLUE))
    found = chosen(stored, {"front": bar(*front, GREY)})
    assert found.index in (1, 2, 3) and not found.is_round
    assert chosen(stored, {"front": bar(*front, GREY), "right": bar(*deep, GREY)}).index == 0


def test_it_is_round_if_its_neighbours_are_and_its_outline_is_symmetric():
    front, flat = (16, 16, 48, 52), (30, 16, 34, 52)
    stored = thumbnails_of(box(front, flat, RED), *(box(front, front, colour) for colour in (RED, GREEN, GREY)))
    assert chosen(stored, {"front": bar(*front, GREY)}).is_round
    assert chosen(stored, {"front": bar(*front, GREY)}).index in (1, 2, 3)
    assert not chosen(stored, {"front": bar(*front, GREY), "right": bar(*flat, GREY)}).is_round
    handle = bar(*front, GREY)
    handle[28:36, 48:62] = handle[30, 30]
    assert not chosen(stored, {"front": handle}).is_round


def test_other_seeds_choose_among_the_close_ones():
    front, flat, far = (16, 16, 48, 52), (30, 16, 34, 52), (2, 2, 10, 10)
    stored = thumbnails_of(box(front, flat, RED), box(front, (28, 16, 36, 52), GREY), box(far, far, RED))
    assert {chosen(stored, {"front": bar(*front, GREY)}, seed).index for seed in range(1, 20)} == {0, 1}
