"""The solid of one outline: round things come out as they are, and its views fit the one it comes from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.cameras import CANONICAL_RIG, TURNAROUND_RIG, Rig, project
from tetraview.engine.retrieval.inflation import fill_transparent, inflate, inflated_views

PX = 96


def outline(inside: np.ndarray) -> np.ndarray:
    """A red view, uint8 [PX, PX, 4], that is solid where it is told."""
    return np.where(inside[..., None], np.array([200, 40, 40, 255]), 0).astype(np.uint8)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels' centres, from the middle, in half sides."""
    at = (np.arange(PX) + 0.5) / PX * 2 - 1
    return at[None, :].repeat(PX, 0), at[:, None].repeat(PX, 1)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one[..., 3] >= 128, other[..., 3] >= 128
    return float((a & b).sum() / (a | b).sum())


def extent(view: np.ndarray, axis: int) -> int:
    return int(np.ptp(np.flatnonzero((view[..., 3] >= 128).any(axis)))) + 1


@pytest.mark.parametrize("rig", [CANONICAL_RIG, TURNAROUND_RIG, Rig(-10.0, 40.0)])
def test_a_ball_is_a_ball_from_all_sides(rig: Rig) -> None:
    x, y = grid()
    ball = outline(x**2 + y**2 < 0.6**2)
    for view in inflated_views(ball, ball, rig):
        assert overlap(view, ball) > 0.93
        assert np.abs(view[view[..., 3] == 255][:, :3].astype(int) - (200, 40, 40)).max() <= 2


def test_at_eye_level_whatever_is_round_about_an_upright_axis_looks_the_same_all_round() -> None:
    x, y = grid()
    vase = outline((np.abs(y) < 0.8) & (np.abs(x) < 0.3 + 0.2 * np.sin(4 * y)))
    for view in inflated_views(vase, vase, TURNAROUND_RIG):
        assert overlap(view, vase) > 0.95


def test_what_is_thin_or_much_wider_than_high_is_not_as_deep_as_it_is_wide() -> None:
    x, y = grid()
    sign = outline((np.abs(y) < 0.15) & (np.abs(x) < 0.9))
    assert extent(inflated_views(sign, sign, TURNAROUND_RIG)[1], 0) < 0.35 * extent(sign, 0)
    figure = outline(((np.abs(x) < 0.2) & (np.abs(y) < 0.8)) | ((np.abs(y) < 0.05) & (np.abs(x) < 0.8)))  # arms stretched out
    assert extent(inflated_views(figure, figure, TURNAROUND_RIG)[1], 0) < 1.1 * 2 * extent(figure[:20], 0)


def test_legs_stay_apart_and_what_belongs_to_one_side_is_not_behind() -> None:
    x, y = grid()
    legs = outline((np.abs(np.abs(x) - 0.3) < 0.12) & (np.abs(y) < 0.7))
    plain = legs.copy()
    plain[..., :3] = (40, 60, 200)
    front, side, back, _ = inflated_views(legs, plain, TURNAROUND_RIG)
    assert overlap(front, legs) > 0.9 and extent(side, 0) < 0.35 * extent(legs, 0)
    solid = back[..., 3] == 255
    assert np.abs(back[solid][:, :3].astype(int) - (40, 60, 200)).max() <= 2
    assert np.abs(front[front[..., 3] == 255][:, :3].astype(int) - (200, 40, 40)).max() <= 2


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), elevation=st.floats(-10, 45), fovy=st.sampled_from([0.0, 30.0, 50.0]))
def test_any_outline_gives_a_closed_solid_that_fits_it(seed: int, elevation: float, fovy: float) -> None:
    rng = np.random.default_rng(seed)
    alpha = np.zeros((PX, PX), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        top, left = rng.integers(4, PX - 8, 2)
        alpha[top : top + rng.integers(2, 40), left : left + rng.integers(2, 40)] = 255
    rig = Rig(elevation, fovy)
    solid = inflate(alpha, rig)
    assert np.isfinite(solid.verts).all() and solid.faces.min() >= 0 and solid.faces.max() < len(solid.verts)
    edges = np.sort(np.concatenate([solid.faces[:, [0, 1]], solid.faces[:, [1, 2]], solid.faces[:, [2, 0]]]), 1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] % 2 == 0).all()
    if len(solid.faces):
        seen = project(solid.verts, rig.c2w()[0], rig.fovy_deg)[:, :2]
        rows, columns = np.nonzero(alpha)
        wanted = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / PX * 2 - 1
        assert np.abs(np.concatenate([seen.min(0), seen.max(0)]) - wanted).max() < 0.12


def test_transparent_pixels_take_the_nearest_solid_colour() -> None:
    view = np.zeros((4, 4, 4), np.uint8)
    view[1, 1], view[2, 3] = (10, 20, 30, 255), (90, 80, 70, 255)
    filled = fill_transparent(view)
    assert (filled[0, 0] == (10, 20, 30)).all() and (filled[3, 3] == (90, 80, 70)).all()
    assert (fill_transparent(np.zeros((2, 2, 4), np.uint8)) == 0).all()
