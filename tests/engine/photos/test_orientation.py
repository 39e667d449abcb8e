"""Right and left pictures in each other's place, on a drawn animal whose nose, tail and flanks have their own colours."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tetraview.engine.photos.orientation import check_orientation, edge_evidence

NOSE, FLANK, TAIL = (220, 120, 130), (120, 110, 100), (40, 40, 60)


def animal(px: int = 256, noise: float = 0.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Its four sides at eye level: the nose is what the front shows, and the end of the sides that is next to it."""
    rng = np.random.default_rng(seed)

    def view(colours: list[tuple[int, int, int]], half_width: int) -> np.ndarray:
        alpha = np.zeros((px, px), np.uint8)
        cv2.ellipse(alpha, (px // 2, px // 2), (half_width, px // 4), 0, 0, 360, 255, -1)
        columns = np.linspace(0, len(colours) - 1e-6, 2 * half_width).astype(int)
        picture = np.zeros((px, px, 3), np.float32)
        picture[:, px // 2 - half_width : px // 2 + half_width] = np.array(colours, np.float32)[columns]
        picture += rng.normal(0, noise, picture.shape)
        return np.dstack([picture.clip(0, 255).astype(np.uint8), alpha])

    side = [NOSE, FLANK, FLANK, FLANK, TAIL]
    sides = {"front": [NOSE], "right": side, "back": [TAIL], "left": side[::-1]}
    return {name: view(colours, px // 3 if len(colours) > 1 else px // 6) for name, colours in sides.items()}


def exchanged(views: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    other = {"right": "left", "left": "right"}
    return {other.get(name, name): view for name, view in views.items()}


@given(
    st.sampled_from([("front", "right"), ("front", "left", "back"), ("back", "left"), ("front", "right", "back", "left")]),
    st.floats(0, 25), st.integers(0, 2**31),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_sides_in_each_others_place_are_told_by_their_edges(names: tuple[str, ...], noise: float, seed: int) -> None:
    views = {name: view for name, view in animal(noise=noise, seed=seed).items() if name in names}
    assert check_orientation(views) == []
    assert edge_evidence(views) == pytest.approx(-edge_evidence(exchanged(views)), abs=0.5)
    (sentence,) = check_orientation(exchanged(views))
    assert "Swap Left and Right" in sentence and ("right" in names or "left" in names)


def test_what_looks_the_same_either_way_is_not_judged() -> None:
    views = {name: np.dstack([np.full((256, 256, 3), 128, np.uint8), view[..., 3]]) for name, view in animal().items()}
    assert edge_evidence(views) == pytest.approx(0, abs=0.1)
    assert check_orientation(views) == check_orientation(exchanged(views)) == []


@pytest.mark.parametrize("names", [("front", "back"), ("right",), ("right", "left")])
def test_views_that_cannot_tell_are_not_judged(names: tuple[str, ...]) -> None:
    views = {name: view for name, view in exchanged(animal()).items() if name in names}
    assert check_orientation(views) == []
