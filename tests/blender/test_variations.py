"""Variations: a queue of jobs behind one task, of which one is chosen."""

from __future__ import annotations

from pathlib import Path

import bpy
import pytest

from .test_strip import VIEWS, bytes_of, changed, started, strip, tick_until  # noqa: F401  `strip` is a fixture


def test_each_variation_is_another_strip_and_one_is_chosen(painter):
    assert bpy.ops.tetraview.variations(count=2) == {"FINISHED"}
    settings = painter.settings
    one, other = settings.strip.variation_list()
    assert one["seed"] != other["seed"]
    assert settings.strip.folder == ""
    assert bpy.ops.tetraview.choose_variation(index=1) == {"FINISHED"}
    assert settings.strip.folder == other["folder"]
    assert settings.seed == other["seed"]
    assert settings.strip_is_current()
    chosen = bytes_of(settings.strip)
    assert bpy.ops.tetraview.paint_views() == {"FINISHED"}  # the seed that is shown makes just these views
    assert bytes_of(settings.strip) == chosen
    assert bpy.ops.tetraview.choose_variation(index=0) == {"FINISHED"}
    assert changed(chosen, bytes_of(settings.strip)) == set(VIEWS)
    with pytest.raises(RuntimeError, match="no variation 3"):
        bpy.ops.tetraview.choose_variation(index=2)
    Path(other["folder"], "back.png").unlink()
    with pytest.raises(RuntimeError, match="gone"):
        bpy.ops.tetraview.choose_variation(index=1)
    assert bpy.ops.tetraview.clear_variations() == {"FINISHED"}
    assert settings.strip.variation_list() == []


def test_locked_views_are_the_same_in_all(painter, strip):  # noqa: F811
    before = bytes_of(strip)
    strip.lock_front = strip.lock_back = strip.lock_left = True
    assert bpy.ops.tetraview.variations(count=2) == {"FINISHED"}
    for index in range(2):
        assert bpy.ops.tetraview.choose_variation(index=index) == {"FINISHED"}
        assert changed(before, bytes_of(strip)) == {"right"}
    strip.lock_right = True
    with pytest.raises(RuntimeError, match="nothing to vary"):
        bpy.ops.tetraview.variations(count=2)


def test_cancelling_keeps_those_that_are_done(painter):
    painter.settings.steps = 100  # long enough to be seen at work
    run = started(painter, painter.module("operators.variations").VariationsTask(3))
    fractions = []

    def one_is_done():
        fractions.append(painter.status.fraction)
        return len(painter.settings.strip.variation_list()) == 1 and "Variation 2 of 3" in painter.status.message

    assert tick_until(run, one_is_done) == {"RUNNING_MODAL"}
    assert fractions == sorted(fractions)
    assert 0.3 < painter.status.fraction < 0.7
    assert bpy.ops.tetraview.cancel() == {"FINISHED"}
    assert tick_until(run, lambda: False) == {"CANCELLED"}
    assert painter.status.note == "Variations: cancelled."
    (done,) = painter.settings.strip.variation_list()
    assert all(Path(done["folder"], f"{name}.png").is_file() for name in VIEWS)
