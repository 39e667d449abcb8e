"""The product that ships measures what it measured when somebody last looked at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .measure import FIGURES, TOLERANCES, changes, chosen_examples, cutout_overlaps, extension_megabytes, measure_van

GOLDEN = json.loads(FIGURES.read_text(encoding="utf-8"))
HOW_TO_RENEW = (
    "Weights or code changed the product. If that is a mistake, mend it. If it is meant, look at the result (make demo), "
    "run `make golden`, and commit tests/golden/figures.json with the reason."
)


def assert_unchanged(group: str, measured: dict[str, Any]) -> None:
    found = changes(measured, GOLDEN[group])
    assert not found, "\n".join([*found, HOW_TO_RENEW])


@pytest.mark.parametrize(
    ("group", "measure"),
    [
        ("van", measure_van),
        ("examples", chosen_examples),
        ("cutouts", cutout_overlaps),
        ("extension", lambda: {"extension, MB": extension_megabytes()}),
    ],
)
def test_the_product_is_the_one_that_was_last_looked_at(group: str, measure: Callable[[], dict[str, Any]]) -> None:
    assert_unchanged(group, measure())


@pytest.mark.parametrize("group", ["van", "cutouts", "extension"])
def test_a_figure_beyond_its_tolerance_is_told_with_the_way_to_renew(group: str) -> None:
    for name, value in GOLDEN[group].items():
        allowed = next(tolerance.allowed for start, tolerance in TOLERANCES.items() if name.startswith(start))
        assert_unchanged(group, {**GOLDEN[group], name: value + 0.9 * allowed})
        for beyond in (value + 1.1 * allowed, value - 1.1 * allowed):
            with pytest.raises(AssertionError, match="make golden"):
                assert_unchanged(group, {**GOLDEN[group], name: beyond})


def test_another_example_for_a_prompt_is_told() -> None:
    prompt = next(iter(GOLDEN["examples"]))
    with pytest.raises(AssertionError, match=f"{prompt}: was"):
        assert_unchanged("examples", {**GOLDEN["examples"], prompt: "a castle"})
