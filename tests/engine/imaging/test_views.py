"""The array of the four views: which are there, which are known, and what is put in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tetraview.engine.cameras import TURNAROUND_RIG
from tetraview.engine.imaging.views import FourViews
from tetraview.engine.types import VIEW_NAMES

some_names = st.sets(st.sampled_from(VIEW_NAMES))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (6, 6, 4), np.uint8)


@given(known=some_names, rendered=some_names)
def test_a_view_is_known_rendered_or_not_there(known: set[str], rendered: set[str]) -> None:
    """What is put in last counts; the rest of the array stays transparent, in the order of the names."""
    shown = {name: picture(index) for index, name in enumerate(VIEW_NAMES)}
    views = FourViews.none(6, TURNAROUND_RIG).with_views({name: shown[name] for name in known})
    views = views.with_views({name: shown[name] for name in rendered}, are_rendered=True)
    there = [name for name in VIEW_NAMES if name in known | rendered]
    assert list(views) == there and len(views) == len(there) and views.px == 6 and views.rig == TURNAROUND_RIG
    for index, name in enumerate(VIEW_NAMES):
        assert views.known[index] == (name in known - rendered) and views.rendered[index] == (name in rendered)
        assert np.array_equal(views.rgba[index], shown[name] if name in there else np.zeros((6, 6, 4), np.uint8))
    assert list(views.to_reconstruct) == [name for name in VIEW_NAMES if name in (known - rendered or rendered)]


def test_what_is_not_there_cannot_be_had() -> None:
    views = FourViews.of({"left": picture(0)})
    assert np.array_equal(views["left"], picture(0)) and "front" not in views
    for name in ("front", "top"):
        with pytest.raises(KeyError, match=name):
            views[name]


def test_putting_views_in_leaves_the_original_and_warnings_are_said_once() -> None:
    before = FourViews.of({"front": picture(0)}).with_warnings("One.", "Two.", "One.")
    after = before.with_views({"front": picture(1)}).with_warnings("Two.", "Three.")
    assert np.array_equal(before["front"], picture(0)) and np.array_equal(after["front"], picture(1))
    assert after.warnings == ("One.", "Two.", "Three.")
