"""The search for the photos' elevation, on explanations whose peak is known."""

import pytest
from tetraview.engine.photos.elevation import RANGE_DEG, find_elevation


class Hill:
    """Explained best at `top`, by `height` dB more than ten degrees from there."""

    def __init__(self, top, height):
        self.top, self.height, self.asked = top, height, []

    def __call__(self, degrees):
        self.asked.append(degrees)
        return 25 - self.height * ((degrees - self.top) / 10) ** 2


@pytest.mark.parametrize("top", [2.0, 9.0, 13.0, 27.0, 31.0])
def test_the_top_is_found(top):
    assert find_elevation(Hill(top, 6), 20.0) == pytest.approx(top, abs=0.5)


@pytest.mark.parametrize("hill", [Hill(20, 6), Hill(21.5, 6), Hill(35, 0.1)], ids=["there", "beside it", "all alike"])
def test_the_given_elevation_stays_where_nothing_is_clearly_better(hill):
    assert find_elevation(hill, 20.0) == 20.0


def test_no_elevation_is_asked_twice_and_none_out_of_range():
    hill = Hill(80, 6)
    found = find_elevation(hill, 20.0)
    assert RANGE_DEG[1] - 6 <= found <= RANGE_DEG[1]
    assert len(hill.asked) == len(set(hill.asked)) and max(hill.asked) <= RANGE_DEG[1]
